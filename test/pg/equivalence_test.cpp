// Batches change nothing but speed: random transactions, applied all in one batch, give the same target as applied
// one by one, and the same as SQL over the source. WALIGN_SEED=n runs one seed alone, WALIGN_ROUNDS more of them.
#include <random>

#include "support/migration.hpp"

using namespace walign;
using namespace walign::test;

namespace {

unsigned number(const char* variable, unsigned otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : static_cast<unsigned>(std::stoul(text));
}

// Statements over the tables below. Every one can be run; many hit nothing.
class Writer {
 public:
  explicit Writer(unsigned seed) : random_(seed) {}

  std::string transaction() {
    std::string sql = "BEGIN; ";
    for (int n = pick(1, 6); n > 0; --n) sql += statement() + "; ";
    return sql + (chance(8) ? "ROLLBACK" : "COMMIT");
  }

  int pick(int from, int to) { return std::uniform_int_distribution<int>(from, to)(random_); }
  bool chance(int one_in) { return pick(1, one_in) == 1; }

 private:
  std::string id() { return std::to_string(pick(1, 25)); }
  std::string fresh() { return std::to_string(++fresh_); }
  std::string big() { return "repeat(md5('" + fresh() + "'), " + (chance(2) ? "2" : "200") + ")"; }
  std::string kind() { return chance(3) ? "'draft'" : "'k" + std::to_string(pick(1, 3)) + "'"; }

  std::string statement() {
    switch (pick(0, 4)) {
      case 0: return on_p();
      case 1: return on_f();
      case 2: return on_c();
      case 3: return on_k();
      default: return chance(12) ? truncate() : on_p();
    }
  }

  // `u` is exchanged between rows, at once, in one statement.
  static std::string exchange(const std::string& table, const std::string& column, const std::string& where) {
    return "WITH r AS (SELECT id, " + column + " AS old, lead(" + column +
           ") OVER (ORDER BY id) AS nxt, first_value(" + column + ") OVER (ORDER BY id) AS fst FROM " +
           table + " WHERE " + where + ") UPDATE " + table + " t SET " + column +
           " = coalesce(nxt, fst) FROM r WHERE r.id = t.id";
  }
  // Through a key that nobody has.
  static std::string exchange_keys(const std::string& table, const std::string& a, const std::string& b) {
    return "UPDATE " + table + " SET id = -1 WHERE id = " + a + "; UPDATE " + table + " SET id = " + a +
           " WHERE id = " + b + "; UPDATE " + table + " SET id = " + b + " WHERE id = -1";
  }

