// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// schema: the tables that the stream follows, and what happened to their columns since; and what walign altered on the
// target for that.
#include "command.hpp"
#include "signals.hpp"
#include "text.hpp"
#include "walign/config.hpp"
#include "walign/relations.hpp"

namespace walign::cli {

namespace {

struct SchemaOptions {
  bool json = false;
};

using apply::RelationColumn;
using apply::RelationShape;

// Of types that every server has under the same OID; others keep their number, which is the source's.
std::string type_name(pg::Connection& server, pg::Oid oid) {
  constexpr pg::Oid kFirstNormalObjectId = 16384;
  if (oid >= kFirstNormalObjectId) return cat("type ", oid);
  return server.query("SELECT pg_catalog.format_type($1::oid, NULL)", {cat(oid)}).str(0, 0);
}

const RelationColumn* with(const RelationShape& shape, int attnum) {
  for (const auto& column : shape.columns) {
    if (column.attnum == attnum) return &column;
  }
  return nullptr;
}

// What is different from the shape before; of the first one, all columns.
std::vector<std::string> changes(pg::Connection& server, const RelationShape* before,
                                 const RelationShape& shape) {
  std::vector<std::string> out;
  if (before != nullptr && (before->schema != shape.schema || before->name != shape.name)) {
    out.push_back(cat("renamed from ", before->schema, ".", before->name));
  }
  for (const auto& column : shape.columns) {
    const auto* old = before == nullptr ? nullptr : with(*before, column.attnum);
    if (old == nullptr) {
      out.push_back(
          cat(before == nullptr ? "" : "added ", column.name, " ", type_name(server, column.type_oid)));
      continue;
    }
    if (old->name != column.name) out.push_back(cat("renamed ", old->name, " to ", column.name));
    if (old->type_oid != column.type_oid) {
      out.push_back(cat("type of ", column.name, " from ", type_name(server, old->type_oid), " to ",
                        type_name(server, column.type_oid)));
    }
  }
  if (before == nullptr) return out;
  if (before->filenode != shape.filenode) out.emplace_back("all rows written anew");
  for (const auto& column : before->columns) {
    if (with(shape, column.attnum) == nullptr) out.push_back(cat("dropped ", column.name));
  }
  return out;
}

int show(Context& context, const SchemaOptions& options) {
  const auto config = context.load();
  const Signals signals;
  pg::ConnectionOptions connection;
  connection.conninfo = config.target;
  connection.application_name = cat("walign ", config.migration, " schema");
  connection.interrupt = &signals.interrupt();
  pg::Connection target(connection);
  const auto shapes = apply::read_relations(target, config.stream_name());
  Json all = Json::array();
  Table table({"table", "oid", "seen at", "columns"});
  std::map<pg::Oid, const RelationShape*> latest;
  for (const auto& shape : shapes) {
    const auto what = changes(target, latest[shape.oid], shape);
    latest[shape.oid] = &shape;
    all.push_back({{"table", cat(shape.schema, ".", shape.name)},
                   {"side", "source"},
                   {"oid", shape.oid},
                   {"partition_of", shape.table == shape.oid ? Json() : Json(shape.table)},
                   {"seen_lsn", shape.seen.to_string()},
                   {"changes", what}});
    table.add({cat(shape.schema, ".", shape.name), cat(shape.oid), shape.seen.to_string(), join(what, ", ")});
  }
  for (const auto& its : apply::read_alterations(target, config.stream_name())) {
    all.push_back({{"table", cat(its.schema, ".", its.name)},
                   {"side", "target"},
                   {"oid", Json()},
                   {"partition_of", Json()},
                   {"seen_lsn", its.position.to_string()},
                   {"changes", Json::array({its.sql})}});
    table.add(
        {cat(its.schema, ".", its.name), "target", its.position.to_string(), cat("by walign: ", its.sql)});
  }
  if (options.json) {
    print_json(context, all);
  } else {
    context.io.out << (shapes.empty() ? "no tables are followed yet: walign run\n" : table.text());
  }
  return 0;
}

}  // namespace

void add_schema(CLI::App& parent, Context& context) {
  auto options = std::make_shared<SchemaOptions>();
  CLI::App* command =
      add_command(parent, context, "schema",
                  "The source's tables that the stream follows, and how they were altered since.",
                  "walign schema", options, show);
  command->add_flag("--json", options->json, "as a JSON array");
}

}  // namespace walign::cli
