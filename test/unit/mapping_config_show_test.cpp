// What goes out: show() reads back, secrets stay in.
#include <random>

#include "mapping_config_test.hpp"

using namespace walign;
using namespace walign::config;
using namespace walign::config::test;

namespace {

using std::chrono::milliseconds;
using Random = std::mt19937_64;

// Places are where something stood in a file; two files that say the same have different ones.
Config without_places(Config config) {
  for (auto& table : config.tables) {
    table.place = {};
    for (auto& column : table.columns) column.place = {};
  }
  return config;
}

Config read_back(const Config& config) {
  return without_places(parse(show(config), config.file, no_variables));
}

std::int64_t between(Random& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}
bool coin(Random& random) { return between(random, 0, 1) == 1; }

// Texts made of what YAML, the names' grammar and the variables find hard.
std::string hard_text(Random& random) {
  static const std::vector<std::string> pieces = {"a",
                                                  "B",
                                                  "7",
                                                  " ",
                                                  "  ",
                                                  "\n",
                                                  "\t",
                                                  "\r",
                                                  ":",
                                                  ": ",
                                                  "#",
                                                  " #",
                                                  "\"",
                                                  "'",
                                                  "\\",
                                                  "${",
                                                  "$",
                                                  "$${",
                                                  "}",
                                                  "{",
                                                  "[",
                                                  "- ",
                                                  "*",
                                                  "&",
                                                  "!",
                                                  "|",
                                                  ">",
                                                  "%",
                                                  "@",
                                                  "`",
                                                  ",",
                                                  "~",
                                                  "null",
                                                  "true",
                                                  "only",
                                                  ".",
                                                  "..",
                                                  "\x01",
                                                  "\x7F",
                                                  "\xC3\xA9",
                                                  "\xE2\x80\xA8",
                                                  "\xC2\x85",
                                                  "\xF0\x9F\x8C\xB1",
                                                  "---\n",
                                                  "...",
                                                  "\x04",
                                                  "=",
                                                  "?"};
  std::string out = coin(random) ? "x" : ".";  // not blank
  for (auto count = between(random, 0, 6); count > 0; --count) {
    out.insert(
        static_cast<std::size_t>(between(random, 0, 1)) * out.size(),
        pieces[static_cast<std::size_t>(between(random, 0, static_cast<std::int64_t>(pieces.size()) - 1))]);
  }
  return out;
}

std::optional<std::string> perhaps(Random& random) {
  return coin(random) ? std::optional(hard_text(random)) : std::nullopt;
}

// Keys are not searched for variables, and must not look as if they were.
std::string hard_key(Random& random, int number) {
  auto text = cat(hard_text(random), number);
  for (auto at = text.find("${"); at != std::string::npos; at = text.find("${")) text.erase(at, 2);
  return text;
}

std::string hard_name(Random& random, int number) {
  auto text = cat(hard_text(random), number);
  std::erase(text, '*');
  return text.substr(0, 63 - 8).size() == text.size() ? text : "t" + std::to_string(number);
}

ColumnRule some_column(Random& random, int number) {
  ColumnRule column;
  column.target = number == 0 ? "only" : hard_key(random, number);
  column.kind = static_cast<ColumnKind>(between(random, 0, 4));
  switch (column.kind) {
    case ColumnKind::rename: column.source = hard_text(random); break;
    case ColumnKind::sql:
      column.sql = hard_text(random);
      column.reverse = perhaps(random);
      if (!column.reverse && coin(random)) {
        for (int i = 0; i < 2; ++i)
          column.reverse_columns.emplace_back(hard_key(random, i), hard_text(random));
      }
      break;
    case ColumnKind::values:
      column.source = coin(random) ? column.target : hard_text(random);
      column.values.push_back({std::nullopt, perhaps(random)});
      for (int i = 0; i < 3; ++i) column.values.push_back({cat(hard_text(random), i), perhaps(random)});
      column.values.push_back({std::string(3'000, 'k'), std::string()});
      column.has_else = coin(random);
      if (column.has_else) column.value = perhaps(random);
      break;
    case ColumnKind::constant: column.value = perhaps(random); break;
    case ColumnKind::drop: break;
  }
  return column;
}

TableRule some_table(Random& random, int number) {
  TableRule table;
  table.one_way = coin(random);
  table.inserts_only = coin(random);
  if (coin(random)) {
    table.wildcard = true;
    table.from = {hard_name(random, number), cat("log_*", number)};
    table.to = {hard_name(random, number), coin(random) ? "*" : table.from.name};
    return table;
  }
  table.from = {hard_name(random, number), hard_name(random, number)};
  table.to = coin(random) ? table.from : TableName{hard_name(random, number), hard_name(random, number)};
  for (int i = 0; i < between(random, 0, 2); ++i) table.key.push_back(cat(hard_text(random), i));
  table.where = perhaps(random);
  table.target_where = perhaps(random);
  if (!table.one_way) table.reverse_key = perhaps(random);
  table.only = coin(random);
  for (int i = 0; i < between(random, 0, 5); ++i) table.columns.push_back(some_column(random, i));
  return table;
}

std::int64_t some_size(Random& random, std::int64_t low) {
  return coin(random) ? between(random, low, INT64_MAX) : std::max(low, between(random, 0, 900) << 20U);
}
milliseconds some_time(Random& random, std::int64_t low, std::int64_t high) {
  const auto time = between(random, low, high);
  return milliseconds(coin(random) ? time : std::max(low, time / 60'000 * 60'000));
}

Config some_config(std::uint64_t seed) {
  constexpr std::int64_t day = 86'400'000;
  Random random(seed);
  Config c;
  c.file = "seed.yaml";
  c.migration = cat("m-", seed);
  c.source = coin(random) ? "postgresql://u@h:5432/db?sslmode=require" : "host='a b' user = ' ${x}'";
  c.target = "host=\xC3\xA9 port=5";
  c.state = hard_text(random);
  if (coin(random)) c.slot = "slot_1";
  c.existing_rows = static_cast<ExistingRows>(between(random, 0, 2));
  c.schema_change = static_cast<SchemaChange>(between(random, 0, 1));
  c.backfill = {static_cast<int>(between(random, 1, 64)), between(random, 1, INT64_MAX),
                some_size(random, 1024), between(random, 0, INT64_MAX), some_size(random, 1)};
  c.apply = {static_cast<int>(between(random, 1, 64)), between(random, 1, INT64_MAX),
             some_size(random, 65'536), some_size(random, 1024),
             static_cast<OnConflict>(between(random, 0, 1))};
  c.verify.every = some_time(random, 1'000, day);
  c.journal = {some_size(random, 0), some_time(random, 0, 400 * day)};
  c.gates = {some_size(random, 0),          some_time(random, 0, day), between(random, 0, INT64_MAX),
             between(random, 0, INT64_MAX), some_time(random, 0, day), some_time(random, 0, day)};
  c.cutover = {some_time(random, 1, day),
               some_time(random, 1, day),
               static_cast<int>(between(random, 1, 1'000)),
               some_time(random, 1'000, day),
               between(random, 0, INT64_MAX),
               hard_text(random),
               "",
               hard_text(random),
               hard_text(random),
               some_time(random, 1, day)};
  c.http = coin(random) ? "" : "[::1]:0";
  for (int i = 0; i < between(random, 1, 4); ++i) c.tables.push_back(some_table(random, i));
  return c;
}

}  // namespace

TEST_CASE("what show writes is read back as the same configuration") {
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    const auto config = some_config(seed);
    CAPTURE(seed, show(config));
    REQUIRE(read_back(config) == config);
  }
}

TEST_CASE("the reference example is shown whole and read back") {
  const auto config =
      without_places(load(std::string(WALIGN_TEST_DATA) + "/config/interface-example.yaml", no_variables));
  const auto text = show(config);
  CHECK(read_back(config) == config);
  CHECK(text.find("  - from: public.users\n    to: public.users_async\n    one_way: false\n") !=
        std::string::npos);
  CHECK(text.find("  max_batch_bytes: 8MiB\n") != std::string::npos);
  CHECK(text.find("  stable_for: 10min\n") != std::string::npos);
}

TEST_CASE("show masks passwords and stays readable to parse") {
  Config config = some_config(1);
  config.source = "postgresql://u:hunter2@h/db?sslpassword=hunter2&sslmode=require";
  config.target = "host=h password = 'hun\\'ter2' user=u";
  const auto text = show(config);
  CHECK(text.find("hunter2") == std::string::npos);
  CHECK(text.find("ter2") == std::string::npos);
  const auto back = read_back(config);
  CHECK(back.source == "postgresql://u:***@h/db?sslpassword=***&sslmode=require");
  CHECK(back.target == "host=h password = *** user=u");
}

TEST_CASE("secrets in connection strings are masked, and nothing else is") {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"postgresql://u:pw@h:5432/db", "postgresql://u:***@h:5432/db"},
      {"postgres://u:p%40w@[::1]:5432,h2:6/db?sslmode=require",
       "postgres://u:***@[::1]:5432,h2:6/db?sslmode=require"},
      {"postgresql://u@h:5432/db", "postgresql://u@h:5432/db"},
      {"postgresql://h1:5432,h2:5433/db", "postgresql://h1:5432,h2:5433/db"},
      {"postgresql://[::1]:5432/db", "postgresql://[::1]:5432/db"},
      {"postgresql://u:@h/db", "postgresql://u:@h/db"},
      {"postgresql://:pw@h", "postgresql://:***@h"},
      {"postgresql://u:p@w@h/db", "postgresql://u:***@h/db"},
      {"postgresql://u:p/w@h/db", "postgresql://u:***@h/db"},
      {"postgresql://u:p?w@h/db", "postgresql://u:***@h/db"},
      {"postgresql://u:p w@h/db", "postgresql://u:***@h/db"},
      {"postgresql://u:p@h?s@h/db", "postgresql://u:***@h/db"},
      {"postgresql://u:pw@h/db?application_name=a@b", "postgresql://u:***@h/db?application_name=a@b"},
      {"postgresql://u:pw", "postgresql://u:***"},
      {"postgresql://h/db?user=u&password=pw&port=5", "postgresql://h/db?user=u&password=***&port=5"},
      {"postgresql://h/db?password=p w&port=5", "postgresql://h/db?password=***&port=5"},
      {"postgresql://h/db?pass%77ord=pw", "postgresql://h/db?pass%77ord=***"},
      {"postgresql://h/db?sslpassword=pw&passfile=/p", "postgresql://h/db?sslpassword=***&passfile=/p"},
      {"postgresql://", "postgresql://"},
      {"host=h password=pw user=u", "host=h password=*** user=u"},
      {"password=pw", "password=***"},
      {"password = pw  user=u", "password = ***  user=u"},
      {"password='p w' user=u", "password=*** user=u"},
      {"password='p\\'w' user=u", "password=*** user=u"},
      {"password=p\\ w user=u", "password=*** user=u"},
      {"password='not closed user=u", "password=***"},
      {"password='' user=u", "password=*** user=u"},
      {"password= ", "password= "},
      {"PASSWORD=pw", "PASSWORD=***"},
      {"sslpassword=pw passfile=/p sslkey=/k", "sslpassword=*** passfile=/p sslkey=/k"},
      {"oauth_client_secret=pw scram_client_key=pw scram_server_key=pw",
       "oauth_client_secret=*** scram_client_key=*** scram_server_key=***"},
      {"dbname=postgresql://u:pw@h/db user=u", "dbname=postgresql://u:***@h/db user=u"},
      {"dbname='postgresql://u:pw@h/db' password=pw", "dbname='postgresql://u:***@h/db' password=***"},
      {"password=pw dbname=postgresql://u@h", "password=*** dbname=postgresql://u@h"},
      {"host=h application_name='a=b'", "host=h application_name='a=b'"},
      {"", ""},
  };
  for (const auto& [text, masked] : cases) CHECK(mask_secrets(text) == masked);
}

TEST_CASE("masking what is masked changes nothing") {
  Random random(7);
  for (int i = 0; i < 2'000; ++i) {
    const auto text = (coin(random) ? "postgresql://" : "password=") + hard_text(random) +
                      (coin(random) ? "@h" : " host=a");
    const auto once = mask_secrets(text);
    CAPTURE(text);
    REQUIRE(mask_secrets(once) == once);
  }
}
