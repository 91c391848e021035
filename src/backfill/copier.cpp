// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "copier.hpp"

#include <array>
#include <limits>

#include "store.hpp"
#include "walign/same_server.hpp"
#include "walign/source.hpp"

namespace walign::backfill {

namespace {

using mapping::Route;

constexpr std::chrono::milliseconds kMostLockWait{1000};
constexpr std::int64_t kEveryRow = std::numeric_limits<std::int64_t>::max() / 4;

std::string plain_source(const Route& route, const mapping::TargetColumn& column) {
  for (const auto& source : route.source_columns) {
    if (column.expression == cat("src.", pg::quote_ident(source.name))) return source.name;
  }
  return {};
}

// Types of which the binary format says the same to every server of one version. Not here: numbers of another catalog's
// rows (regclass and its like); an empty tsquery, which has no binary form; what an extension or a user made.
constexpr std::array<std::string_view, 42> kSameEverywhere = {
    "bool",     "int2",      "int4",     "int8",    "oid",       "float4",      "float8",
    "numeric",  "text",      "varchar",  "bpchar",  "name",      "bytea",       "uuid",
    "date",     "time",      "timetz",   "json",    "timestamp", "timestamptz", "jsonb",
    "interval", "bit",       "varbit",   "inet",    "cidr",      "macaddr",     "macaddr8",
    "point",    "lseg",      "box",      "path",    "line",      "polygon",     "circle",
    "tsvector", "int4range", "numrange", "tsrange", "int8range", "daterange",   "tstzrange"};

bool is_same_everywhere(const mapping::SourceColumn& column) {
  constexpr std::string_view kSchema = "\"pg_catalog\".\"";
  std::string_view name = column.type_sql;
  if (column.travels_as_text || !name.starts_with(kSchema)) return false;
  name = name.substr(kSchema.size(), name.size() - kSchema.size() - 1);
  if (name.starts_with('_')) name.remove_prefix(1);  // an array of it
  return std::find(kSameEverywhere.begin(), kSameEverywhere.end(), name) != kSameEverywhere.end();
}

bool all_built_in(const Route& route) {
  return std::all_of(route.source_columns.begin(), route.source_columns.end(), is_same_everywhere);
}

}  // namespace

CopyPlan make_plan(const Route& route, const pg::Table& source, const pg::Table& target,
                   std::vector<KeyColumn> key, std::int64_t rows_per_chunk, bool same_version) {
  CopyPlan plan;
  plan.route = &route;
  plan.key = std::move(key);
  plan.rows_per_chunk = rows_per_chunk;
  plan.source_oid = source.oid;
  for (const auto& column : source.columns) {
    if (!column.generated) plan.newest_attnum = std::max(plan.newest_attnum, column.attnum);
  }
  std::string target_columns;
  std::string source_columns;
  std::string declared;
  const auto way = mapping::copy_way(route, source, target);
  const bool pipe = way.piped;
  for (const auto& column : route.columns) {
    target_columns += cat(target_columns.empty() ? "" : ", ", pg::quote_ident(column.name));
    if (pipe) {
      source_columns += cat(source_columns.empty() ? "" : ", ", pg::quote_ident(plain_source(route, column)));
    }
  }
  for (const auto& column : route.source_columns) {
    const std::string name = pg::quote_ident(column.name);
    if (!pipe) source_columns += cat(source_columns.empty() ? "" : ", ", name);
    declared += cat(declared.empty() ? "" : ", ", name, " ", column.type_sql);
  }
  plan.at_aligned_moment = way.at_aligned_moment;
  const std::string table = pg::qualified(target.schema, target.name);
  plan.binary = same_version && all_built_in(route);
  plan.source_sql = cat("SELECT ", source_columns, " FROM ", pg::qualified(source.schema, source.name));
  if (pipe && !plan.at_aligned_moment) {
    plan.into = cat(table, " (", target_columns, ")");
    return plan;
  }
  const std::string rows = cat("walign_rows_", route.id);
  if (pipe) {  // as the target has them
    plan.temporary = cat("CREATE TEMPORARY TABLE IF NOT EXISTS ", rows, " ON COMMIT DELETE ROWS AS SELECT ",
                         target_columns, " FROM ", table, " WITH NO DATA");
    plan.insert = cat("INSERT INTO ", table, " (", target_columns, ") OVERRIDING SYSTEM VALUE SELECT ",
                      target_columns, " FROM pg_temp.", rows);
  } else {
    plan.temporary =
        cat("CREATE TEMPORARY TABLE IF NOT EXISTS ", rows, " (", declared, ") ON COMMIT DELETE ROWS");
    plan.insert = mapping::copy_sql(route, cat("pg_temp.", rows));
  }
  plan.into = cat("pg_temp.", rows);
  return plan;
}

CopyPlan make_adopting_plan(CopyPlan plain, const pg::Table& source, const pg::Table& target,
                            std::vector<KeyColumn> target_key) {
  const Route& route = *plain.route;
  const auto way = mapping::copy_way(route, source, target);
  CopyPlan plan = std::move(plain);
  plan.adoption = make_adoption(route, std::move(target_key), way.at_aligned_moment);
  if (way.piped) {
    plan.temporary = plan.adoption->temporary;
    plan.insert.clear();
    plan.into = plan.adoption->want;
  } else {
    plan.temporary += cat("; ", plan.adoption->temporary);
    plan.insert = want_sql(route, *plan.adoption, plan.into);
  }
  if (plan.whole()) plan.rows_per_chunk = kEveryRow;
  return plan;
}

namespace {

pg::ConnectionOptions target_options(const CopierOptions& options) {
  auto target = options.target;
  target.application_name =
      cat(options.stream, " apply");  // so that the next instance ends it (apply::take_over)
  target.settings.emplace_back("synchronous_commit", "off");
  return target;
}

}  // namespace

Copier::Copier(CopierOptions options)
    : options_(std::move(options)), source_(options_.source), target_(target_options(options_)) {
  pg::require_same_server(source_, options_.server);
  hold_triggers(target_);
  // The applier may hold what a loader waits for in a transaction that itself waits for this chunk.
  target_.exec(cat("SET lock_timeout = ", kMostLockWait.count()));
}

std::optional<Bound> Copier::find_cut(const CopyPlan& plan, const Range& range, std::int64_t rows) {
  if (plan.whole()) return std::nullopt;
  auto key = find_key(plan, range, false, rows);
  return key ? std::optional(Bound{std::move(*key), false}) : std::nullopt;
}

std::optional<Bound> Copier::find_end(const CopyPlan& plan, const Range& range) {
  auto key = find_key(plan, range, true, 0);
  return key ? std::optional(Bound{std::move(*key), true}) : std::nullopt;
}

std::optional<Key> Copier::find_key(const CopyPlan& plan, const Range& range, bool last, std::int64_t skip) {
  // As the type's own output: what a cast to text gives is another text for some types (bool).
  std::string names;
  for (const auto& column : plan.key) {
    names += cat(names.empty() ? "" : ", ", pg::quote_ident(column.name));
  }
  const auto& table = plan.route->source;
  const auto r = source_.exec(cat("SELECT ", names, " FROM ", pg::qualified(table.schema, table.name),
                                  " WHERE ", range_condition(plan.key, range), " ORDER BY ",
                                  order_by(plan.key, last), " OFFSET ", skip, " LIMIT 1"));
  if (r.rows() == 0) return std::nullopt;
  Key key;
  for (int c = 0; c < r.columns(); ++c) key.push_back(r.str(0, c));
  return key;
}

void Copier::begin_target(const CopyPlan& plan) {
  target_.exec("BEGIN");
  if (!plan.temporary.empty()) target_.exec(plan.temporary);
}

namespace {

// Rows are passed on many at a time: a message and a look at the socket for each would cost more than the rows.
class Gathered {
 public:
  explicit Gathered(pg::CopyIn& in) : in_(in) { bytes_.reserve(kMost); }
  void add(std::string_view piece) {
    if (bytes_.size() + piece.size() > kMost) flush();
    if (piece.size() > kMost) return in_.write(piece);
    bytes_.append(piece);
  }
  void flush() {
    if (!bytes_.empty()) in_.write(bytes_);
    bytes_.clear();
  }

