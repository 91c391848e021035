// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "key_order.hpp"

namespace walign::backfill {

namespace {

// ------------------------------------------------------------------------------------ compared here

class LocalOrder final : public KeyOrder {
 public:
  explicit LocalOrder(const std::vector<KeyColumn>& columns) {
    for (const KeyColumn& column : columns) comparisons_.push_back(column.comparison);
  }

  std::vector<std::size_t> locate(const std::vector<const Key*>& keys,
                                  const std::vector<const Bound*>& bounds) override {
    const auto by_place = [this](const Bound* a, const Bound* b) { return below(*a, *b); };
    if (std::is_sorted(bounds.begin(), bounds.end(), by_place)) return count(keys, bounds);
    std::vector<const Bound*> sorted = bounds;
    std::sort(sorted.begin(), sorted.end(), by_place);
    return count(keys, sorted);
  }
  std::vector<std::size_t> locate_in_order(const std::vector<const Key*>& keys,
                                           const std::vector<const Bound*>& bounds) override {
    return count(keys, bounds);
  }

 private:
  [[nodiscard]] int compare(const Key& a, const Key& b) const {
    WALIGN_CHECK(a.size() == comparisons_.size() && b.size() == comparisons_.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (const int order = compare_text(comparisons_[i], a[i], b[i]); order != 0) return order;
    }
    return 0;
  }

  [[nodiscard]] bool below(const Bound& a, const Bound& b) const {
    const int order = compare(*a.key, *b.key);
    return order != 0 ? order < 0 : a.after < b.after;
  }

  [[nodiscard]] std::vector<std::size_t> count(const std::vector<const Key*>& keys,
                                               const std::vector<const Bound*>& sorted) const {
    std::vector<std::size_t> counts;
    counts.reserve(keys.size());
    for (const Key* key : keys) {
      const auto first_above = std::partition_point(sorted.begin(), sorted.end(), [&](const Bound* bound) {
        const int order = compare(*bound->key, *key);
        return bound->after ? order < 0 : order <= 0;
      });
      counts.push_back(static_cast<std::size_t>(first_above - sorted.begin()));
    }
    return counts;
  }

  std::vector<Comparison> comparisons_;
};

// ------------------------------------------------------------------------------- asked of the source

// Keys and bounds are sorted together, a bound just before a key in front of it and one just after it behind it; then
// every key is told how many bounds are in front.
constexpr const char* kBefore = "0";
constexpr const char* kKey = "1";
constexpr const char* kAfter = "2";

class AskingOrder final : public KeyOrder {
 public:
  AskingOrder(const std::vector<KeyColumn>& columns, pg::Connection& source)
      : width_(columns.size()), sql_(statement(columns)), source_(source) {}

  std::vector<std::size_t> locate(const std::vector<const Key*>& keys,
                                  const std::vector<const Bound*>& bounds) override {
    std::vector<std::size_t> counts(keys.size(), 0);
    if (keys.empty() || bounds.empty()) return counts;
    std::vector<pg::TextArray> arrays(width_ + 1);
    for (const Key* key : keys) add(arrays, *key, kKey);
    for (const Bound* bound : bounds) add(arrays, *bound->key, bound->after ? kAfter : kBefore);
    std::vector<pg::Param> params;
    params.reserve(arrays.size());
    for (pg::TextArray& array : arrays) params.push_back(array.param());

    const pg::Result result = source_.query_params(sql_, params);
    WALIGN_CHECK(static_cast<std::size_t>(result.rows()) == keys.size());
    for (std::size_t i = 0; i < counts.size(); ++i) {
      counts[i] = static_cast<std::size_t>(result.integer(static_cast<int>(i), 0));
    }
    return counts;
  }

 private:
  void add(std::vector<pg::TextArray>& arrays, const Key& key, const char* kind) const {
    WALIGN_CHECK(key.size() == width_);
    for (std::size_t i = 0; i < width_; ++i) arrays[i].add(key[i]);
    arrays[width_].add(kind);
  }

  static std::string statement(const std::vector<KeyColumn>& columns) {
    std::string arrays, names, order;
    for (std::size_t i = 1; i <= columns.size(); ++i) {
      const KeyColumn& column = columns[i - 1];
      arrays += cat("pg_catalog.unnest($", i, "::pg_catalog.text[]), ");
      names += cat("v", i, ", ");
      order += cat("u.v", i, "::", column.type_sql, column.collate_sql.empty() ? "" : " ", column.collate_sql,
                   ", ");
    }
    return cat("SELECT x.below FROM (SELECT u.kind, u.place, pg_catalog.count(*) FILTER (WHERE u.kind <> '",
               kKey, "') OVER (ORDER BY ", order,
               "u.kind COLLATE pg_catalog.\"C\" ROWS UNBOUNDED PRECEDING) AS below FROM ", "ROWS FROM (",
               arrays, "pg_catalog.unnest($", columns.size() + 1,
               "::pg_catalog.text[])) WITH ORDINALITY AS u(", names, "kind, place)) x WHERE x.kind = '", kKey,
               "' ORDER BY x.place");
  }

  std::size_t width_;
  std::string sql_;
  pg::Connection& source_;
};

}  // namespace

std::unique_ptr<KeyOrder> make_key_order(const std::vector<KeyColumn>& columns, pg::Connection& source) {
  WALIGN_CHECK(!columns.empty());
  const bool asks = std::any_of(columns.begin(), columns.end(),
                                [](const KeyColumn& c) { return c.comparison == Comparison::ask; });
  if (asks) return std::make_unique<AskingOrder>(columns, source);
  return std::make_unique<LocalOrder>(columns);
}

}  // namespace walign::backfill
