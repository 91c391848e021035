// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Keys into the rows that wait for them.
#include "crosswalk.hpp"

namespace walign::apply {

namespace {

using Steady = std::chrono::steady_clock;
constexpr std::size_t kAtOnce = 500;
constexpr auto kTogether = std::chrono::milliseconds(5);  // rows of a busy target share a transaction
constexpr auto kAgain = std::chrono::milliseconds(20);    // where some could not be written
constexpr auto kNudges = std::chrono::milliseconds(100);

// p: the rows that are asked about, with their keys, the transactions that may have made them as they are, and numbers.
std::string asked(const mapping::DrawnKey& drawn) {
  std::string select, arrays, names;
  std::size_t n = 1;
  for (std::size_t i = 0; i < drawn.row_key.size(); ++i) {
    select += cat("u.k", i, "::", drawn.row_key[i].type_sql, " AS k", i, ", ");
    arrays += cat("$", n++, "::pg_catalog.text[], ");
    names += cat("k", i, ", ");
  }
  for (const char* name : {"key", "xid", "seen"}) {
    arrays += cat(name == std::string_view("key") ? "" : ", ", "$", n++, "::pg_catalog.text[]");
    names += cat(name, ", ");
  }
  return cat("p AS MATERIALIZED (SELECT ", select, "u.key::", drawn.target_type,
             " AS key, u.xid::pg_catalog.xid AS xid, u.seen::pg_catalog.xid AS seen, u.n FROM unnest(",
             arrays, ") WITH ORDINALITY AS u(", names, "n))");
}

std::string is_row(const mapping::DrawnKey& drawn) {
  std::string out;
  for (std::size_t i = 0; i < drawn.row_key.size(); ++i) {
    const auto& part = drawn.row_key[i];
    out += cat(i == 0 ? "" : " AND ", "t.", pg::quote_ident(part.name), " ", part.equals, " p.k", i);
  }
  return out;
}

std::string table_of(const Walk& walk) {
  return pg::qualified(walk.route->source.schema, walk.route->source.name);
}
std::string key_of(const Walk& walk) { return pg::quote_ident(walk.drawn().target_column); }

// Nobody is waited for who has the row's lock.
std::string write_sql(const Walk& walk) {
  const auto& drawn = walk.drawn();
  return cat("WITH ", asked(drawn), ", locked AS MATERIALIZED (SELECT p.n FROM p JOIN ", table_of(walk),
             " AS t ON ", is_row(drawn), " WHERE t.", key_of(walk),
             " IS NULL AND (t.xmin = p.xid OR t.xmin = p.seen) FOR UPDATE OF ", "t SKIP LOCKED) UPDATE ",
             table_of(walk), " AS t SET ", key_of(walk), " = p.key FROM p JOIN locked USING (n) WHERE ",
             is_row(drawn), " RETURNING p.n");
}

std::string look_sql(const Walk& walk) {
  const auto& drawn = walk.drawn();
  return cat(
      "WITH ", asked(drawn), " SELECT p.n, t.tableoid IS NULL, t.xmin, t.", key_of(walk),
      "::pg_catalog.text, pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.pg_current_snapshot() FROM p ",
      "LEFT JOIN ", table_of(walk), " AS t ON ", is_row(drawn));
}

pg::Result ask(pg::Connection& connection, const std::string& sql, const Walk& walk,
               const std::vector<RowKey>& rows, Lsn reached) {
  const std::size_t width = walk.drawn().row_key.size();
  std::vector<pg::TextArray> arrays(width + 3);
  for (const auto& row : rows) {
    const auto& entry = walk.entries.at(row);
    const auto parts = parts_of(row);
    for (std::size_t i = 0; i < width; ++i) arrays[i].add(parts.at(i));
    const bool explained = entry.seen_at.valid() && entry.seen_at <= reached;
    arrays[width].add(entry.key);
    arrays[width + 1].add(cat(entry.xid));
    arrays[width + 2].add(cat(explained ? entry.seen_xmin : 0));
  }
  std::vector<pg::Param> params;
  for (const auto& array : arrays) params.push_back(array.param());
  return connection.query_params(sql, params);
}

std::string shown(const RowKey& row) { return join(parts_of(row), ", "); }

// The source was put back to an earlier state, say, after the key was written. What mends it is signed as what this
// stream writes: it is no breach of the source's fence.
[[noreturn]] void another_key(const Crosswalk::Options& options, const Walk& walk, const RowKey& row,
                              const CrosswalkEntry& entry, const std::string& there) {
  const auto& route = *walk.route;
  const std::string column = pg::quote_ident(walk.drawn().source_column);
  std::string pass;
  for (const auto& [name, value] : options.keys.settings) {
    if (name == config::kPassSetting) pass = cat("SET LOCAL ", name, " = ", pg::quote_literal(value), "; ");
  }
  throw Error(
      ErrorKind::precondition,
      cat(route.label(), ": the row ", shown(row), " of the target has ", walk.drawn().target_column, " ",
          there, ", and on the source its key is ", entry.key),
      cat("give it that key on the source, as walign's role: BEGIN; SELECT pg_logical_emit_message(true, ",
          "'walign', ", pg::quote_literal(cat("apply ", options.stream)), "); ", pass, "UPDATE ",
          pg::qualified(route.target.schema, route.target.name), " SET ", column, " = ",
          pg::quote_literal(there), " WHERE ", column, " = ", pg::quote_literal(entry.key),
          "; UPDATE walign.crosswalk SET source_key = ", pg::quote_literal(there),
          " WHERE source_key = ", pg::quote_literal(entry.key),
          " AND route = ", pg::quote_literal(route.label()), "; COMMIT; then start again"));
}

[[noreturn]] void key_is_taken(const Walk& walk, const Error& error) {
  throw Error(ErrorKind::precondition,
              cat(walk.route->label(),
                  ": a key that the source has drawn is another row's on the target: ", error.message()),
              cat("let ", walk.drawn().sql,
                  " begin above the keys that the target has, give that row another key, and start again"))
      .with_sqlstate(error.sqlstate());
}

bool may_be_tried_again(const Error& error) {
  return error.sqlstate() == "55P03" || error.sqlstate() == "40P01" || error.sqlstate() == "40001";
}

}  // namespace

void Crosswalk::Impl::settle(Walk& walk, Lsn reached) {
  while (!walk.passing.empty() && walk.passing.front().first <= reached) {
    const auto [at, row] = std::move(walk.passing.front());
    walk.passing.pop_front();
    const auto found = walk.entries.find(row);
    if (found == walk.entries.end() || found->second.ends_at != at) continue;  // it has another one by now
    walk.entries.erase(found);
    walk.forgotten.insert(row);
  }
}

void Crosswalk::Impl::tend(Lsn position, Lsn reached) {
  const auto now = Steady::now();
  for (auto& walk : walks) settle(walk, reached);
  if (now < next_try) return;
  bool left = false;
  bool full = false;
  for (auto& walk : walks) {
    const Rows ready = walk.ready(position, kAtOnce);
    if (ready.empty()) continue;
    full = full || ready.size() == kAtOnce;
    const auto without = write(walk, ready, reached);
    if (!without.empty()) look(walk, without, reached);
    left = left || !without.empty();
  }
  next_try = now + (left ? kAgain : full ? std::chrono::milliseconds(0) : kTogether);
  if (left) nudge(reached);
}

Crosswalk::Impl::Rows Crosswalk::Impl::write(Walk& walk, const Rows& asked_for, Lsn reached) {
  rows.exec(cat("BEGIN; SELECT pg_catalog.pg_logical_emit_message(true, 'walign', ",
                pg::quote_literal(options.signature), ")"));
  std::set<std::size_t> done;
  try {
    const auto r = ask(rows, write_sql(walk), walk, asked_for, reached);
    for (int i = 0; i < r.rows(); ++i) done.insert(static_cast<std::size_t>(r.integer(i, 0) - 1));
    rows.exec(done.empty() ? "ROLLBACK" : "COMMIT");
  } catch (const Error& error) {
    // The statement that was given up at the end of the session is still under way.
    if (rows.broken() || error.kind() == ErrorKind::interrupted) throw;
    rows.exec("ROLLBACK");
    if (error.sqlstate() == "23505") key_is_taken(walk, error);
    if (!may_be_tried_again(error)) throw;
    done.clear();
  }
  const Lsn behind =
      done.empty() ? Lsn() : rows.exec("SELECT pg_catalog.pg_current_wal_insert_lsn()").lsn(0, 0);
  Rows without;
  for (std::size_t i = 0; i < asked_for.size(); ++i) {
    if (done.contains(i)) {
      walk.end_of(asked_for[i], behind);
    } else {
      without.push_back(asked_for[i]);
    }
  }
  return without;
}

void Crosswalk::Impl::look(Walk& walk, const Rows& asked_for, Lsn reached) {
  const auto r = ask(rows, look_sql(walk), walk, asked_for, reached);
  for (int i = 0; i < r.rows(); ++i) {
    look_at(walk, asked_for.at(static_cast<std::size_t>(r.integer(i, 0) - 1)), r, i, reached);
  }
}

// Its commit can be decoded, and applied, before anybody sees it.
bool Crosswalk::Impl::may_be_unseen(const CrosswalkEntry& entry, const pg::Result& r, int i) {
  const auto snapshot = Snapshot::parse(r.text(i, 5));
  WALIGN_CHECK(snapshot.has_value());
  return !snapshot->inside(Xid::widen(entry.xid, snapshot->xmax));
}

void Crosswalk::Impl::look_at(Walk& walk, const RowKey& row, const pg::Result& r, int i, Lsn reached) {
  auto& entry = walk.entries.at(row);
  if (may_be_unseen(entry, r, i)) return;
  const Lsn now = r.lsn(i, 4);
  // Its end is still to come by the stream, or has come with a partition's TRUNCATE.
  if (r.boolean(i, 1)) return walk.end_of(row, now);
  const std::string key = r.is_null(i, 3) ? "" : r.str(i, 3);
  if (!key.empty() && key == entry.key) return walk.end_of(row, now);
  const auto xmin = static_cast<std::uint32_t>(r.integer(i, 2));
  const bool known = entry.seen_at.valid() && entry.seen_xmin == xmin && entry.seen_key == key;
  if (known && !key.empty() && entry.seen_at <= reached) another_key(options, walk, row, entry, key);
  if (known || (key.empty() && xmin == entry.xid)) return;
  entry.seen_xmin = xmin;
  entry.seen_key = key;
  entry.seen_at = now;
}

// Nothing makes an idle server say that its stream has passed what was seen.
void Crosswalk::Impl::nudge(Lsn reached) {
  const auto now = Steady::now();
  if (now - last_nudge < kNudges) return;
  const bool waits = std::any_of(walks.begin(), walks.end(), [&](const Walk& walk) {
    return std::any_of(walk.unwritten.begin(), walk.unwritten.end(), [&](const auto& waiting) {
      return walk.entries.at(waiting.second).seen_at > reached;
    });
  });
  if (!waits) return;
  last_nudge = now;
  rows.exec("SELECT pg_catalog.pg_logical_emit_message(true, 'walign', '')");
}

}  // namespace walign::apply