  std::string on_p() {
    switch (pick(0, 9)) {
      case 0:
      case 1:
      case 2:
        return "INSERT INTO p SELECT " + id() + ", 'n" + fresh() + "', " + fresh() + ", " + big() +
               ", 0 ON CONFLICT (id) DO NOTHING";
      case 3: return "UPDATE p SET n = n + 1 WHERE id % 3 = " + std::to_string(pick(0, 2));
      case 4: return "UPDATE p SET big = " + big() + " WHERE id = " + id();
      case 5: return "UPDATE p SET name = NULL, n = 7 WHERE id = " + id();
      case 6: return "DELETE FROM p WHERE id = " + id();
      case 7:
        return "UPDATE p SET id = id + 100 * (CASE WHEN id < 100 THEN 1 ELSE -1 END), n = n + 5 WHERE id % "
               "25 = " +
               std::to_string(pick(0, 24)) +
               " AND NOT EXISTS (SELECT FROM p q WHERE q.id = p.id + 100 * (CASE "
               "WHEN p.id < 100 THEN 1 ELSE -1 END))";
      case 8: return exchange_keys("p", id(), std::to_string(pick(26, 30)));
      default: return exchange("p", "u", "length(big) < 100 AND id BETWEEN " + id() + " AND " + id());
    }
  }
  std::string on_f() {
    switch (pick(0, 6)) {
      case 0:
      case 1:
        return "INSERT INTO f SELECT " + id() + ", " + kind() + ", 'v" + fresh() + "', " + fresh() + ", " +
               big() + " ON CONFLICT (id) DO NOTHING";
      case 2: return "UPDATE f SET kind = " + kind() + " WHERE id % 4 = " + std::to_string(pick(0, 3));
      case 3: return "UPDATE f SET v = v || 'x' WHERE id = " + id();
      case 4: return "DELETE FROM f WHERE id = " + id();
      case 5: return exchange_keys("f", id(), id());
      default: return exchange("f", "u", "id BETWEEN " + id() + " AND " + id());
    }
  }
  std::string on_c() {
    const std::string key = " WHERE id = " + id() + " AND sub = " + std::to_string(pick(1, 2));
    switch (pick(0, 4)) {
      case 0:
      case 1:
        return "INSERT INTO c SELECT " + id() + ", s, " + id() + ", 'note " + fresh() +
               "' FROM generate_series(1, 2) s ON CONFLICT (id, sub) DO NOTHING";
      case 2: return "UPDATE c SET p = " + id() + key;
      case 3:
        return "UPDATE c SET sub = 3 - sub, note = note || '!' FROM (SELECT id AS i FROM c GROUP BY id "
               "HAVING "
               "count(*) = 1) s WHERE s.i = id AND id % 2 = " +
               std::to_string(pick(0, 1));
      default: return "DELETE FROM c" + key;
    }
  }
  std::string on_k() {
    switch (pick(0, 3)) {
      case 0:
        return "INSERT INTO k SELECT i, 'k" + fresh() + "' FROM generate_series(" + id() +
               ", 12) i WHERE NOT "
               "EXISTS (SELECT FROM k WHERE k.id = i)";
      case 1: return "UPDATE k SET v = v || '+' WHERE id % 2 = 0";
      case 2: return "DELETE FROM k WHERE id = " + id();
      default: return "UPDATE k SET id = 13 - id WHERE id BETWEEN 1 AND 12";
    }
  }
  std::string truncate() {
    static const char* const which[] = {"p", "f", "c", "p, c", "k", "f, k"};
    return std::string("TRUNCATE ") + which[pick(0, 5)];
  }

  std::mt19937 random_;
  int fresh_ = 1000;
};

// One source, two targets: one takes whatever comes in large batches, the other transaction by transaction.
class Pair {
 public:
  Pair(const std::string& source, const std::string& target, const std::string& tables) {
    one.source_url = many.source_url;
    many.source.exec(source);
    for (Migration* m : {&many, &one}) {
      m->target.exec(target);
      m->tables = tables;
    }
    one.more = "apply: { max_batch_rows: 1 }\n";
  }
  void start() {
    run_many = std::make_unique<Run>(many);
    run_many->wait_until_streaming();
    run_one = std::make_unique<Run>(one);
    run_one->wait_until_streaming();
  }
  // All transactions of `write` in one batch.
  template <class Write>
  void round(Write&& write) {
    run_many->sidecar().pause_apply();
    std::this_thread::sleep_for(150ms);
    write();
    many.source.exec("SELECT pg_logical_emit_message(true, 'test', 'end')");
    std::this_thread::sleep_for(30ms);  // into the queue
    run_many->sidecar().resume_apply();
    run_many->catch_up(many.source);
    run_one->catch_up(many.source);
  }
  bool same(const std::string& query) {
    const auto result = compare_tables(many.target, query, one.target, query);
    if (!result.equal()) WARN(query + "\n" + result.report());
    return result.equal();
  }
  Migration many, one;
  std::unique_ptr<Run> run_many, run_one;
};

// PostgreSQL refuses a TRUNCATE while deferred checks of the table are pending: then the source takes it all back.
void run_transaction(Sql& source, const std::string& sql) {
  try {
    source.exec(sql);
  } catch (const SqlError& error) {
    if (error.sqlstate() != "55006") throw;
    source.exec("ROLLBACK");
  }
}

double batches(Run& run) {
  const std::string text = run.metrics.text();
  const std::string name = "walign_batch_rows_count ";
  const auto at = text.find(name);
  if (at == std::string::npos) throw std::runtime_error("no metric of batches");
  return std::stod(text.substr(at + name.size()));
}

}  // namespace

