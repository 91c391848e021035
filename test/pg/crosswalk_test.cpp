// When a key is written into a row, and when not: changes brought by hand, so that what happens in between is certain.
#include "walign/crosswalk.hpp"

#include "market.hpp"

using namespace walign;
using namespace walign::test;

namespace {

pg::ConnectionOptions to(const std::string& conninfo) {
  pg::ConnectionOptions options;
  options.conninfo = conninfo;
  options.application_name = "crosswalk test";
  return options;
}

const std::vector<std::string> kColumns = {"id", "legacy_id", "name", "status", "price", "own"};

// A row without its source key.
void row_of(v1::Tuple& tuple, const std::string& id, const std::string& name) {
  const std::vector<std::string> values = {id, "", name, "active", "", ""};
  for (const auto& value : values) {
    event::append_value(tuple, {value.empty() ? event::State::null : event::State::value, value, false});
  }
}

struct Bringing {
  explicit Bringing(Migration& migration) : m(migration), market(m), source(to(m.source_url)) {
    apply::install_schema(source);
    const auto config = m.config();
    const auto ways = stream::ways_back(config, stream::prepare(config, nullptr), nullptr);
    REQUIRE(ways.tables.at(0).route);
    routes = {*ways.tables[0].route};
    walk = std::make_unique<apply::Crosswalk>(
        apply::Crosswalk::Options{to(m.source_url), to(m.target_url), "s", "apply there"}, routes);
  }
  // In one transaction on the target; its id.
  std::string write(const std::string& sql) {
    m.target.exec("BEGIN; " + sql);
    const auto xid = m.target.scalar("SELECT pg_current_xact_id()::text");
    m.target.exec("COMMIT");
    return xid;
  }
  event::TransactionPart part(const std::string& xid) {
    event::TransactionPart out;
    auto relation = std::make_shared<v1::Relation>();
    relation->set_schema("market");
    relation->set_name("offers");
    for (const auto& name : kColumns) relation->add_columns()->set_name(name);
    out.add_relation(std::move(relation));
    lsn += 100;
    out.mutable_tx().set_xid(static_cast<std::uint32_t>(std::stoul(xid)));
    out.mutable_tx().set_commit_lsn(lsn);
    return out;
  }
  static void add(event::TransactionPart& part, v1::Change::Kind kind, const std::string& id,
                  const std::string& name) {
    auto& change = *part.mutable_tx().add_changes();
    change.set_kind(kind);
    row_of(kind == v1::Change::DELETE ? *change.mutable_old_row() : *change.mutable_new_row(), id, name);
  }
  void fill(event::TransactionPart& part) {
    source.exec("BEGIN");
    for (const auto& extra : walk->fill(part)) source.query(extra.sql, extra.params);
    source.exec("COMMIT");
  }
  // As if the stream had passed nothing of what was seen, or all.
  void tend(bool passed) {
    std::this_thread::sleep_for(30ms);
    walk->tend(Lsn(lsn + 1), passed ? Lsn(std::numeric_limits<std::uint64_t>::max()) : Lsn(1));
  }
  std::string key_there(const std::string& name) {
    return m.target.scalar("SELECT coalesce(legacy_id::text, 'none') FROM market.offers WHERE name = '" +
                           name + "'");
  }
  static std::string key_of(const v1::Tuple& row) {
    std::string key;
    event::for_each_value(row, [&](int i, const event::Value& value) {
      if (i == 1) key = std::string(value.bytes);
    });
    return key;
  }

  Migration& m;
  Market market;
  pg::Connection source;
  std::vector<mapping::Route> routes;
  std::unique_ptr<apply::Crosswalk> walk;
  std::uint64_t lsn = 1000;
};

}  // namespace

TEST_CASE("a row that was made again under the same primary key is not given the other one's source key") {
  Migration m;
  Bringing bringing(m);
  const auto first = bringing.write("INSERT INTO market.offers (id, name) VALUES (9001, 'first')");
  auto part = bringing.part(first);
  Bringing::add(part, v1::Change::INSERT, "9001", "first");
  bringing.fill(part);
  const auto first_key = Bringing::key_of(part.tx().changes(0).new_row());
  CHECK(first_key == "301");
  CHECK(bringing.walk->owed() == Lsn(bringing.lsn));

  const auto second = bringing.write(
      "DELETE FROM market.offers WHERE id = 9001; INSERT INTO market.offers (id, name) VALUES (9001, "
      "'second')");
  bringing.tend(false);
  bringing.tend(false);
  CHECK(bringing.key_there("second") == "none");

  auto again = bringing.part(second);
  Bringing::add(again, v1::Change::DELETE, "9001", "first");
  Bringing::add(again, v1::Change::INSERT, "9001", "second");
  bringing.fill(again);
  CHECK(Bringing::key_of(again.tx().changes(0).old_row()) == first_key);
  CHECK(Bringing::key_of(again.tx().changes(1).new_row()) == "302");
  bringing.tend(false);
  CHECK(bringing.key_there("second") == "302");
  CHECK(bringing.walk->owed() == Lsn(std::numeric_limits<std::uint64_t>::max()));
}

TEST_CASE(
    "a version that a subtransaction has made is given its key when the stream has passed what was seen") {
  Migration m;
  Bringing bringing(m);
  const auto xid = bringing.write(
      "SELECT pg_current_xact_id(); SAVEPOINT s; INSERT INTO market.offers (id, name) VALUES (9001, "
      "'below'); RELEASE s");
  auto part = bringing.part(xid);
  Bringing::add(part, v1::Change::INSERT, "9001", "below");
  bringing.fill(part);
  bringing.tend(false);
  bringing.tend(false);
  CHECK(bringing.key_there("below") == "none");
  bringing.tend(true);
  CHECK(bringing.key_there("below") == "301");
}

TEST_CASE("a key is not written before the transaction that has its row is committed on the source") {
  Migration m;
  Bringing bringing(m);
  auto part = bringing.part(bringing.write("INSERT INTO market.offers (id, name) VALUES (9001, 'early')"));
  Bringing::add(part, v1::Change::INSERT, "9001", "early");
  bringing.fill(part);
  bringing.walk->tend(Lsn(bringing.lsn), Lsn(1));  // it ends above this
  CHECK(bringing.key_there("early") == "none");
  bringing.tend(false);
  CHECK(bringing.key_there("early") == "301");
}
