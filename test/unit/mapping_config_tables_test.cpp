// tables and columns: their forms, and what is said about what is not one.
#include "mapping_config_test.hpp"

using namespace walign;
using namespace walign::config;
using namespace walign::config::test;

TEST_CASE("tables have short and long forms") {
  const TableName users{"public", "users"};
  const TableName target{"app", "people"};
  for (const std::string form :
       {"- public.users: app.people", "- users: app.people", "- 'public.users: app.people'",
        "- {from: public.users, to: app.people}", "- {to: app.people, from: users}"}) {
    const auto table = rule(form);
    CHECK(table.from == users);
    CHECK(table.to == target);
  }
  CHECK(rule("- from: public.users").to == users);
  CHECK_FALSE(rule("- from: public.users").inserts_only);
  CHECK(rule("- {from: public.users, inserts_only: true}").inserts_only);
  CHECK(rule("- '\"My Schema\".\"Tab.le\"'").from == TableName{"My Schema", "Tab.le"});
  CHECK(rule("- '\"a\"\"b\".c: \"x: y\".z'").from == TableName{"a\"b", "c"});
  CHECK(rule("- '\"a\"\"b\".c: \"x: y\".z'").to == TableName{"x: y", "z"});
  CHECK(rule("- Public.Users").from == TableName{"Public", "Users"});
  CHECK(rule("- caf\xC3\xA9.t$-1").from == TableName{"caf\xC3\xA9", "t$-1"});
}

TEST_CASE("patterns keep the names of their tables") {
  CHECK(rule("- \"audit.*: archive.*\"").to == TableName{"archive", "*"});
  CHECK(rule("- public.log_*: archive.log_*").wildcard);
  CHECK(rule("- {from: public.log_*, to: archive.*, one_way: true}").one_way);
  CHECK(begins(problem_in_tables("- public.log_*: archive.old_*"), "6:17: a pattern keeps"));
  CHECK(begins(problem_in_tables("- public.log_*: archive.all"), "6:17: a pattern keeps"));
  CHECK(begins(problem_in_tables("- public.log: archive.*"), "6:15: the target is a pattern"));
  CHECK(begins(problem_in_tables("- '*.t'"), "6:3: \"*.t\": a '*' cannot stand in the schema"));
  CHECK(begins(problem_in_tables("- 's.\"a*\"'"), "6:3: \"s.\"a*\"\": a '*' cannot stand in quotes"));
  for (const std::string key :
       {"key: [id]", "where: a", "columns: {a: b}", "reverse_key: a", "target_where: a"}) {
    const auto name = key.substr(0, key.find(':'));
    CHECK(begins(problem_in_tables("- from: a.*\n  " + key),
                 "7:3: " + name + " cannot be given for a pattern"));
  }
}

TEST_CASE("a table that is not one is refused with what to write instead") {
  CHECK(begins(problem_in_tables("- a.b:c.d"), "6:3: \"a.b:c.d\": there is no space after the colon"));
  CHECK(begins(problem_in_tables("- a.b.c"), "6:3: \"a.b.c\": a name has more than two parts"));
  CHECK(begins(problem_in_tables("- a..b"), "6:3: \"a..b\": a part of the name is empty"));
  CHECK(begins(problem_in_tables("- a.b:"), "6:3: there is no target after the colon"));
  CHECK(begins(problem_in_tables("- 'a b'"), "6:3: \"a b\": a name with other characters"));
  CHECK(begins(problem_in_tables("- '\"a.b'"), "6:3: \"\"a.b\": a double quote is not closed"));
  CHECK(begins(problem_in_tables("- " + std::string(64, 'x')), "6:3: \"xxxx"));
  CHECK(begins(problem_in_tables("- a: b\n  c: d"), "6:3: a table of the short form has more than one pair"));
  CHECK(begins(problem_in_tables("- a: b\n  where: x"),
               "6:3: a table is neither the short form nor the long one"));
  CHECK(
      begins(problem_in_tables("- a: {to: b}"), "6:6: the target of a short form must be a name, not a map"));
  CHECK(begins(problem_in_tables("- to: b"), "6:3: a table has no \"from\""));
  CHECK(begins(problem_in_tables("- where: b"), "6:3: a table has no \"from\""));
  CHECK(problem_in_tables("- form: a\n  to: b") ==
        "6:3: unknown key \"form\" in a table (did you mean \"from\"?)");
  CHECK(begins(problem_in_tables("- [a]"), "6:3: a table must be a name or a map, not a list"));
  CHECK(begins(problem_in_tables("- 5"), "6:3: a table must be a text, not \"5\""));
  CHECK(begins(problem_in_tables("- {}"), "6:3: an empty map is no table"));
  CHECK(begins(problem_in_tables("- a.b: c.d\n- {from: a.b, to: c.d}"),
               "7:3: this pair of tables is given twice (it is already at 6:3)"));
  CHECK(with_tables("- a: b\n- a: c\n- d: c").tables.size() == 3);
  CHECK(begins(problems_of(kHead + "tables: []"),
               "t.yaml:5:9: tables must be a list of tables, not an empty list"));
  CHECK(begins(problems_of(kHead + "tables: {a: b}"),
               "t.yaml:5:9: tables must be a list of tables, not a map"));
  CHECK(begins(problem_in_tables("- from: a\n  key: id"),
               "7:8: key must be a list of target columns, not \"id\""));
  CHECK(begins(problem_in_tables("- from: a\n  key: []"),
               "7:8: key must be a list of target columns, not an empty"));
  CHECK(begins(problem_in_tables("- from: a\n  key: [i, i]"), "7:12: key names a column twice"));
  CHECK(begins(problem_in_tables("- from: a\n  one_way: true\n  reverse_key: x"),
               "8:3: one_way and reverse_key exclude"));
  CHECK(rule("- from: a\n  one_way: false\n  reverse_key: x").reverse_key == "x");
}

