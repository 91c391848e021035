// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A sample of the source's rows, there and back: mapped by the target, mapped back by the source, and compared with
// what they were. Both servers compute what they would compute later; nothing is written.
#include "way_back.hpp"

namespace walign::stream {

namespace {

using mapping::Finding;
using mapping::Route;
using mapping::WayBack;

constexpr int kMaxRows = 1000;
constexpr int kRowsAtOnce = 100;
constexpr std::size_t kMaxBytes = std::size_t{8} << 20U;
constexpr std::size_t kShown = 40;  // characters of a value

// A transaction that leaves nothing behind, with schema walign in it, whose functions value maps call.
class Trial {
 public:
  explicit Trial(pg::Connection& connection) : connection_(connection) {
    connection_.exec("BEGIN");
    if (!apply::schema_installed(connection_)) apply::create_schema_objects(connection_);
  }
  ~Trial() {
    try {
      if (!connection_.broken()) connection_.exec("ROLLBACK");
    } catch (const Error&) {  // the connection went; so did the transaction
    }
  }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

 private:
  pg::Connection& connection_;
};

std::optional<std::string> value_at(const pg::Result& r, int row, int column) {
  if (r.is_null(row, column)) return std::nullopt;
  return r.str(row, column);
}

std::string shown(const std::optional<std::string>& value) {
  if (!value) return "NULL";
  if (value->size() <= kShown) return cat("'", *value, "'");
  std::size_t end = kShown;  // whole characters only
  while (end > 0 && (static_cast<unsigned char>((*value)[end]) & 0xC0U) == 0x80U) --end;
  return cat("'", value->substr(0, end), "'...");
}

// One array per input, out of the columns of a result that `column_of` names; -1: NULL in every row.
pg::Result map_rows(pg::Connection& connection, const mapping::Statement& statement, const pg::Result& rows,
                    const std::function<int(int input)>& column_of) {
  std::vector<pg::TextArray> arrays(statement.inputs.size());
  std::vector<pg::Param> params;
  for (std::size_t a = 0; a < arrays.size(); ++a) {
    const int column = column_of(statement.inputs[a]);
    for (int i = 0; i < rows.rows(); ++i) {
      const auto value = column < 0 ? std::nullopt : value_at(rows, i, column);
      if (value) {
        arrays[a].add(*value);
      } else {
        arrays[a].add_null();
      }
    }
    params.push_back(arrays[a].param());
  }
  return connection.query_params(statement.sql, params);
}

class Sampling {
 public:
  Sampling(const BothWays& both, const Route& forward, WayBack& way)
      : both_(both),
        way_(way),
        forward_(forward),
        back_(*way.route),
        there_(mapping::values_statement(forward)),
        and_back_(mapping::values_statement(back_)) {}

  void run() {
    std::string columns;
    for (const auto& c : forward_.source_columns) {
      columns += cat(columns.empty() ? "" : ", ", "src.", pg::quote_ident(c.name), "::pg_catalog.text");
    }
    both_.source.exec(cat("DECLARE walign_sample NO SCROLL CURSOR FOR SELECT ", columns, " FROM ",
                          pg::qualified(forward_.source.schema, forward_.source.name), " AS src LIMIT ",
                          kMaxRows));
    std::size_t bytes = 0;
    // The first row alone, and never many more than before: rows may be large.
    int at_once = 1;
    while (bytes < kMaxBytes && !mapping::any_failed(way_.findings)) {
      const auto rows = both_.source.exec(cat("FETCH ", at_once, " FROM walign_sample"));
      if (rows.rows() == 0) return;
      at_once = std::min(at_once * 2, kRowsAtOnce);
      for (int i = 0; i < rows.rows(); ++i) {
        for (int c = 0; c < rows.columns(); ++c) bytes += rows.text(i, c).size();
      }
      check(rows);
    }
  }

 private:
  void fails(std::string what, std::string remedy) {
    way_.findings.push_back(
        {Finding::Level::fail, way_.label, cat("no way back: ", what), std::move(remedy)});
  }

  // Index into the forward columns of what the way back takes as input; -1 for a column that only the target has.
  [[nodiscard]] int forward_column(int sent) const {
    const auto& name = back_.source_columns[static_cast<std::size_t>(sent)].name;
    for (std::size_t i = 0; i < forward_.columns.size(); ++i) {
      if (forward_.columns[i].name == name) return static_cast<int>(i);
    }
    return -1;
  }
  [[nodiscard]] int source_column(const std::string& name) const {
    for (std::size_t i = 0; i < forward_.source_columns.size(); ++i) {
      if (forward_.source_columns[i].name == name) return static_cast<int>(i);
    }
    return -1;
  }

