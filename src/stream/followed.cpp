// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Whether the tables of the configuration are the ones whose rows the stream has brought so far. Who leaves a
// publication, or takes another one's name, leaves without a word (RULES 15 and 16).
#include "servers.hpp"

namespace walign::stream {

namespace {

using apply::RelationShape;
using mapping::Finding;

// The newest of each OID.
std::map<pg::Oid, RelationShape> newest(const std::vector<RelationShape>& known) {
  std::map<pg::Oid, RelationShape> out;
  for (const auto& shape : known) out[shape.oid] = shape;
  return out;
}

// Nothing where there is no such publication: that is said elsewhere.
std::optional<std::set<pg::Oid>> published_tables(pg::Connection& source, const std::string& publication) {
  const auto r = source.query(
      "SELECT p.prrelid FROM pg_catalog.pg_publication b LEFT JOIN pg_catalog.pg_publication_rel p ON "
      "p.prpubid "
      "= b.oid WHERE b.pubname = $1",
      {publication});
  if (r.rows() == 0) return std::nullopt;
  std::set<pg::Oid> out;
  for (int i = 0; i < r.rows(); ++i) {
    if (!r.is_null(i, 0)) out.insert(static_cast<pg::Oid>(r.integer(i, 0)));
  }
  return out;
}

class Followed {
 public:
  Followed(Prepared& prepared, const std::vector<RelationShape>& known, pg::Connection& source)
      : prepared_(prepared), known_(newest(known)), source_(source) {}

  void check(const std::vector<config::TableName>& tables, const std::string& publication) {
    const auto published = published_tables(source_, publication);
    for (const auto& table : tables) {
      const auto found = prepared_.source_catalog.find({table.schema, table.name});
      if (found == prepared_.source_catalog.end()) continue;  // said elsewhere
      check_table(table, found->second, published);
    }
  }

 private:
  void finding(Finding::Level level, const config::TableName& table, std::string what, std::string remedy) {
    prepared_.findings.push_back(
        {level, cat("source table ", table.to_string()), std::move(what), std::move(remedy)});
  }

  void check_table(const config::TableName& table, const pg::Table& its,
                   const std::optional<std::set<pg::Oid>>& published) {
    constexpr const char* kAgain =
        "what was written to it since is not in the stream. If that is nothing, give the old table its name "
        "back; "
        "otherwise copy the table again: take it out of walign.yaml, run, and put it back with "
        "existing_rows: adopt";
    const auto followed = known_.find(its.oid);
    if (followed == known_.end()) {
      for (const auto& [oid, shape] : known_) {
        if (oid != shape.table || shape.schema != table.schema || shape.name != table.name) continue;
        finding(Finding::Level::fail, table,
                "is another table than the one that the stream has followed: it was dropped and made again, "
                "or has "
                "taken the name of another",
                kAgain);
      }
      return;  // new
    }
    if (published && !published->contains(its.oid)) {
      finding(Finding::Level::fail, table, "has left the publication that the stream reads",
              cat("what was written to it since is not in the stream. If that is nothing, put it back: ALTER "
                  "PUBLICATION ... ADD TABLE ",
                  pg::qualified(table.schema, table.name),
                  "; otherwise copy the table again: take it out of walign.yaml, run, and put it back with "
                  "existing_rows: adopt"));
      return;
    }
    if (its.kind == 'p') check_partitions(table, its);
  }

  // A partition that comes with rows brings them without the stream; one that goes takes them without it.
  void check_partitions(const config::TableName& table, const pg::Table& its) {
    const std::string verify = cat("walign verify --table ", table.to_string(), " --all --repair");
    std::set<pg::Oid> now;
    for (const auto& leaf : its.leaves) {
      const auto found = prepared_.source_catalog.find({leaf.schema, leaf.name});
      if (found == prepared_.source_catalog.end()) continue;
      now.insert(found->second.oid);
      if (known_.contains(found->second.oid) || !was_attached(found->second.oid)) continue;
      finding(Finding::Level::warn, table,
              cat("has got the partition ", leaf.schema, ".", leaf.name,
                  ", attached as a table that was there before: rows that it had are not in the stream"),
              cat("if it had any, they are read by: ", verify));
    }
    for (const auto& [oid, shape] : known_) {
      if (shape.table != its.oid || oid == its.oid || now.contains(oid)) continue;
      finding(Finding::Level::warn, table,
              cat("has lost the partition ", shape.schema, ".", shape.name,
                  " (detached or dropped): its rows stay on the target"),
              cat("if they should go, delete them there; ", verify, " says which they are"));
    }
  }