 private:
  static constexpr std::size_t kMost = std::size_t{64} << 10U;
  pg::CopyIn& in_;
  std::string bytes_;
};

// In binary format, what is no row: the header, where it comes by itself, and the trailer.
constexpr std::size_t kHeaderBytes = 19;
constexpr std::string_view kTrailer = "\xff\xff";

bool is_row(std::string_view piece, bool binary, bool first) {
  return !binary || (piece != kTrailer && !(first && piece.size() == kHeaderBytes));
}

}  // namespace

Copied Copier::pipe(const CopyPlan& plan, const std::string& condition, bool ordered,
                    const CopySteps& steps) {
  const std::string format = plan.binary ? " (FORMAT binary)" : "";
  const std::string order = ordered ? cat(" ORDER BY ", order_by(plan.key)) : std::string();
  pg::CopyOut out(source_,
                  cat("COPY (", plan.source_sql, " WHERE ", condition, order, ") TO STDOUT", format));
  pg::CopyIn in(target_, cat("COPY ", plan.into, " FROM STDIN", format));
  Gathered gathered(in);
  Copied copied;
  std::int64_t unreported = 0;
  while (const auto piece = out.next()) {
    gathered.add(*piece);
    if (is_row(*piece, plan.binary, copied.bytes == 0)) ++copied.read;
    const auto size = static_cast<std::int64_t>(piece->size());
    copied.bytes += size;
    unreported += size;
    if (unreported >= (std::int64_t{1} << 20U)) steps.progress(std::exchange(unreported, 0));
    if (copied.bytes < plan.most_bytes || copied.read == 0 || !ordered || *piece == kTrailer) continue;
    if (plan.binary) gathered.add(kTrailer);
    copied.stopped_early = true;
    break;
  }
  gathered.flush();
  if (copied.stopped_early) stop_reading(out);
  copied.rows = in.finish();
  steps.progress(unreported);
  return copied;
}

// The snapshot stays, and with it what the range holds: only the COPY is undone.
void Copier::stop_reading(pg::CopyOut& out) {
  pg::Connection other(options_.source);
  other.query("SELECT pg_catalog.pg_cancel_backend($1)", {cat(source_.backend_pid())});
  try {
    while (out.next()) {
    }
  } catch (const Error& error) {
    if (error.sqlstate() != "57014") throw;
  }
  source_.exec("ROLLBACK TO SAVEPOINT walign_read");
}

// The snapshot, which is made here, sees every change of the table's columns: they waited for our lock, or we for
// theirs.
std::pair<Snapshot, Lsn> Copier::look(const CopyPlan& plan) {
  const auto r = source_.exec(
      cat("SELECT pg_catalog.pg_current_snapshot(), pg_catalog.pg_current_wal_insert_lsn(), (SELECT "
          "max(a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = ",
          plan.source_oid, " AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')"));
  const auto parsed = Snapshot::parse(r.text(0, 0));
  WALIGN_CHECK(parsed.has_value());
  if (!r.is_null(0, 2) && r.integer(0, 2) > plan.newest_attnum) {
    throw Error(ErrorKind::transient,
                cat("table ", plan.route->source.to_string(), " has got a column while it is being copied"),
                "nothing is to be done: the tables are looked at again");
  }
  return {*parsed, r.lsn(0, 1).without_page_header(options_.server.wal_segment_bytes)};
}

// False: it shall not be read now.
bool Copier::begin_source(const CopyPlan& plan, const CopySteps& steps, Snapshot& snapshot, Lsn& fence) {
  const auto& table = plan.route->source;
  source_.exec(cat("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE ",
                   pg::qualified(table.schema, table.name), " IN ACCESS SHARE MODE; SAVEPOINT walign_read"));
  const bool announced = steps.announce([&] {
    std::tie(snapshot, fence) = look(plan);
    return std::pair(snapshot, fence);
  });
  if (!announced) source_.exec("ROLLBACK");
  return announced;
}

std::optional<Copied> Copier::copy(const CopyPlan& plan, Range range, const CopySteps& steps) {
  Snapshot snapshot;
  Lsn fence;
  if (!begin_source(plan, steps, snapshot, fence)) return std::nullopt;
  begin_target(plan);
  const auto condition = plan.key.empty() ? std::string("true") : range_condition(plan.key, range);
  Copied copied = pipe(plan, condition, !plan.whole(), steps);
  if (copied.stopped_early) {
    if (const auto rest = find_cut(plan, range, copied.read)) {
      steps.give_back(*rest);
      range.upper = *rest;
    }
  }
  source_.exec("COMMIT");
  steps.released();
  wait_flushed(fence);
  if (plan.at_aligned_moment && !steps.wait_for_alignment([this] { source::nudge(source_); })) {
    target_.exec("ROLLBACK");
    return std::nullopt;
  }
  if (!plan.insert.empty()) copied.rows = target_.exec(plan.insert).affected();
  if (plan.adoption) copied.mended = mend(target_, *plan.adoption, &range);
  record(plan, range, snapshot, fence, copied.rows);
  target_.exec("COMMIT");
  return copied;
}

void Copier::forget() {
  source_.exec("ROLLBACK");
  target_.exec("ROLLBACK");
}

void Copier::record(const CopyPlan& plan, const Range& range, const Snapshot& snapshot, Lsn fence,
                    std::int64_t rows) {
  lock_epoch(target_, options_.stream, options_.epoch);
  insert_chunk(target_, options_.stream, plan.route->label(),
               {range, align::ChunkState::loaded, snapshot, fence, rows});
}

void Copier::wait_flushed(Lsn fence) {
  for (int tries = 0;; ++tries) {
    const auto r = source_.exec("SELECT pg_catalog.pg_current_wal_flush_lsn()");
    if (r.lsn(0, 0) >= fence) return;
    if (tries == 10) source::nudge(source_);
    if (options_.source.interrupt != nullptr)
      options_.source.interrupt->sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace walign::backfill
