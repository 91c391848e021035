// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "sequences.hpp"

#include <set>

namespace walign::cutover {

namespace {

// Of the tables and their partitions: the owner of a column (auto or internal dependency of the sequence on it), and
// what its default depends on.
constexpr const char* kServed = R"(
WITH roots AS (
    SELECT n.place, pg_catalog.to_regclass(n.name)::pg_catalog.oid AS root
    FROM pg_catalog.unnest($1) WITH ORDINALITY AS n(name, place)),
  relations AS (
    SELECT place, root AS relid FROM roots
    UNION SELECT r.place, t.relid FROM roots r, LATERAL pg_catalog.pg_partition_tree(r.root) t),
  served AS (
    SELECT r.place, a.attname, d.objid AS sequence FROM relations r
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = r.relid
        AND d.refobjsubid > 0 AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')
      JOIN pg_catalog.pg_attribute a ON a.attrelid = r.relid AND a.attnum = d.refobjsubid
    UNION
    SELECT r.place, a.attname, d.refobjid FROM relations r
      JOIN pg_catalog.pg_attrdef e ON e.adrelid = r.relid
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = e.oid
        AND d.refclassid = 'pg_catalog.pg_class'::regclass
      JOIN pg_catalog.pg_attribute a ON a.attrelid = r.relid AND a.attnum = e.adnum)
SELECT s.place, s.attname, s.sequence::pg_catalog.regclass::text, q.seqincrement, q.seqmin, q.seqmax, q.seqcycle,
  pg_catalog.has_sequence_privilege(s.sequence, 'SELECT'), pg_catalog.has_sequence_privilege(s.sequence, 'UPDATE')
FROM served s JOIN pg_catalog.pg_class c ON c.oid = s.sequence AND c.relkind = 'S'
JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.sequence ORDER BY 1, 2, 3)";

constexpr std::size_t kAtOnce = 200;

// Writes wait meanwhile: many with one question.
void read_values(pg::Connection& server, std::vector<Sequence>& sequences) {
  for (std::size_t from = 0; from < sequences.size(); from += kAtOnce) {
    std::vector<std::string> asked;
    for (std::size_t i = from; i < std::min(from + kAtOnce, sequences.size()); ++i) {
      if (!sequences[i].readable) continue;
      asked.push_back(cat("SELECT ", i, ", last_value, is_called FROM ", sequences[i].name));
    }
    if (asked.empty()) continue;
    const auto r = server.exec(join(asked, " UNION ALL "));
    for (int row = 0; row < r.rows(); ++row) {
      auto& sequence = sequences.at(static_cast<std::size_t>(r.integer(row, 0)));
      sequence.last_value = r.integer(row, 1);
      sequence.is_called = r.boolean(row, 2);
    }
  }
}

// The last value that was given out, or the one before the first.
std::int64_t given_out(const Sequence& s) { return s.is_called ? s.last_value : s.last_value - s.increment; }

// The route's column that has `source`'s value as it is.
const mapping::TargetColumn* carried_to(const mapping::Route& route, const std::string& source) {
  for (const auto& column : route.columns) {
    if (column.inputs.size() != 1) continue;
    const auto& input = route.source_columns[static_cast<std::size_t>(column.inputs.front())];
    if (input.name == source && column.expression == cat("src.", pg::quote_ident(source))) return &column;
  }
  return nullptr;
}

class Pairs {
 public:
  Pairs(const Sequences& giver, const Sequences& taker) : giver_(giver), taker_(taker) {}

  void add(const mapping::Route& route) {
    for (const auto& from : giver_.served) {
      if (from.table == route.source) add_column(route, from);
    }
    for (const auto& to : taker_.served) {
      if (to.table == route.target && !seen_.contains({to.table, to.column})) unpaired_.push_back(to);
    }
  }
  Pairing take() {
    for (const auto& to : unpaired_) {
      if (seen_.contains({to.table, to.column})) continue;
      out_.notes.push_back(cat(to.table.to_string(), ".", to.column, ": ", to.sequence,
                               " is left alone: no column with a sequence is copied to it as it is"));
      seen_.insert({to.table, to.column});
    }
    return std::move(out_);
  }

 private:
  void add_column(const mapping::Route& route, const Served& from) {
    const auto* column = carried_to(route, from.column);
    if (column == nullptr) return;
    for (const auto& to : taker_.served) {
      if (to.table != route.target || to.column != column->name) continue;
      seen_.insert({to.table, to.column});
      const std::string columns =
          cat(from.table.to_string(), ".", from.column, " -> ", to.table.to_string(), ".", to.column);
      const auto same = [&](const SequencePair& p) {
        return p.giver == from.sequence && p.taker == to.sequence;
      };
      const auto found = std::find_if(out_.pairs.begin(), out_.pairs.end(), same);
      if (found == out_.pairs.end()) {
        out_.pairs.push_back({from.sequence, to.sequence, {columns}});
      } else {
        found->columns.push_back(columns);
      }
    }
  }

