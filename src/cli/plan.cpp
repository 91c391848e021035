// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// plan: what `run` would create and write, for people or (--sql) as a script.
#include "findings.hpp"
#include "signals.hpp"
#include "text.hpp"

namespace walign::cli {

namespace {

struct PlanOptions {
  bool sql = false;
  bool json = false;
};

// A semicolon behind a comment would be part of it.
std::string terminated(const std::string& statement) {
  if (statement.ends_with(';')) return statement + "\n";
  return cat(statement, statement.find("--") == std::string::npos ? ";\n" : "\n;\n");
}

std::string commented(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto end = text.find('\n');
    out += cat("--   ", text.substr(0, end), "\n");
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
}

// psql goes where the script says, unless it would need a password to be written down.
std::string connect_line(const std::string& conninfo) {
  if (config::mask_secrets(conninfo) != conninfo || conninfo.find('\'') != std::string::npos) {
    return cat("-- (connect psql to ", pg::describe_conninfo(conninfo), " here)\n");
  }
  return cat("\\connect '", conninfo, "'\n");
}

std::string statement_comment(std::string_view name, const std::string& sql) {
  return sql.empty() ? "" : cat("-- ", name, ":\n", commented(sql));
}

std::string script(const config::Config& config, const stream::Plan& plan) {
  std::string out =
      cat("-- What `walign run` does for migration ", config.migration,
          " before it copies and streams. It does so by itself; this is to be read.\n\n-- On the source\n",
          connect_line(config.source));
  for (const auto& statement : plan.on_source) out += terminated(statement);
  out += cat("\n-- On the target\n", connect_line(config.target));
  for (const auto& statement : plan.on_target) out += terminated(statement);
  out += "\n-- What it writes on the target, set by set: $1, $2, ... are arrays of the source's values.\n";
  for (const auto& table : plan.tables) {
    out += cat("\n-- ", printable(table.source), " -> ", printable(table.target), "\n");
    out += statement_comment("INSERT", table.insert_sql);
    out += statement_comment("UPDATE", table.update_sql);
    out += statement_comment("DELETE", table.delete_sql);
  }
  out +=
      "\n-- After a cutover, what it writes on the source: $1, $2, ... are arrays of the target's values.\n";
  for (const auto& table : plan.tables) {
    if (table.back.insert_sql.empty()) continue;
    out += cat("\n-- ", printable(table.target), " -> ", printable(table.source), "\n");
    out += statement_comment("INSERT", table.back.insert_sql);
    out += statement_comment("UPDATE", table.back.update_sql);
    out += statement_comment("DELETE", table.back.delete_sql);
  }
  return out;
}

// Statements stand in one line here; --sql has them as they are.
std::string list(const std::vector<std::string>& statements) {
  if (statements.empty()) return "  nothing\n";
  std::string out;
  for (const auto& statement : statements) out += cat("  ", printable(statement), "\n");
  return out;
}

const char* copied_text(const mapping::CopyWay& way) {
  if (way.at_aligned_moment) {
    return way.piped
               ? "as they are, each chunk at its aligned moment: the target has other unique indexes"
               : "through the mapping's SQL, each chunk at its aligned moment: the target has other unique "
                 "indexes";
  }
  return way.piped ? "as they are, piped from COPY to COPY" : "through the mapping's SQL";
}

std::string rows_text(const stream::Plan::Table& table) {
  return cat(table.estimated_rows ? cat("about ", count_text(*table.estimated_rows))
                                  : std::string("not known (ANALYZE the source's table)"),
             ", ", bytes_text(table.bytes));
}

std::string chunks_text(const stream::Plan::Table& table) {
  if (table.copy.key.empty()) return "1: it has no key to be cut by; changes to it wait until it is loaded";
  return cat("about ", table.chunks, ", of up to ", table.rows_per_chunk, " rows, by ",
             join(table.copy.key, ", "));
}

// Whether and how the table comes back after a cutover.
std::string back_text(const stream::Plan::Table::Back& back) {
  if (back.one_way) return "  way back: none (one_way); the table is copied again after a rollback\n";
  std::string out;
  for (const auto& why : back.why_not) out += cat("    ", one_line(why), "\n");
  if (!out.empty()) return cat("  way back: none\n", out);
  out = "  way back\n";
  Table columns;
  for (const auto& [name, expression] : back.columns) columns.add({name, "<-", expression});
  out += columns.text(4);
  Table facts;
  if (!back.filter.empty()) facts.add({"of rows", back.filter});
  if (!back.by_default.empty()) facts.add({"by default", join(back.by_default, ", ")});
  if (!back.not_carried.empty()) facts.add({"not carried", join(back.not_carried, ", ")});
  if (!back.drawn_key.empty()) {
    facts.add({"new keys", cat(back.drawn_key, " on the source, written into ", back.drawn_into)});
  }
  out += facts.text(4);
  for (const auto& risk : back.risks) out += cat("    ", one_line(risk), "\n");
  return out;
}

std::string time_text(const stream::Plan::Table& table) {
  return table.copy_seconds ? cat("about ", seconds_text(*table.copy_seconds)) : std::string("not known");
}

std::string table_text(const stream::Plan::Table& table) {
  std::string out = cat(printable(table.source), " -> ", printable(table.target), "\n");
  Table facts;
  facts.add({"rows", rows_text(table)});
  facts.add({"chunks", chunks_text(table)});
  facts.add({"time", time_text(table)});
  facts.add({"copied", copied_text(table.copy)});
  facts.add({"key", table.key.empty() ? "none: takes inserts only" : join(table.key, ", ")});
  facts.add({"filter", table.filter.empty() ? "none: every row" : table.filter});
  if (!table.reads.empty()) facts.add({"reads", join(table.reads, ", ")});
  if (!table.copied_after.empty()) facts.add({"copied after", join(table.copied_after, ", ")});
  out += facts.text(2);
  out += "  columns\n";
  Table columns;
  for (const auto& [name, expression] : table.columns) columns.add({name, "<-", expression});
  out += columns.text(4);
  if (!table.risks.empty()) out += "  risks\n";
  for (const auto& risk : table.risks) out += cat("    ", printable(risk), "\n");
  out += "  locks\n";
  for (const auto& lock : table.locks) out += cat("    ", lock, "\n");
  return out + back_text(table.back);
}

std::string text(const config::Config& config, const stream::Plan& plan) {
  std::string out = cat("On the source, ", pg::describe_conninfo(config.source), ":\n", list(plan.on_source),
                        "On the target, ", pg::describe_conninfo(config.target), ":\n", list(plan.on_target));
  for (const auto& table : plan.tables) out += cat("\n", table_text(table));
  out += cat(
      "\nCopying takes ",
      plan.copy_seconds ? cat("about ", seconds_text(*plan.copy_seconds)) : std::string("a time not known"),
      ", reckoned, not measured: ", plan.assumed, ".\n");
  return out + "\nNothing was changed. walign run does this; walign plan --sql has every statement.\n";
}

Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }
Json or_null(const std::optional<double>& number) { return number ? Json(*number) : Json(); }

Json columns_json(const std::vector<std::pair<std::string, std::string>>& columns) {
  Json out = Json::array();
  for (const auto& [name, expression] : columns) out.push_back({{"name", name}, {"expression", expression}});
  return out;
}

Json back_json(const stream::Plan::Table::Back& back) {
  return {{"exists", !back.one_way && back.why_not.empty()},
          {"one_way", back.one_way},
          {"why_not", back.why_not},
          {"columns", columns_json(back.columns)},
          {"by_default", back.by_default},
          {"not_carried", back.not_carried},
          {"risks", back.risks},
          {"filter", or_null(back.filter)},
          {"drawn_key", or_null(back.drawn_key)},
          {"insert_sql", or_null(back.insert_sql)},
          {"update_sql", or_null(back.update_sql)},
          {"delete_sql", or_null(back.delete_sql)}};
}

Json json(const stream::Plan& plan) {
  Json tables = Json::array();
  for (const auto& t : plan.tables) {
    tables.push_back({{"source", t.source},
                      {"target", t.target},
                      {"columns", columns_json(t.columns)},
                      {"key", t.key},
                      {"filter", or_null(t.filter)},
                      {"reads", t.reads},
                      {"copied_after", t.copied_after},
                      {"risks", t.risks},
                      {"locks", t.locks},
                      {"estimated_rows", or_null(t.estimated_rows)},
                      {"bytes", t.bytes},
                      {"chunks", t.chunks},
                      {"rows_per_chunk", t.copy.key.empty() ? Json() : Json(t.rows_per_chunk)},
                      {"chunk_key", t.copy.key},
                      {"piped", t.copy.piped},
                      {"at_aligned_moment", t.copy.at_aligned_moment},
                      {"copy_seconds", or_null(t.copy_seconds)},
                      {"way_back", back_json(t.back)},
                      {"insert_sql", t.insert_sql},
                      {"update_sql", or_null(t.update_sql)},
                      {"delete_sql", or_null(t.delete_sql)}});
  }
  return {{"on_source", plan.on_source},
          {"on_target", plan.on_target},
          {"tables", tables},
          {"copy_seconds", or_null(plan.copy_seconds)},
          {"copy_seconds_assume", plan.assumed}};
}

// A role that may not make the publication itself is told to look here for the statement: that alone is no reason to
// refuse. What has no route has no plan.
stream::Prepared prepare_for_plan(Context& context, const config::Config& config,
                                  const Interrupt& interrupt) {
  auto prepared = stream::prepare(config, &interrupt);
  const auto of_a_publication = [](const mapping::Finding& f) {
    return f.subject.starts_with("source publication ");
  };
  mapping::Findings publications, others;
  for (const auto& f : prepared.findings) {
    if (f.level == mapping::Finding::Level::fail) (of_a_publication(f) ? publications : others).push_back(f);
  }
  if (!others.empty()) refuse(others);
  if (!publications.empty()) {
    context.io.err << "walign run would refuse until these are mended:\n" << findings_text(publications);
  }
  return prepared;
}

int show_plan(Context& context, const PlanOptions& options) {
  const auto config = context.load();
  const Signals signals;
  const auto prepared = prepare_for_plan(context, config, signals.interrupt());
  const auto plan = stream::plan(config, prepared, stream::ways_back(config, prepared, &signals.interrupt()));
  if (options.json) {
    print_json(context, json(plan));
  } else {
    context.io.out << (options.sql ? script(config, plan) : text(config, plan));
  }
  return 0;
}

}  // namespace

void add_plan(CLI::App& parent, Context& context) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command =
      add_command(parent, context, "plan", "Print what run would create and write; change nothing.",
                  "walign plan                 rows, chunks, columns, keys and risks, table by table\n"
                  "  walign plan --sql | less    every statement",
                  options, show_plan);
  auto* sql = command->add_flag("--sql", options->sql, "as an SQL script");
  command->add_flag("--json", options->json, "as JSON")->excludes(sql);
}

}  // namespace walign::cli
