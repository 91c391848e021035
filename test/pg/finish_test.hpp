// A migration as it stands before `finish` or `remove`: rows, guards, streams, slots and publications on two servers,
// or in one database, without a stream that ran. A second migration beside it must never feel anything.
#pragma once

#include "cutover/finish.hpp"
#include "fence_test.hpp"
#include "support/temporary_directory.hpp"
#include "walign/state.hpp"

namespace walign::test {

inline Server& moved_server() {
  static Server server({.name = "finish-target"});
  return server;
}

// Everything in a database that could be walign's, a line each.
inline std::vector<std::string> things(Sql& db) {
  std::vector<std::string> out;
  for (const auto& row : db.rows(R"(
SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE '%walign%'
UNION ALL SELECT 'function ' || p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE n.nspname = 'walign' OR p.proname LIKE '%walign%'
UNION ALL SELECT 'relation ' || c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = 'walign' OR c.relname LIKE '%walign%'
UNION ALL SELECT 'trigger ' || tgname || ' on ' || tgrelid::regclass FROM pg_trigger
  WHERE NOT tgisinternal AND tgparentid = 0
UNION ALL SELECT 'publication ' || pubname FROM pg_publication
UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin
UNION ALL SELECT 'comment on ' || objoid::regclass FROM pg_description
  WHERE classoid = 'pg_class'::regclass AND description LIKE '%walign%'
UNION ALL SELECT 'setting ' || s.setconfig::text FROM pg_db_role_setting s WHERE s.setconfig::text LIKE '%walign%'
UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
ORDER BY 1)")) {
    out.push_back(*row.at(0));
  }
  return out;
}
inline std::string text_of(const std::vector<std::string>& lines) { return join(lines, "\n"); }

struct Killed {};

class FinishBed {
 public:
  static constexpr const char* kName = "walign_m";
  static constexpr const char* kOther = "walign_m2";

  explicit FinishBed(bool one_database)
      : source(fence_server()),
        own_(one_database ? nullptr : std::make_unique<FenceBed>(moved_server())),
        target(own_ ? *own_ : source) {
    for (FenceBed* bed : {&source, &target}) bed->admin.exec("ALTER ROLE mover REPLICATION");
    source.tables(R"(CREATE TABLE t (id int PRIMARY KEY, v text); COMMENT ON TABLE t IS 'what people say';
      CREATE TABLE p (id serial, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
      CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000);
      CREATE TABLE log (v text))");
    target.tables(
        "CREATE TABLE t_new (id int PRIMARY KEY, v text); CREATE TABLE p_new (id int PRIMARY KEY, v text); "
        "CREATE TABLE log_new (v text)");
    source_tables = {{"public", "t"}, {"public", "p"}, {"public", "log"}};
    target_tables = {{"public", "t_new"}, {"public", "p_new"}, {"public", "log_new"}};
    rules =
        "  - public.t: public.t_new\n  - public.p: public.p_new\n  - {from: public.log, to: public.log_new, "
        "inserts_only: true}\n";
    for (FenceBed* bed : {&source, &target}) {
      bed->giver = std::make_unique<pg::Connection>(bed->options());
      install_fence(*bed->giver);
      apply::install_schema(*bed->giver);
    }
  }
  ~FinishBed() {
    for (FenceBed* bed : {&source, &target}) {
      try {
        bed->admin.exec(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            "WHERE database = current_database()");
      } catch (const std::exception&) {  // it is read by a test that fails
      }
    }
  }
  FinishBed(const FinishBed&) = delete;
  FinishBed& operator=(const FinishBed&) = delete;

  // Both rows, with guards, and all that the two streams have.
  void stands(RowState at_source, RowState at_target) {
    put(source, kName, Side::source, at_source, source_tables);
    put(target, kName, Side::target, at_target, target_tables);
    stream(kName, {{"public", "t"}, {"public", "p1"}}, {{"public", "log"}}, target_tables);
  }
  // The same with other rows.
  void stands_now(RowState at_source, RowState at_target) {
    set(source, kName, Side::source, at_source);
    set(target, kName, Side::target, at_target);
  }
  void cut_over() { stands(RowState::sealed, RowState::open); }

  // Another one, cut over too, whose name begins like ours.
  void another() {
    source.tables("CREATE TABLE o (id int)");
    target.tables("CREATE TABLE o_new (id int)");
    put(source, kOther, Side::source, RowState::sealed, {{"public", "o"}});
    put(target, kOther, Side::target, RowState::open, {{"public", "o_new"}});
    stream(kOther, {{"public", "o"}}, {}, {{"public", "o_new"}});
    others = others_things();
  }
  // What of it must be there: everything that has its name, and the functions that it needs.
  std::vector<std::string> others_things() {
    std::vector<std::string> out;
    for (FenceBed* bed : {&source, &target}) {
      for (const auto& thing : things(bed->admin)) {
        if (has(thing, kOther) || has(thing, "function walign.")) out.push_back(thing);
      }
      for (const char* sql :
           {"SELECT to_jsonb(f)::text FROM walign.fence f WHERE migration = $1 ORDER BY 1",
            "SELECT to_jsonb(s)::text FROM walign.stream s WHERE name IN ($1, $1 || '_reverse') "
            "ORDER BY 1"}) {
        for (const auto& row : bed->admin.rows(sql, {kOther})) out.push_back(*row.at(0));
      }
    }
    return out;
  }