  void check(const pg::Result& rows) {
    pg::Result mapped;
    try {
      mapped = map_rows(both_.target, there_, rows, [](int input) { return input; });
    } catch (const Error& error) {
      if (error.sqlstate().empty()) throw;
      fails(cat("a row of the source cannot be mapped: ", bare(error.message())), error.hint());
      return;
    }
    if (mapped.rows() == 0) return;
    pg::Result returned;
    try {
      returned = map_rows(both_.source, and_back_, mapped, [&](int input) {
        const int column = forward_column(input);
        return column < 0 ? -1 : column + 1;  // behind the row's number
      });
    } catch (const Error& error) {
      if (error.sqlstate().empty()) throw;
      fails(cat("a row of the source, mapped, cannot be mapped back: ", bare(error.message())),
            "correct reverse: in walign.yaml, or one_way: true");
      return;
    }
    compare(rows, mapped, returned);
  }

  void compare(const pg::Result& rows, const pg::Result& mapped, const pg::Result& returned) {
    if (returned.rows() != mapped.rows()) {
      fails(cat(mapped.rows() - returned.rows(), " of ", mapped.rows(),
                " rows that this table gives the target are none of its own by its target_where:"),
            "correct target_where: so that it selects what this source's rows become");
      return;
    }
    for (std::size_t c = 0; c < back_.columns.size(); ++c) {
      const auto& column = back_.columns[c];
      const bool known = std::all_of(column.inputs.begin(), column.inputs.end(),
                                     [&](int input) { return forward_column(input) >= 0; });
      if (known) compare(static_cast<int>(c), rows, mapped, returned);
    }
  }

  void compare(int c, const pg::Result& rows, const pg::Result& mapped, const pg::Result& returned) {
    const auto& name = back_.columns[static_cast<std::size_t>(c)].name;
    const int original = source_column(name);
    for (int i = 0; i < returned.rows(); ++i) {
      const int row = static_cast<int>(mapped.integer(i, 0)) - 1;
      const auto was = value_at(rows, row, original);
      const auto came_back = value_at(returned, i, c + 1);
      if (was == came_back) continue;
      const auto& sent = forward_.columns[static_cast<std::size_t>(
          forward_column(back_.columns[static_cast<std::size_t>(c)].inputs.front()))];
      fails(cat("source column ", name, " does not come back as it was: ", shown(was), " becomes ",
                shown(value_at(mapped, i, forward_column_of(sent) + 1)), " in ", sent.name,
                " and comes back as ", shown(came_back), key(rows, row)),
            remedy(sent));
      return;
    }
  }

  [[nodiscard]] int forward_column_of(const mapping::TargetColumn& column) const {
    return static_cast<int>(&column - forward_.columns.data());
  }

  [[nodiscard]] std::string remedy(const mapping::TargetColumn& sent) const {
    const bool by_sql = sent.rule && sent.rule->kind == config::ColumnKind::sql;
    return by_sql ? cat("correct sql: and reverse: of column ", sent.name,
                        " so that one undoes the other, or one_way: true")
                  : cat("let ", pg::qualified(forward_.target.schema, forward_.target.name), ".",
                        pg::quote_ident(sent.name), " have the source's type, or one_way: true");
  }

  [[nodiscard]] std::string key(const pg::Result& rows, int row) const {
    std::string out;
    for (const int k : back_.key) {
      const auto& name = back_.columns[static_cast<std::size_t>(k)].name;
      out += cat(out.empty() ? " (" : ", ", name, "=", shown(value_at(rows, row, source_column(name))));
    }
    return out.empty() ? out : out + ")";
  }

  const BothWays& both_;
  WayBack& way_;
  const Route& forward_;
  const Route& back_;
  const mapping::Statement there_;
  const mapping::Statement and_back_;
};

bool has_value_map(const Route& route) {
  return std::any_of(route.columns.begin(), route.columns.end(), [](const mapping::TargetColumn& c) {
    return c.rule && c.rule->kind == config::ColumnKind::values;
  });
}

}  // namespace

void check_sample(const BothWays& both, std::vector<WayBack>& ways) {
  for (std::size_t i = 0; i < ways.size(); ++i) {
    WayBack& way = ways[i];
    const Route& forward = both.prepared.routes[i];
    if (!way.route || !(way.needs_proof || way.route->filter || has_value_map(forward))) continue;
    const Trial on_source(both.source);
    const Trial on_target(both.target);
    Sampling(both, forward, way).run();
    if (mapping::any_failed(way.findings)) way.route.reset();
  }
}

}  // namespace walign::stream
