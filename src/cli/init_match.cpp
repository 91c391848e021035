// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Which table of the target is meant by one of the source, by their names and, failing that, their columns.
#include <cctype>

#include "init.hpp"

namespace walign::cli::init {

namespace {

// userAccounts, user_accounts and "User Accounts" are one name, written in three ways.
std::string bare(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isalnum(u) != 0 || u >= 0x80) out += static_cast<char>(std::tolower(u));
  }
  return out;
}

std::string singular(std::string name) {
  if (name.ends_with("ies") && name.size() > 4) return name.replace(name.size() - 3, 3, "y");
  if (name.ends_with("s") && name.size() > 3) name.pop_back();
  return name;
}

// What a copy is called that nobody wants to write to any more.
bool looks_discarded(std::string_view name) {
  for (const auto* word : {"old", "bak", "backup", "archive", "archived", "legacy", "deprecated"}) {
    if (name.ends_with(cat("_", word)) || name.starts_with(cat(word, "_"))) return true;
  }
  return false;
}

bool extends(std::string_view longer, std::string_view name) {
  return name.size() >= 3 && (longer.starts_with(cat(name, "_")) || longer.ends_with(cat("_", name)));
}

// Characters that must be put in, taken out or replaced to make one of the other; only whether it is one or two
// matters.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const auto replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

bool few_columns_differ(const pg::Table& a, const pg::Table& b) {
  const auto shared = std::count_if(a.columns.begin(), a.columns.end(),
                                    [&](const pg::Column& c) { return b.column(c.name) != nullptr; });
  return shared >= 3 &&
         static_cast<std::size_t>(shared) * 5 >= std::max(a.columns.size(), b.columns.size()) * 4;
}

struct Likeness {
  int rank = 0;  // 0: none; the lower of others is the closer
  const char* why = "";
};

Likeness likeness(const pg::Table& source, const pg::Table& target) {
  if (source.name == target.name) return {1, "the same name in another schema"};
  const auto a = bare(source.name);
  const auto b = bare(target.name);
  if (a.empty() || b.empty()) return {};
  if (a == b) return {2, "the same name, written in another way"};
  if (singular(a) == singular(b)) return {2, "the same name in singular and plural"};
  if (extends(target.name, source.name) || extends(source.name, target.name))
    return {3, "one name is part of the other"};
  const auto allowed = std::min(a.size(), b.size()) >= 8 ? 2U : std::min(a.size(), b.size()) >= 5 ? 1U : 0U;
  if (distance(a, b) <= allowed) return {4, "almost the same name"};
  if (few_columns_differ(source, target)) return {5, "almost the same columns"};
  return {};
}

// Within one database both tables are in both catalogs, so it must be seen which one is the old one.
bool leads_forward(const pg::Table& source, const pg::Table& target) {
  if (looks_discarded(target.name)) return false;
  if (extends(target.name, source.name)) return true;
  if (extends(source.name, target.name)) return false;
  if (source.name == target.name && source.schema == "public") return true;
  if (source.name == target.name && target.schema == "public") return false;
  return target.bytes < source.bytes;
}

class Matcher {
 public:
  Matcher(const pg::Catalog& source, const pg::Catalog& target, const MatchOptions& options)
      : target_(target), options_(options) {
    for (const auto& [name, table] : source) {
      const bool wanted = options.schemas.empty() || options.schemas.contains(table.schema);
      if (wanted && may_be_meant(table)) sources_.push_back(&table);
    }
  }

  Matching match() {
    if (!options_.same_database) match_by_name();
    for (const auto* source : sources_) {
      if (!taken_sources_.contains(source)) out_.alone.emplace_back(source, like(*source));
    }
    if (out_.pairs.empty()) promote();
    for (const auto& [name, table] : target_) {
      if (!options_.same_database && may_be_meant(table) && !taken_targets_.contains(&table))
        out_.target_only.push_back(&table);
    }
    return std::move(out_);
  }

 private:
  [[nodiscard]] bool may_be_meant(const pg::Table& table) const {
    return !table.is_partition && !options_.left_out.contains(name_of(table));
  }

  void take(const Pair& pair) {
    out_.pairs.push_back(pair);
    taken_sources_.insert(pair.source);
    taken_targets_.insert(pair.target);
  }

  void match_by_name() {
    for (const auto* source : sources_) {
      const auto found = target_.find({source->schema, source->name});
      if (found != target_.end() && may_be_meant(found->second)) take({source, &found->second, ""});
    }
  }

  [[nodiscard]] std::vector<Pair> like(const pg::Table& source) const {
    std::vector<std::pair<int, Pair>> ranked;
    for (const auto& [name, target] : target_) {
      if (!may_be_meant(target) || taken_targets_.contains(&target) || name_of(target) == name_of(source))
        continue;
      if (options_.same_database && !leads_forward(source, target)) continue;
      const auto how = likeness(source, target);
      if (how.rank > 0) ranked.emplace_back(how.rank, Pair{&source, &target, how.why});
    }
    std::stable_sort(ranked.begin(), ranked.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<Pair> best;
    for (std::size_t i = 0; i < std::min<std::size_t>(3, ranked.size()); ++i)
      best.push_back(ranked[i].second);
    return best;
  }

  // Beyond doubt: the only one like it, for nobody else, and no source itself.
  void promote() {
    std::map<const pg::Table*, int> wanted;
    std::set<TableName> leading;
    for (const auto& [source, candidates] : out_.alone) {
      for (const auto& candidate : candidates) ++wanted[candidate.target];
      if (!candidates.empty()) leading.insert(name_of(*source));
    }
    for (const auto& [source, candidates] : out_.alone) {
      if (candidates.size() != 1 || wanted[candidates.front().target] != 1) continue;
      if (options_.same_database && leading.contains(name_of(*candidates.front().target))) continue;
      take(candidates.front());
    }
    std::erase_if(out_.alone, [&](const auto& one) { return taken_sources_.contains(one.first); });
    // In one database a target is in the source's catalog too, and not left behind there.
    std::set<TableName> targets;
    for (const auto* target : taken_targets_) targets.insert(name_of(*target));
    if (options_.same_database)
      std::erase_if(out_.alone, [&](const auto& one) { return targets.contains(name_of(*one.first)); });
  }

  const pg::Catalog& target_;
  const MatchOptions& options_;
  std::vector<const pg::Table*> sources_;
  std::set<const pg::Table*> taken_sources_;
  std::set<const pg::Table*> taken_targets_;
  Matching out_;
};

}  // namespace

Matching match(const pg::Catalog& source, const pg::Catalog& target, const MatchOptions& options) {
  return Matcher(source, target, options).match();
}

}  // namespace walign::cli::init
