// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <thread>

#include "finish.hpp"
#include "walign/catalog.hpp"

namespace walign::cutover {

namespace {

constexpr Millis kSettle{5'000};
constexpr Millis kBetweenTries{100};

pg::ConnectionOptions options_for(const config::Config& config, const std::string& conninfo,
                                  const char* doing, const Interrupt* interrupt) {
  pg::ConnectionOptions options;
  options.conninfo = conninfo;
  options.application_name = cat(config.fence_name(), " ", doing);
  options.interrupt = interrupt;
  return options;
}

// Names of slots are the whole cluster's: one of this name in another database is another migration's.
std::optional<state::SlotFacts> slot_of(pg::Connection& server, const std::string& name) {
  auto slot = source::read_slot(server, name);
  if (slot && slot->database != server.exec("SELECT pg_catalog.current_database()").text(0, 0)) return {};
  return slot;
}

struct Direction {
  config::Config config;
  Side read;
};
std::array<Direction, 2> directions(const config::Config& config) {
  return {Direction{config, Side::source}, Direction{config::reversed(config), Side::target}};
}

// What a table is held by, as far as this role may see it.
std::string holders(pg::Connection& server, const std::vector<std::string>& relations) {
  pg::TextArray names;
  for (const auto& relation : relations) names.add(relation);
  pg::Param array = names.param();
  array.type = pg::kTextArrayOid;
  const auto r = server.query_params(
      "SELECT DISTINCT 'pid ' || l.pid || coalesce(' (' || nullif(a.application_name, '') || ')', '') || "
      "coalesce(': ' || left(a.query, 60), '') FROM pg_catalog.pg_locks l "
      "LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE l.granted AND l.locktype = 'relation' "
      "AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = "
      "pg_catalog.current_database()) AND l.pid <> pg_catalog.pg_backend_pid() AND l.relation IN "
      "(SELECT pg_catalog.to_regclass(n.name) FROM pg_catalog.unnest($1) AS n(name) UNION SELECT t.relid "
      "FROM "
      "pg_catalog.unnest($1) AS n(name), LATERAL "
      "pg_catalog.pg_partition_tree(pg_catalog.to_regclass(n.name)) t) ORDER BY 1",
      {array});
  std::vector<std::string> out;
  for (int i = 0; i < r.rows(); ++i) out.push_back(r.str(i, 0));
  return join(out, "; ");
}

}  // namespace

TwoServers::TwoServers(const config::Config& its_config, const char* doing, const Interrupt* its_interrupt)
    : config(its_config),
      interrupt(its_interrupt),
      fence(its_config.fence_name()),
      source(options_for(config, config.source, doing, interrupt)),
      target(options_for(config, config.target, doing, interrupt)),
      source_address(pg::describe_conninfo(config.source)),
      target_address(pg::describe_conninfo(config.target)) {
  const auto a = pg::read_server(source);
  const auto b = pg::read_server(target);
  one_database = a.system_id == b.system_id && a.database == b.database;
}

std::string FenceRows::describe() const {
  return cat("source: ", source ? cutover::describe(*source) : "no fence",
             "; target: ", target ? cutover::describe(*target) : "no fence");
}

FenceRows read_rows(TwoServers& servers) {
  return {settled_row(servers.source, {servers.fence, Side::source}, kSettle),
          settled_row(servers.target, {servers.fence, Side::target}, kSettle)};
}

void displace(TwoServers& servers, const FenceRows& rows) {
  std::uint64_t highest = 0;
  for (const auto& row : {rows.source, rows.target}) {
    if (row) highest = std::max(highest, row->owner);
  }
  std::uint64_t owner = highest + 1;
  for (const auto& [config, read] : directions(servers.config)) {
    auto& written = servers.server(other(read));
    if (!apply::read_stream(written, config.stream_name())) continue;
    const auto epoch = apply::take_over(written, config.stream_name());
    if (read == Side::source) owner = std::max(owner, epoch);
  }
  // A later start's owner is the forward stream's epoch, which must not be below what is written here.
  if (apply::read_stream(servers.target, servers.fence)) {
    while (apply::read_stream(servers.target, servers.fence)->epoch < owner) {
      apply::take_over(servers.target, servers.fence);
    }
  }
  for (const Side side : {Side::source, Side::target}) {
    const auto& row = side == Side::source ? rows.source : rows.target;
    if (!row) continue;
    const auto swapped = compare_and_set(servers.server(side), {servers.fence, side}, *row,
                                         {row->epoch, row->state, owner, {}}, kSettle);
    if (swapped.done) continue;
    throw Error(ErrorKind::precondition,
                cat("somebody else works on migration ", servers.config.migration, ": the ", side_name(side),
                    " is at ", swapped.row ? describe(*swapped.row) : "no row"),
                "look for another walign, stop it, and run again");
  }
}

void refuse_company(TwoServers& servers) {
  for (const auto& [config, read] : directions(servers.config)) {
    for (const auto& name : {config.slot_name(), stream::capture_slot(config)}) {
      const auto slot = slot_of(servers.server(read), name);
      if (!slot || slot->active_pid == 0) continue;
      throw Error(ErrorKind::precondition,
                  cat("slot ", name, " is being read by pid ", slot->active_pid, " of the ", side_name(read)),
                  "stop `walign run`, wherever it runs, and `walign capture`");
    }
  }
  if (servers.one_database) return;
  for (const Side side : {Side::source, Side::target}) {
    if (!read_row(servers.server(side), {servers.fence, other(side)})) continue;
    throw Error(
        ErrorKind::precondition,
        cat("on ", servers.server(side).describe(), ", which is the ", side_name(side),
            " here, there is a fence of ", servers.fence, " as the ", side_name(other(side))),
        "another migration has the same name, or source and target are exchanged: what belongs to which "
        "cannot be told apart");
  }
}

void repeatable(const char* command, const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    const bool lost = error.kind() == ErrorKind::in_doubt || error.kind() == ErrorKind::connection;
    if (!lost && error.kind() != ErrorKind::transient) throw;
    throw Error(lost ? ErrorKind::connection : ErrorKind::transient, error.message(),
                cat("what was done stays done, and every step may be repeated: walign ", command))
        .with_sqlstate(error.sqlstate());
  }
}

void patiently(TwoServers& servers, Side side, const std::string& doing,
               const std::function<std::vector<std::string>()>& attempt) {
  for (int n = 1;; ++n) {
    const auto left = attempt();
    if (left.empty()) return;
    if (n >= servers.config.cutover.attempts) {
      const auto by = holders(servers.server(side), left);
      throw Error(ErrorKind::precondition,
                  cat(side_name(side), ": ", doing, ": not to be had within cutover: lock_timeout, ", n,
                      " times: ", join(left, ", "), by.empty() ? "" : cat("; held by ", by)),
                  "run again when these sessions are done, or end them; what was done stays done");
    }
    if (servers.interrupt != nullptr) {
      servers.interrupt->sleep_for(kBetweenTries * n);
    } else {
      std::this_thread::sleep_for(kBetweenTries * n);
    }
  }
}

void guards_down(TwoServers& servers, const Tell& tell) {
  for (const Side side : {Side::source, Side::target}) {
    if (side == Side::target && servers.one_database) break;
    auto& server = servers.server(side);
    const auto count = [&] {
      return server
          .query(
              "SELECT count(*) FROM pg_catalog.pg_trigger t WHERE t.tgparentid = 0 AND t.tgname IN ($1, $2) "
              "AND t.tgfoid = pg_catalog.to_regprocedure('walign.guard()')",
              {cat(servers.fence, "_row"), cat(servers.fence, "_statement")})
          .integer(0, 0);
    };
    const auto up = count();
    if (up == 0) continue;
    patiently(servers, side, "taking the guards down", [&] {
      return take_all_guards_down(server, servers.fence, servers.config.cutover.lock_timeout);
    });
    tell(cat(side_name(side), ": ", up, " triggers of the fence"));
  }
}

std::vector<std::string> things_of_streams(TwoServers& servers) {
  std::vector<std::string> out;
  for (const auto& [config, read] : directions(servers.config)) {
    auto& server = servers.server(read);
    const auto side = side_name(read);
    for (const auto& name : {config.slot_name(), stream::capture_slot(config)}) {
      const bool brought = config.slot_is_brought() && name == config.slot_name();
      if (!brought && slot_of(server, name)) out.push_back(cat(side, ": slot ", name));
    }
    for (const auto& name : {config.stream_name(), stream::inserts_publication(config)}) {
      if (source::read_publication(server, name)) out.push_back(cat(side, ": publication ", name));
    }
    if (apply::read_stream(servers.server(other(read)), config.stream_name())) {
      out.push_back(cat(side_name(other(read)), ": stream ", config.stream_name(), ", with its positions"));
    }
  }
  return out;
}

void remove_streams(TwoServers& servers, const Tell& tell) {
  for (const auto& direction : directions(servers.config)) {
    for (const auto& line : stream::remove(direction.config, servers.interrupt)) tell(line);
  }
}

void remove_rows(TwoServers& servers, const Tell& tell) {
  for (const Side side : {Side::target, Side::source}) {
    auto& server = servers.server(side);
    if (!fence_installed(server)) continue;
    const bool had = read_row(server, {servers.fence, side}).has_value();
    remove_fence(server, servers.fence);
    const bool last = !fence_installed(server);
    if (had || last) tell(cat(side_name(side), ": the fence", last ? ", and its functions" : ""));
  }
}

}  // namespace walign::cutover