  // Made as a partition, it was empty: the rows of pg_attribute and pg_inherits are of one transaction then.
  bool was_attached(pg::Oid partition) {
    const auto r = source_.query(
        "SELECT i.xmin = a.xmin FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_attribute a ON a.attrelid = "
        "i.inhrelid AND a.attnum = -1 WHERE i.inhrelid = $1",
        {cat(partition)});
    return r.rows() == 0 || !r.boolean(0, 0);
  }

  Prepared& prepared_;
  const std::map<pg::Oid, RelationShape> known_;
  pg::Connection& source_;
};

}  // namespace

void check_followed(const config::Config& config, Prepared& prepared, const std::vector<RelationShape>& known,
                    pg::Connection& source) {
  if (known.empty()) return;
  Followed followed(prepared, known, source);
  followed.check(prepared.published, config.stream_name());
  followed.check(prepared.published_inserts, inserts_publication(config));
}

std::vector<pg::Oid> read_partitions(const Prepared& prepared, pg::Connection& source) {
  std::string roots;
  for (const auto* tables : {&prepared.published, &prepared.published_inserts}) {
    for (const auto& table : *tables) {
      const auto found = prepared.source_catalog.find({table.schema, table.name});
      if (found == prepared.source_catalog.end() || found->second.kind != 'p') continue;
      roots += cat(roots.empty() ? "" : ",", found->second.oid);
    }
  }
  std::vector<pg::Oid> out;
  if (roots.empty()) return out;
  const auto r = source.exec(
      cat("SELECT DISTINCT t.relid::oid FROM unnest('{", roots,
          "}'::oid[]) AS root, LATERAL pg_catalog.pg_partition_tree(root) AS t WHERE t.isleaf ORDER BY 1"));
  for (int i = 0; i < r.rows(); ++i) out.push_back(static_cast<pg::Oid>(r.integer(i, 0)));
  return out;
}

std::map<pg::Oid, pg::Oid> read_filenodes(pg::Connection& source) {
  const auto r = source.exec(
      "SELECT oid, coalesce(pg_catalog.pg_relation_filenode(oid), 0) FROM pg_catalog.pg_class WHERE relkind "
      "= 'r'");
  std::map<pg::Oid, pg::Oid> out;
  for (int i = 0; i < r.rows(); ++i) {
    out.emplace(static_cast<pg::Oid>(r.integer(i, 0)), static_cast<pg::Oid>(r.integer(i, 1)));
  }
  return out;
}

void put_filenodes(const std::map<pg::Oid, pg::Oid>& before, const std::map<pg::Oid, pg::Oid>& after,
                   std::vector<RelationShape>& shapes) {
  for (auto& shape : shapes) {
    const auto was = before.find(shape.oid);
    const auto is = after.find(shape.oid);
    if (was != before.end() && is != after.end() && was->second == is->second) shape.filenode = is->second;
  }
}

void note_shapes(pg::Connection& target, const std::string& stream, const std::vector<RelationShape>& now,
                 const std::vector<RelationShape>& known) {
  const auto latest = newest(known);
  target.exec("BEGIN; SET LOCAL synchronous_commit = on");
  std::set<pg::Oid> tables, gone;
  for (const auto& shape : now) tables.insert(shape.table);
  for (const auto& shape : known) {
    if (!tables.contains(shape.table)) gone.insert(shape.table);
  }
  for (const auto table : gone) apply::forget_relations(target, stream, table);
  for (const auto& shape : now) {
    const auto found = latest.find(shape.oid);
    if (found == latest.end() || !found->second.same(shape)) apply::note_relation(target, stream, shape);
  }
  target.exec("COMMIT");
}

}  // namespace walign::stream
