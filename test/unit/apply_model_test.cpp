// Random histories of tables with a key: the steps, written as deletes, then updates, then inserts, give the same
// rows as the changes one by one, and lose count of none.
#include <random>

#include "apply_test.hpp"

using namespace apply_test;

namespace {

using Rows = std::map<std::string, std::vector<std::string>>;  // by key

std::vector<std::string> values(const v1::Tuple& row) {
  std::vector<std::string> out;
  event::for_each_value(row, [&](int, const event::Value& v) {
    out.push_back(v.state == event::State::value             ? std::string(v.bytes)
                  : v.state == event::State::unchanged_toast ? kUnchanged
                  : v.state == event::State::null            ? kNull
                                                             : kNotSent);
  });
  return out;
}

void update(Rows& rows, const std::string& key, const v1::Tuple& row) {
  REQUIRE(rows.contains(key));
  auto now = rows.at(key);
  const auto news = values(row);
  for (std::size_t i = 0; i < news.size(); ++i) {
    if (news[i] != kUnchanged) now[i] = news[i];
  }
  rows.erase(key);
  REQUIRE_FALSE(rows.contains(now[0]));
  rows[now[0]] = now;
}

void write(const apply::RouteRows& table, Rows& rows, std::uint64_t& weight) {
  for (const auto& row : table.rows) {
    weight += row.weight;
    if (row.net == apply::Net::remove || row.net == apply::Net::replace) {
      REQUIRE(rows.erase(values(*row.old_row)[0]) == 1);
    }
  }
  for (const auto& row : table.rows) {
    if (row.net == apply::Net::update) update(rows, values(*row.row)[0], *row.row);
  }
  for (const auto& row : table.rows) {
    if (row.net != apply::Net::insert && row.net != apply::Net::replace) continue;
    const auto news = values(*row.row);
    for (const auto& value : news) REQUIRE(value != kUnchanged);
    REQUIRE(rows.emplace(news[0], news).second);
  }
}

class History {
 public:
  History(unsigned seed, bool strict) : random_(seed) {
    for (int i = 0; i < 3; ++i)
      routes_.push_back(route(i, std::string(1, static_cast<char>('a' + i)), {"id", "v", "big"}));
    if (chance(2)) routes_[1].reads = {routes_[0].target};
    if (chance(4)) routes_[2].reads_unseen = true;
    for (auto& r : routes_) tables_.emplace_back(r);
    compactor_ = std::make_unique<apply::Compactor>(strict, routes_);
    expected_.resize(3);
    actual_.resize(3);
  }

  void run(int changes) {
    for (int i = 0; i < changes; ++i) {
      change();
      if (chance(40)) flush();
    }
    flush();
    CHECK(actual_ == expected_);
    CHECK(weight_ == changes_);
  }

 private:
  int pick(int from, int to) { return std::uniform_int_distribution<int>(from, to)(random_); }
  bool chance(int one_in) { return pick(1, one_in) == 1; }
  std::string key() { return std::to_string(pick(1, 8)); }

  void change() {
    const auto t = static_cast<std::size_t>(pick(0, 2));
    Rows& rows = expected_[t];
    Table& table = *std::next(tables_.begin(), static_cast<std::ptrdiff_t>(t));
    const std::string id = key();
    const std::string value = std::to_string(++fresh_);
    if (chance(60)) {
      apply::TruncateStep truncate;
      truncate.bindings = {&table.binding()};
      compactor_->add(truncate);
      rows.clear();
    } else if (!rows.contains(id)) {
      rows[id] = {id, value, "big" + value};
      compactor_->add(table.insert(rows[id]));
    } else if (chance(3)) {
      rows.erase(id);
      compactor_->add(table.remove({id, kNotSent, kNotSent}));
    } else {
      auto row = rows[id];
      std::vector<std::string> sent = {id, value, chance(2) ? "big" + value : kUnchanged};
      const std::string to = key();
      const bool moves = chance(5) && !rows.contains(to);
      if (moves) sent[0] = to;
      for (std::size_t i = 0; i < sent.size(); ++i) {
        if (sent[i] != kUnchanged) row[i] = sent[i];
      }
      rows.erase(id);
      rows[row[0]] = row;
      compactor_->add(moves ? table.update({id, kNotSent, kNotSent}, sent) : table.update(sent));
    }
    ++changes_;
  }

  void flush() {
    for (const auto& step : compactor_->take()) {
      if (const auto* some = std::get_if<apply::RowsStep>(&step)) {
        for (const auto& one : some->routes) {
          write(one, actual_[static_cast<std::size_t>(one.route->id)], weight_);
        }
      } else if (const auto* single = std::get_if<SingleChange>(&step)) {
        REQUIRE(single->kind == SingleChange::Kind::key_change);
        update(actual_[static_cast<std::size_t>(single->binding->route->id)], values(*single->old_row)[0],
               *single->row);
        ++weight_;
      } else {
        for (const auto* binding : std::get<apply::TruncateStep>(step).bindings) {
          actual_[static_cast<std::size_t>(binding->route->id)].clear();
        }
        ++weight_;
      }
    }
    compactor_->clear();
  }

  std::mt19937 random_;
  std::vector<mapping::Route> routes_;
  std::list<Table> tables_;
  std::unique_ptr<apply::Compactor> compactor_;
  std::vector<Rows> expected_, actual_;
  std::uint64_t changes_ = 0, weight_ = 0;
  int fresh_ = 0;
};

}  // namespace

TEST_CASE("steps give the rows that the changes give, and their weights are the changes' number") {
  for (unsigned seed = 1; seed <= 150; ++seed) {
    INFO("seed " << seed);
    const bool strict = seed % 3 == 0;
    History(seed, strict).run(200);
  }
}