TEST_CASE("columns are renamed, computed, mapped, fixed or dropped") {
  const auto column = [](const std::string& text) {
    return rule("- from: t\n  columns: {" + text + "}").columns.at(0);
  };
  CHECK(column("a: b").source == "b");
  CHECK(column("a: false").kind == ColumnKind::drop);
  CHECK(column("a: 'false'").source == "false");
  CHECK(column("a: {constant: null}").value == std::nullopt);
  CHECK(column("a: {constant: null}").kind == ColumnKind::constant);
  CHECK(column("a: {constant: 5}").value == "5");
  CHECK(column("a: {constant: ''}").value == "");
  const auto values = column("a: {values: {A: x, 1: true, ~: none, B: null}, else: null, from: b}");
  CHECK(values.kind == ColumnKind::values);
  CHECK(values.source == "b");
  CHECK(values.has_else);
  CHECK_FALSE(values.value.has_value());
  CHECK(values.values ==
        std::vector<ValuePair>{{"A", "x"}, {"1", "true"}, {std::nullopt, "none"}, {"B", std::nullopt}});
  CHECK(column("a: {values: {A: x}, else: y}").value == "y");
  CHECK(column("a: {values: {A: x}}").source == "a");
}

TEST_CASE("a column that is really called only can be addressed") {
  const auto table = [](const std::string& columns) {
    return rule("- from: t\n  columns: {" + columns + "}");
  };
  CHECK(table("only: true").only);
  CHECK(table("only: true").columns.empty());
  CHECK(table("\"only\": true").only);
  CHECK_FALSE(table("only: false").only);
  CHECK(table("only: false").columns.empty());
  CHECK_FALSE(table("only: x").only);
  CHECK(table("only: x").columns.at(0).source == "x");
  CHECK(table("\"only\": false").columns.at(0).kind == ColumnKind::drop);
  const auto both = table("only: true, \"only\": x");
  CHECK(both.only);
  CHECK(both.columns.at(0).target == "only");
  CHECK(begins(problem_in_tables("- from: t\n  columns: {only: true, only: true}"),
               "7:25: duplicate key \"only\""));
}

TEST_CASE("a column's rule that is not one is refused") {
  const auto problem = [](const std::string& text) {
    return problem_in_tables("- from: t\n  columns: {" + text + "}");
  };
  CHECK(begins(problem("a: true"), "7:16: true is no rule for a column"));
  CHECK(begins(problem("a: "), "7:16: a column has no rule"));
  CHECK(begins(problem("a: 5"), "7:16: a column must be a text, not \"5\""));
  CHECK(begins(problem("a: [b]"), "7:16: a column must be a text, not a list"));
  CHECK(begins(problem("a: ''"), "7:16: a column is empty"));
  CHECK(begins(problem("a: b, a: c"), "7:19: duplicate key \"a\" (it is already at 7:13)"));
  CHECK(begins(problem("a: {sql: x, values: {A: b}}"), "7:25: sql and values exclude each other"));
  CHECK(begins(problem("a: {sql: x, constant: 5}"), "7:25: sql and constant exclude each other"));
  CHECK(begins(problem("a: {from: x}"), "7:16: a column has neither sql, values nor constant"));
  CHECK(begins(problem("a: {}"), "7:16: a column has neither sql, values nor constant"));
  CHECK(problem("a: {slq: x}") == "7:17: unknown key \"slq\" in a column (did you mean \"sql\"?)");
  CHECK(begins(problem("a: {constant: x, reverse: y}"), "7:30: reverse means nothing without sql"));
  CHECK(begins(problem("a: {sql: x, reverse: {}}"), "7:34: reverse must be SQL or a map, not an empty one"));
  CHECK(begins(problem("a: {sql: x, reverse: {b: }}"), "7:"));
  CHECK(begins(problem("a: {sql: x, reverse: {b: y, b: z}}"), "7:41: duplicate key \"b\""));
  CHECK(begins(problem("a: {sql: x, reverse: [b]}"), "7:34: reverse must be a text, not a list"));
  CHECK(begins(problem("a: {sql: x, else: y}"), "7:25: else means nothing without values"));
  CHECK(begins(problem("a: {sql: x, from: y}"), "7:25: from means nothing without values"));
  CHECK(begins(problem("a: {values: {}}"), "7:25: values must be a map, not an empty one"));
  CHECK(begins(problem("a: {values: {A: x, A: y}}"), "7:32: a source value is given twice"));
  CHECK(
      begins(problem("a: {values: {A: [x]}}"), "7:29: a target value must be one value or null, not a list"));
  CHECK(begins(problem("a: {sql: ' '}"), "7:22: sql is empty"));
  CHECK(begins(problem("'${HOST}': x"), "7:13: a variable in a key is not replaced"));
}
