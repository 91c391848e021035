// What is saved as durable must survive a crash of the target.
#include "stream/begin.hpp"
#include "support/migration.hpp"

using namespace walign;
using namespace walign::test;

TEST_CASE("a start does not take a position for durable that the target has not flushed") {
  Server source({.name = "source"});
  Server target({.name = "target", .settings = {"wal_writer_delay = 10s"}});
  Sql from = source.create_database("app");
  Sql to = target.create_database("app");
  for (Sql* db : {&from, &to}) db->exec("CREATE TABLE t (id int PRIMARY KEY)");
  const auto state =
      std::filesystem::temp_directory_path() / ("walign-durable-" + std::to_string(::getpid()));
  std::filesystem::remove_all(state);
  const auto config =
      config::parse("migration: durable\nsource: " + source.url("app") + "\ntarget: " + target.url("app") +
                        "\nstate: " + state.string() + "\ntables:\n  - public.t\n",
                    "test.yaml", [](const std::string&) { return std::nullopt; });
  const auto store = state::Store::open(config.state, config.migration);
  const auto start = [&] {
    pg::ConnectionOptions options;
    options.conninfo = config.source;
    pg::Connection source_sql(options);
    options.conninfo = config.target;
    pg::Connection target_sql(options);
    stream::Made made;
    stream::begin(config, stream::OldRows::refused, *store, source_sql, target_sql, made, false);
  };
  start();
  // As a batch leaves it: visible, and not flushed for another ten seconds.
  from.exec("INSERT INTO t VALUES (1)");
  to.exec("SET synchronous_commit = off");
  to.exec("UPDATE walign.stream SET position = '" + from.scalar("SELECT pg_current_wal_insert_lsn()::text") +
          "'");
  v1::Identity forgotten;  // as after a crash between two writes: the directory knows less than the target
  forgotten = *store->identity();
  forgotten.set_mapping_hash("another");
  store->put_identity(forgotten);
  start();
  target.restart_immediate();
  to.reconnect();
  const auto position = Lsn::parse(to.scalar("SELECT position::text FROM walign.stream"));
  const auto saved = store->newest_checkpoint();
  CHECK((!saved || Lsn(saved->durable_lsn()) <= *position));
  from.exec("SELECT pg_drop_replication_slot('walign_durable')");
  std::filesystem::remove_all(state);
}