  [[nodiscard]] std::string yaml() const {
    return "migration: m\nsource: \"" + source.options().conninfo + "\"\ntarget: \"" +
           target.options().conninfo + "\"\nstate: " + state() + "\ntables:\n" + rules +
           "cutover: {lock_timeout: 100ms, attempts: " + std::to_string(attempts) + "}\nhttp: \"\"\n";
  }
  [[nodiscard]] config::Config config() const {
    return config::parse(yaml(), "test.yaml", [](const std::string&) { return std::nullopt; });
  }
  [[nodiscard]] std::string state() const { return here / "state"; }

  // One call, as the command makes it; what it told.
  std::vector<std::string> finish(OldSide old_side, std::optional<int> keep_days = {},
                                  const std::function<void()>& after_each = {},
                                  const Interrupt* interrupt = nullptr) {
    const auto its_config = config();
    const auto store = state::Store::open(its_config.state, its_config.migration);
    std::vector<std::string> told;
    cutover::finish({its_config, old_side, keep_days, store.get(), interrupt}, [&](const std::string& line) {
      told.push_back(line);
      if (after_each) after_each();
    });
    return told;
  }
  FinishPlan plan(OldSide old_side) {
    const auto its_config = config();
    const auto store = state::Store::open(its_config.state, its_config.migration);
    return plan_finish({its_config, old_side, {}, store.get(), nullptr});
  }
  std::vector<std::string> remove(const std::function<void()>& after_each = {}) {
    const auto its_config = config();
    const auto store = state::Store::open(its_config.state, its_config.migration);
    std::vector<std::string> told;
    cutover::remove(its_config, store.get(), nullptr, [&](const std::string& line) {
      told.push_back(line);
      if (after_each) after_each();
    });
    return told;
  }
  std::string phase() { return state::Store::open(state(), "m")->phase(); }

  std::string write(FenceBed& bed, const std::string& table) {
    const std::string values = table.starts_with("log") ? "('w')" : "(" + std::to_string(next_++) + ", 'w')";
    return outcome(bed.app, "INSERT INTO " + table + " VALUES " + values);
  }
  // Neither is of our migration's business.
  void check_others_untouched() {
    CHECK(text_of(others_things()) == text_of(others));
    CHECK(outcome(source.app, "INSERT INTO o VALUES (1)") == "25006");
    CHECK(outcome(target.app, "INSERT INTO o_new VALUES (1)") == "ok");
  }

 private:
  static void put(FenceBed& bed, const std::string& name, Side side, RowState state,
                  const std::vector<TableName>& tables) {
    const FenceId id{name, side};
    insert_row(*bed.giver, id, {3, RowState::closed, 7, {}, {}});
    close_tables(*bed.giver, {id, "elsewhere:1/app"}, *read_row(*bed.giver, id), tables, bed.limits());
    set(bed, name, side, state);
  }
  static void set(FenceBed& bed, const std::string& name, Side side, RowState state) {
    const bool leased = state == RowState::fencing || state == RowState::fenced;
    bed.admin.exec("UPDATE walign.fence SET state = '" + std::string(state_name(state)) +
                   "', lease_until = " + (leased ? "now() + interval '1 hour'" : "NULL") +
                   " WHERE migration = '" + name + "' AND side = '" + std::string(side_name(side)) + "'");
  }
  void stream(const std::string& name, const std::vector<TableName>& published,
              const std::vector<TableName>& inserts, const std::vector<TableName>& published_back) {
    const std::string back = name + "_reverse";
    source::create_publication(*source.giver, name, published, false);
    if (!inserts.empty()) source::create_publication(*source.giver, name + "_inserts", inserts, true);
    source::create_publication(*target.giver, back, published_back, false);
    for (const auto& [bed, slot] : {std::pair(&source, name), std::pair(&target, back)}) {
      bed->giver->query("SELECT pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput')", {slot});
    }
    for (const auto& [bed, its_name] : {std::pair(&target, name), std::pair(&source, back)}) {
      apply::StreamRow row;
      row.position = Lsn(1000);
      row.epoch = 7;
      row.slot = its_name;
      apply::insert_stream(*bed->giver, its_name, row);
    }
  }

  int next_ = 100;

 public:
  FenceBed source;

 private:
  std::unique_ptr<FenceBed> own_;

 public:
  FenceBed& target;
  TemporaryDirectory here;
  std::vector<TableName> source_tables, target_tables;
  std::string rules;
  int attempts = 2;  // cutover: attempts
  std::vector<std::string> others;
};

}  // namespace walign::test