  const Sequences& giver_;
  const Sequences& taker_;
  Pairing out_;
  std::set<std::pair<TableName, std::string>> seen_;
  std::vector<Served> unpaired_;
};

const Sequence& must_read(const Sequences& sequences, const std::string& name) {
  const auto* found = sequences.find(name);
  if (found == nullptr) {
    throw Error(ErrorKind::precondition, cat("sequence ", name, " is gone"), "run the cutover again");
  }
  if (!found->readable) {
    throw Error(ErrorKind::precondition, cat("the value of sequence ", name, " may not be read"),
                cat("GRANT SELECT, UPDATE ON SEQUENCE ", name, " TO the role of walign on that server"));
  }
  return *found;
}

}  // namespace

const Sequence* Sequences::find(const std::string& name) const {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Sequence& s) { return s.name == name; });
  return found == all.end() ? nullptr : &*found;
}

Sequences read_sequences(pg::Connection& server, const std::vector<TableName>& tables) {
  pg::TextArray array;
  for (const auto& table : tables) array.add(pg::qualified(table.schema, table.name));
  pg::Param param = array.param();
  param.type = pg::kTextArrayOid;
  const auto r = server.query_params(kServed, {param});
  Sequences out;
  for (int i = 0; i < r.rows(); ++i) {
    const auto& table = tables.at(static_cast<std::size_t>(r.integer(i, 0) - 1));
    out.served.push_back({table, r.str(i, 1), r.str(i, 2)});
    if (out.find(r.str(i, 2)) != nullptr) continue;
    Sequence sequence;
    sequence.name = r.str(i, 2);
    sequence.increment = r.integer(i, 3);
    sequence.min_value = r.integer(i, 4);
    sequence.max_value = r.integer(i, 5);
    sequence.cycles = r.boolean(i, 6);
    sequence.readable = r.boolean(i, 7);
    sequence.settable = r.boolean(i, 8);
    out.all.push_back(sequence);
  }
  read_values(server, out.all);
  return out;
}

Pairing pair_sequences(const std::vector<mapping::Route>& routes, const Sequences& giver,
                       const Sequences& taker) {
  Pairs pairs(giver, taker);
  for (const auto& route : routes) pairs.add(route);
  return pairs.take();
}

std::optional<std::int64_t> next_start(const Sequence& giver, const Sequence& taker, std::int64_t margin) {
  const bool up = taker.increment > 0;
  const std::int64_t here = given_out(taker);
  const std::int64_t there = given_out(giver);
  const std::int64_t furthest = up ? std::max(here, there) : std::min(here, there);
  const std::int64_t bound = up ? taker.max_value : taker.min_value;
  // In 128 bits: a bigint sequence may be near its end.
  __extension__ using Wide = __int128;
  const Wide wanted = static_cast<Wide>(furthest) + static_cast<Wide>(margin) * taker.increment;
  const Wide start =
      up ? std::min(wanted, static_cast<Wide>(bound)) : std::max(wanted, static_cast<Wide>(bound));
  const auto value = static_cast<std::int64_t>(start);
  if (up ? value <= here : value >= here) return std::nullopt;
  if (value < taker.min_value || value > taker.max_value) return std::nullopt;
  return value;
}

std::vector<SequenceSet> set_sequences(pg::Connection& taker, const Pairing& pairing, const Sequences& there,
                                       const Sequences& here, std::int64_t margin) {
  std::map<std::string, Sequence> now;
  std::vector<SequenceSet> out;
  pg::TextArray names, values;
  for (const auto& pair : pairing.pairs) {
    const auto& from = must_read(there, pair.giver);
    // Several columns may share one: each pair's margin counts from what the sequence was before the first.
    const auto& before = must_read(here, pair.taker);
    auto& to = now.try_emplace(pair.taker, before).first->second;
    SequenceSet set{pair.giver, pair.taker, pair.columns, from.last_value, to.last_value, to.last_value};
    const auto start = next_start(from, before, margin);
    if (start && (to.increment > 0 ? *start > given_out(to) : *start < given_out(to))) {
      names.add(pair.taker);
      values.add(cat(*start));
      to.last_value = *start;
      to.is_called = true;
      set.after = *start;
    }
    out.push_back(std::move(set));
  }
  std::vector<pg::Param> arrays = {names.param(), values.param()};
  for (auto& array : arrays) array.type = pg::kTextArrayOid;
  // In order: of a sequence that is there twice, the later one is further.
  taker.query_params(
      "SELECT pg_catalog.setval(s.name::pg_catalog.regclass, s.value::pg_catalog.int8, true) "
      "FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS s(name, value)",
      arrays);
  return out;
}

}  // namespace walign::cutover
