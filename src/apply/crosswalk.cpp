// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "crosswalk.hpp"

namespace walign::apply {

namespace {

constexpr const char* kTable = R"(
CREATE TABLE IF NOT EXISTS walign.crosswalk (
  stream text NOT NULL,
  route text NOT NULL,
  target_key text[] NOT NULL,
  source_key text NOT NULL,
  changed pg_lsn NOT NULL,
  xid int8 NOT NULL,
  PRIMARY KEY (stream, route, target_key)
))";

// {"a","b"} as PostgreSQL reads it.
std::string array_text(const std::vector<std::string>& items) {
  std::string out = "{";
  for (const auto& item : items) {
    out += out.size() == 1 ? "\"" : ",\"";
    for (const char c : item) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
  }
  return out + "}";
}

}  // namespace

void add_part(RowKey& out, std::string_view part) {
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>((part.size() >> shift) & 0xFFU);
  out += part;
}

std::vector<std::string> parts_of(const RowKey& row) {
  ByteReader reader(as_bytes(row));
  std::vector<std::string> parts;
  while (reader.remaining() > 0) {
    const auto size = reader.u32("length of a key's column");
    parts.emplace_back(as_text(reader.bytes(size, "a key's column")));
  }
  return parts;
}

void Walk::end_of(const RowKey& row, Lsn at) {
  auto& entry = entries.at(row);
  unwritten.erase({entry.changed, row});
  entry.ends_at = at;
  passing.emplace_back(at, row);
}

std::vector<RowKey> Walk::ready(Lsn position, std::size_t most) {
  std::vector<RowKey> out;
  const auto end = unwritten.lower_bound({position, RowKey()});
  const auto take = [&](auto from, auto to) {
    for (; from != to && out.size() < most; ++from) {
      out.push_back(from->second);
      tried = *from;
    }
  };
  // Rows that somebody has locked for long must not keep others from their turn.
  const auto middle = tried.first < position ? unwritten.upper_bound(tried) : end;
  take(middle, end);
  take(unwritten.begin(), middle);
  return out;
}

// ------------------------------------------------------------------------------------ what is kept

Crosswalk::Impl::Impl(Options o, const std::vector<mapping::Route>& routes)
    : options(std::move(o)), keys(options.keys), rows(options.rows) {
  for (const auto& route : routes) {
    if (route.drawn_key) walks.emplace_back().route = &route;
  }
  install();
  for (auto& walk : walks) load(walk);
  try {
    rows.exec("SET session_replication_role = replica");
  } catch (const Error& error) {
    if (error.sqlstate() != "42501") throw;  // then preflight has seen to it that no trigger fires
  }
  rows.exec("SET enable_seqscan = off; SET lock_timeout = '200ms'; SET synchronous_commit = on");
}

void Crosswalk::Impl::install() {
  keys.exec(
      cat("BEGIN; SET LOCAL synchronous_commit = on; "
          "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('walign schema'));",
          kTable, "; COMMIT"));
}

void Crosswalk::Impl::load(Walk& walk) {
  const auto width = static_cast<int>(walk.drawn().row_key.size());
  std::string columns;
  for (int i = 1; i <= width; ++i) columns += cat(", target_key[", i, "]");
  const auto r = keys.query(cat("SELECT source_key, changed, xid", columns,
                                " FROM walign.crosswalk WHERE stream = $1 AND route = $2 ",
                                "AND pg_catalog.cardinality(target_key) = $3::pg_catalog.int4"),
                            {options.stream, walk.route->label(), cat(width)});
  for (int i = 0; i < r.rows(); ++i) {
    RowKey row;
    for (int c = 0; c < width; ++c) add_part(row, r.text(i, 3 + c));
    CrosswalkEntry entry;
    entry.key = r.str(i, 0);
    entry.changed = r.lsn(i, 1);
    entry.xid = static_cast<std::uint32_t>(r.integer(i, 2));
    walk.unwritten.emplace(entry.changed, row);
    walk.entries.emplace(std::move(row), std::move(entry));
  }
}

std::optional<std::string> Crosswalk::Impl::known(const Walk& walk, const RowKey& row) {
  const auto found = walk.entries.find(row);
  return found == walk.entries.end() ? std::nullopt : std::optional(found->second.key);
}

void Crosswalk::Impl::put(Walk& walk, const RowKey& row, std::string key, Filling& filling) {
  CrosswalkEntry entry;
  entry.key = std::move(key);
  entry.changed = filling.part.commit_lsn();
  entry.xid = filling.part.tx().xid();
  forget(walk, row, filling);
  walk.unwritten.emplace(entry.changed, row);
  walk.entries.emplace(row, std::move(entry));
  filling.touched[&walk].insert(row);
}

void Crosswalk::Impl::forget(Walk& walk, const RowKey& row, Filling& filling) {
  const auto found = walk.entries.find(row);
  if (found == walk.entries.end()) return;
  walk.unwritten.erase({found->second.changed, row});
  walk.entries.erase(found);
  filling.touched[&walk].insert(row);
}

// ------------------------------------------------------------------------------------ keys, statements

// More than are asked for, once many are: each time costs a way to the source and back. Keys that are left when the
// session ends are gaps, as a sequence has them anyway.
void Crosswalk::Impl::draw_at_least(Walk& walk, std::size_t count) {
  constexpr std::size_t kMany = 8;
  constexpr std::size_t kAhead = 256;
  if (walk.drawn_ahead.size() >= count) return;
  const std::size_t missing = count - walk.drawn_ahead.size();
  const bool busy = walk.unwritten.size() + missing >= kMany;
  draw(walk, busy ? std::max(missing, kAhead) : missing);
}

