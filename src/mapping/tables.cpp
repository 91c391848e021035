// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "tables.hpp"

namespace walign::mapping {

namespace {

// '*' stands for any run of characters; nullopt where the text does not match, else what each '*' stood for.
std::optional<std::vector<std::string>> match(std::string_view pattern, std::string_view text) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) {
    return pattern == text ? std::optional<std::vector<std::string>>(std::in_place) : std::nullopt;
  }
  if (text.substr(0, star) != pattern.substr(0, star)) return std::nullopt;
  for (std::size_t length = 0; star + length <= text.size(); ++length) {
    if (auto rest = match(pattern.substr(star + 1), text.substr(star + length))) {
      rest->insert(rest->begin(), std::string(text.substr(star, length)));
      return rest;
    }
  }
  return std::nullopt;
}

std::string fill(std::string_view pattern, const std::vector<std::string>& stars) {
  std::string out;
  std::size_t next = 0;
  for (const char c : pattern) {
    if (c == '*' && next < stars.size()) {
      out += stars[next++];
    } else {
      out += c;
    }
  }
  return out;
}

const pg::Table* find(const pg::Catalog& catalog, const TableName& name) {
  const auto found = catalog.find({name.schema, name.name});
  return found == catalog.end() ? nullptr : &found->second;
}

class Pairing {
 public:
  Pairing(const pg::Catalog& source, const pg::Catalog& target, Findings& findings)
      : source_(source), target_(target), findings_(findings) {}

  void add(const config::TableRule& rule, const TableName& from, const TableName& to) {
    if (!seen_.emplace(from, to).second) {
      findings_.push_back(fail(from.to_string(), cat("is mapped to ", to.to_string(), " twice"),
                               "remove one of the two rules, or narrow the wildcard"));
      return;
    }
    const pg::Table* source = find(source_, from);
    const pg::Table* target = find(target_, to);
    if (source == nullptr) {
      findings_.push_back(fail(from.to_string(), "does not exist on the source",
                               "correct the name in walign.yaml (names are taken as written, not folded)"));
    }
    if (target == nullptr) {
      findings_.push_back(
          fail(to.to_string(), "does not exist on the target",
               "create it first; walign moves rows, not schemas: pg_dump --section=pre-data"));
    }
    if (source != nullptr && target != nullptr) pairs.push_back({&rule, source, target});
  }

  void add_wildcard(const config::TableRule& rule) {
    bool any = false;
    for (const auto& [name, table] : source_) {
      if (name.first != rule.from.schema || table.is_partition) continue;
      const auto stars = match(rule.from.name, name.second);
      if (!stars) continue;
      any = true;
      if (table.identity_columns().empty() && !rule.inserts_only) {
        const TableName from{name.first, name.second};
        findings_.push_back(
            warn(from.to_string(),
                 "is left out of the wildcard: it has no replica identity, and publishing it would make the "
                 "application's UPDATE and DELETE fail",
                 cat("ALTER TABLE ", pg::qualified(from.schema, from.name),
                     " ADD PRIMARY KEY (...), or REPLICA "
                     "IDENTITY FULL; or name it in a rule of its own with inserts_only: true")));
        continue;
      }
      add(rule, {name.first, name.second}, {rule.to.schema, fill(rule.to.name, *stars)});
    }
    if (!any) {
      findings_.push_back(
          fail(rule.from.to_string(), "matches no table of the source", "correct the pattern"));
    }
  }

  std::vector<TablePair> pairs;

 private:
  const pg::Catalog& source_;
  const pg::Catalog& target_;
  Findings& findings_;
  std::set<std::pair<TableName, TableName>> seen_;
};

void check_partition_roots(const std::vector<TablePair>& pairs, Findings& findings) {
  std::map<std::pair<std::string, std::string>, const pg::Table*> roots;
  for (const auto& pair : pairs) {
    for (const auto& leaf : pair.source->leaves)
      roots.emplace(std::pair(leaf.schema, leaf.name), pair.source);
  }
  for (const auto& pair : pairs) {
    const auto found = roots.find({pair.source->schema, pair.source->name});
    if (found == roots.end()) continue;
    findings.push_back(fail(TableName{pair.source->schema, pair.source->name}.to_string(),
                            cat("is a partition of ", found->second->name, ", which is mapped too"),
                            "map the partitioned table or its partitions, not both"));
  }
}

}  // namespace

Finding fail(std::string subject, std::string what, std::string remedy) {
  return {Finding::Level::fail, std::move(subject), std::move(what), std::move(remedy)};
}
Finding warn(std::string subject, std::string what, std::string remedy) {
  return {Finding::Level::warn, std::move(subject), std::move(what), std::move(remedy)};
}

bool any_failed(const Findings& findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& f) { return f.level == Finding::Level::fail; });
}

bool run_mends_all(const Findings& findings) {
  return any_failed(findings) && std::all_of(findings.begin(), findings.end(), [](const Finding& f) {
           return f.level != Finding::Level::fail || f.run_mends;
         });
}

std::vector<TablePair> pair_tables(const config::Config& config, const pg::Catalog& source,
                                   const pg::Catalog& target, Findings& findings) {
  Pairing pairing(source, target, findings);
  for (const auto& rule : config.tables) {
    if (rule.wildcard) {
      pairing.add_wildcard(rule);
    } else {
      pairing.add(rule, rule.from, rule.to);
    }
  }
  check_partition_roots(pairing.pairs, findings);
  return std::move(pairing.pairs);
}

void check_tables(const TablePair& pair, Findings& findings) {
  const pg::Table& source = *pair.source;
  const pg::Table& target = *pair.target;
  const std::string source_name = TableName{source.schema, source.name}.to_string();
  const std::string target_name = TableName{target.schema, target.name}.to_string();
  const std::string target_sql = pg::qualified(target.schema, target.name);
  if (source.persistence != 'p') {
    findings.push_back(fail(source_name, "is unlogged: its changes are not in the WAL",
                            cat("ALTER TABLE ", pg::qualified(source.schema, source.name), " SET LOGGED")));
  }
  if (target.persistence != 'p') {
    findings.push_back(fail(target_name,
                            "is unlogged: a crash of the target would empty it while the position stays",
                            cat("ALTER TABLE ", target_sql, " SET LOGGED")));
  }
  if (!target.can_select || !target.can_insert || !target.can_update || !target.can_delete) {
    findings.push_back(
        fail(target_name, "walign's role may not read and write it",
             cat("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ", target_sql, " TO <role>")));
  }
  if (!target.can_truncate) {
    findings.push_back(warn(target_name,
                            "walign's role may not TRUNCATE it: a TRUNCATE of the source stops the stream",
                            cat("GRANT TRUNCATE ON ", target_sql, " TO <role>")));
  }
  if (target.row_security) {
    findings.push_back(warn(target_name, "has row-level security: policies could hide rows from walign",
                            "let walign's role have BYPASSRLS, or be the table's owner without FORCE"));
  }
  for (const auto& index : target.indexes) {
    if (index.immediate) continue;
    findings.push_back(
        warn(target_name,
             cat("unique constraint ", index.name, " is deferrable: it is not enforced while walign applies"),
             "make it NOT DEFERRABLE for the migration if duplicates must be noticed at once"));
  }
}

}  // namespace walign::mapping