TEST_CASE("a batch is the same as its transactions one by one, and as SQL over the source") {
  Pair pair(
      "CREATE TABLE p (id int PRIMARY KEY, name text, u int UNIQUE DEFERRABLE INITIALLY DEFERRED, big text, "
      "n int);"
      "CREATE TABLE f (id int PRIMARY KEY, kind text, v text, u int UNIQUE DEFERRABLE INITIALLY DEFERRED, "
      "big text);"
      "CREATE TABLE c (id int, sub int, p int, note text, PRIMARY KEY (id, sub));"
      "CREATE TABLE k (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text);"
      "ALTER TABLE p ALTER big SET STORAGE EXTERNAL; ALTER TABLE f ALTER big SET STORAGE EXTERNAL;"
      "ALTER TABLE f REPLICA IDENTITY FULL; ALTER TABLE k REPLICA IDENTITY FULL",
      "CREATE TABLE p (id int PRIMARY KEY, name text, u int UNIQUE, big text, n int, children int, own text "
      "DEFAULT "
      "'mine');"
      "CREATE TABLE f (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text, title text, u int UNIQUE, "
      "big text);"
      "CREATE TABLE c (id int, sub int, p_name text, note text, label text, PRIMARY KEY (id, sub));"
      "CREATE TABLE k (id int PRIMARY KEY, v text)",
      R"yaml(  - from: public.p
    columns: { children: { sql: "(SELECT count(*) FROM public.c WHERE c.id = src.id)"
}
}
  - from: public.f
    where: kind <> 'draft'
    columns: { title: { sql: "kind || upper(v)" }, v: false }
  - from: public.c
    columns: { p_name: { sql: "(SELECT name FROM public.p WHERE p.id = src.p)" }, label: { sql: "sub || note" } }
  - public.k
)yaml");
  pair.start();
  const unsigned only = number("WALIGN_SEED", 0);
  const unsigned first = only != 0 ? only : 1;
  const unsigned last = only != 0 ? only : number("WALIGN_ROUNDS", 55);
  for (unsigned seed = first; seed <= last; ++seed) {
    INFO("WALIGN_SEED=" << seed);
    Writer writer(seed);
    pair.round([&] {
      pair.many.source.exec("TRUNCATE p, f, c, k");
      for (int i = writer.pick(20, 60); i > 0; --i) run_transaction(pair.many.source, writer.transaction());
    });
    REQUIRE(pair.same("SELECT * FROM p"));
    REQUIRE(pair.same("SELECT * FROM f"));
    REQUIRE(pair.same("SELECT * FROM c"));
    REQUIRE(pair.same("SELECT * FROM k"));
    REQUIRE(pair.many.equal("SELECT id, name, u, big, n FROM p", "SELECT id, name, u, big, n FROM p"));
    REQUIRE(pair.many.equal("SELECT id, kind, kind || upper(v), u, big FROM f WHERE kind <> 'draft'",
                            "SELECT * FROM f"));
    REQUIRE(
        pair.many.equal("SELECT id, sub, note, sub || note FROM c", "SELECT id, sub, note, label FROM c"));
    REQUIRE(pair.many.equal("k"));
  }
  for (Run* run : {pair.run_many.get(), pair.run_one.get()}) {
    for (const auto& table : run->status().tables) CHECK(table.books.balance());
  }
  // What was compared were batches indeed.
  CHECK(batches(*pair.run_many) * 5 < static_cast<double>(pair.run_many->status().transactions));
  CHECK(batches(*pair.run_one) * 2 > static_cast<double>(pair.run_one->status().transactions));
}