std::string Crosswalk::Impl::next_key(Walk& walk) {
  WALIGN_CHECK(!walk.drawn_ahead.empty());
  std::string key = std::move(walk.drawn_ahead.back());
  walk.drawn_ahead.pop_back();
  return key;
}

void Crosswalk::Impl::draw(Walk& walk, std::size_t count) {
  const auto& drawn = walk.drawn();
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::precondition, cat(walk.route->label(), ": reverse_key (", drawn.sql, ") ", why),
                "it must give another key each time, by itself: like nextval('a_sequence')");
  };
  pg::Result r;
  try {
    r = keys.query(cat("SELECT ((", drawn.sql, ")::", drawn.source_type,
                       ")::pg_catalog.text FROM pg_catalog.generate_series(1, $1::pg_catalog.int4)"),
                   {cat(count)});
  } catch (const Error& error) {
    throw error.in(cat(walk.route->label(), ": reverse_key"));
  }
  std::set<std::string> seen(walk.drawn_ahead.begin(), walk.drawn_ahead.end());
  std::vector<std::string> fresh;
  for (int i = r.rows() - 1; i >= 0; --i) {
    if (r.is_null(i, 0)) refuse("gave NULL");
    if (!seen.insert(r.str(i, 0)).second) refuse(cat("gave ", r.text(i, 0), " twice"));
    fresh.push_back(r.str(i, 0));
  }
  walk.drawn_ahead.insert(walk.drawn_ahead.begin(), fresh.begin(), fresh.end());
}

std::vector<Extra> Crosswalk::Impl::statements(Filling& filling) {
  std::vector<Extra> out;
  const std::string table = "walign.crosswalk";
  for (auto& walk : walks) {
    const std::string label = walk.route->label();
    if (filling.emptied.contains(&walk)) {
      out.push_back(
          {cat("DELETE FROM ", table, " WHERE stream = $1 AND route = $2"), {options.stream, label}});
    }
    std::vector<std::string> there, keys_there, gone;
    for (const auto& row : filling.touched[&walk]) {
      walk.forgotten.erase(row);
      const auto found = walk.entries.find(row);
      (found == walk.entries.end() ? gone : there).push_back(array_text(parts_of(row)));
      if (found != walk.entries.end()) keys_there.push_back(found->second.key);
    }
    if (gone.empty() && there.empty()) continue;
    for (const auto& row : std::exchange(walk.forgotten, {})) gone.push_back(array_text(parts_of(row)));
    if (!gone.empty()) {
      out.push_back({cat("DELETE FROM ", table, " AS c USING unnest($3::pg_catalog.text[]) AS u(k) WHERE ",
                         "c.stream = $1 AND c.route = $2 AND c.target_key = u.k::pg_catalog.text[]"),
                     {options.stream, label, array_text(gone)}});
    }
    if (there.empty()) continue;
    out.push_back(
        {cat("INSERT INTO ", table, " (stream, route, target_key, source_key, changed, xid) SELECT $1, $2, ",
             "u.k::pg_catalog.text[], u.s, $5::pg_catalog.pg_lsn, $6::pg_catalog.int8 FROM unnest(",
             "$3::pg_catalog.text[], $4::pg_catalog.text[]) AS u(k, s) ON CONFLICT ON CONSTRAINT ",
             "crosswalk_pkey DO UPDATE SET source_key = excluded.source_key, changed = excluded.changed, ",
             "xid = excluded.xid"),
         {options.stream, label, array_text(there), array_text(keys_there),
          filling.part.commit_lsn().to_string(), cat(filling.part.tx().xid())}});
  }
  // Invariant 2.
  if (!out.empty()) out.insert(out.begin(), {"SET LOCAL synchronous_commit = on", {}});
  return out;
}

// ------------------------------------------------------------------------------------ the public face

Crosswalk::Crosswalk(Options options, const std::vector<mapping::Route>& routes)
    : impl_(std::make_unique<Impl>(std::move(options), routes)) {}
Crosswalk::~Crosswalk() = default;

bool Crosswalk::needed(const std::vector<mapping::Route>& routes) {
  return std::any_of(routes.begin(), routes.end(),
                     [](const auto& route) { return route.drawn_key.has_value(); });
}

std::vector<Extra> Crosswalk::fill(event::TransactionPart& part) { return impl_->fill(part); }
void Crosswalk::tend(Lsn position, Lsn reached) { impl_->tend(position, reached); }

Lsn Crosswalk::owed() const {
  Lsn lowest(std::numeric_limits<std::uint64_t>::max());
  for (const auto& walk : impl_->walks) {
    if (!walk.unwritten.empty()) lowest = std::min(lowest, walk.unwritten.begin()->first);
  }
  return lowest;
}

void forget_crosswalk(pg::Connection& server, const std::string& stream, bool last_stream) {
  if (!server.exec("SELECT pg_catalog.to_regclass('walign.crosswalk') IS NOT NULL").boolean(0, 0)) return;
  if (last_stream) {
    server.exec("DROP TABLE walign.crosswalk");
  } else {
    server.query("DELETE FROM walign.crosswalk WHERE stream = $1", {stream});
  }
}

}  // namespace walign::apply