TEST_CASE("where triggers and foreign keys fire, a batch keeps the source's order") {
  const std::string target =
      "CREATE TABLE parent (id int PRIMARY KEY, v text);"
      "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE, v text);"
      "CREATE TABLE log (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text);"
      "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log (what) "
      "VALUES "
      "(TG_TABLE_NAME || TG_OP || coalesce(OLD::text, '-') || coalesce(NEW::text, '-')); RETURN NULL; END "
      "$$;"
      "CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON parent FOR EACH ROW EXECUTE FUNCTION note();"
      "CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON child FOR EACH ROW EXECUTE FUNCTION note()";
  Pair pair(
      "CREATE TABLE parent (id int PRIMARY KEY, v text); CREATE TABLE child (id int PRIMARY KEY, parent "
      "int "
      "REFERENCES parent, v text)",
      target, "  - public.parent\n  - public.child\n");
  const std::string role = "plain_" + pair.many.stream();
  pair.many.target.exec("CREATE ROLE " + role + " LOGIN");
  for (Migration* m : {&pair.many, &pair.one}) {
    m->target.exec("DO $$ BEGIN EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO " + role +
                   "', current_database()); END $$; GRANT ALL ON ALL TABLES IN SCHEMA public TO " + role +
                   "; GRANT USAGE ON SCHEMA public TO " + role);
    const auto at = m->target_url.find("postgres@");
    REQUIRE(at != std::string::npos);
    m->target_url.replace(at, 8, role);
  }
  pair.start();
  const unsigned rounds = number("WALIGN_ROUNDS", 12);
  for (unsigned seed = 1; seed <= rounds; ++seed) {
    INFO("seed " << seed);
    Writer random(seed);
    bool truncated = false;
    const auto id = [&] { return std::to_string(random.pick(1, 12)); };
    pair.round([&] {
      auto& source = pair.many.source;
      for (int i = 0; i < 60; ++i) {
        switch (random.pick(0, 8)) {
          case 0:
          case 1: source.exec("INSERT INTO parent SELECT " + id() + ", 'p' ON CONFLICT DO NOTHING"); break;
          case 2:
          case 3:
            source.exec("INSERT INTO child SELECT " + id() + ", id, 'c' FROM parent WHERE id >= " + id() +
                        " LIMIT 1 ON CONFLICT DO NOTHING");
            break;
          case 4: source.exec("UPDATE parent SET v = v || 'x' WHERE id < " + id()); break;
          case 5:
            source.exec("UPDATE child SET parent = (SELECT max(id) FROM parent) WHERE id = " + id());
            break;
          case 6: {
            const std::string gone = id();
            source.exec("BEGIN; DELETE FROM child WHERE parent = " + gone +
                        "; DELETE FROM parent WHERE id = " + gone + "; COMMIT");
            break;
          }
          case 7:
            source.exec("UPDATE parent p SET id = id + 50 WHERE id = " + id() +
                        " AND NOT EXISTS (SELECT FROM child WHERE parent = p.id) AND NOT EXISTS (SELECT "
                        "FROM parent q "
                        "WHERE q.id = p.id + 50)");
            break;
          default:
            if (!random.chance(10)) break;
            truncated = true;  // a table's rows may go in any order
            source.exec(random.chance(2) ? "TRUNCATE parent, child" : "TRUNCATE child, parent");
        }
      }
    });
    REQUIRE(pair.many.equal("parent"));
    REQUIRE(pair.many.equal("child"));
    REQUIRE(pair.same("SELECT * FROM parent"));
    REQUIRE(pair.same("SELECT * FROM child"));
    if (!truncated) REQUIRE(pair.same("SELECT row_number() OVER (ORDER BY n), what FROM log"));
    for (Migration* m : {&pair.many, &pair.one}) m->target.exec("TRUNCATE log");
  }
}
