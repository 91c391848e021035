// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "settings.hpp"
#include "way_back.hpp"

namespace walign::stream {

namespace {

using mapping::Finding;
using mapping::Findings;
using mapping::WayBack;
using Level = Finding::Level;

std::string sql_of(const config::TableName& name) { return pg::qualified(name.schema, name.name); }

// Another slot of this migration on the target, beside the one that forward streaming reads if both are one server.
bool has_slot_back(const BothWays& both) {
  return both.target
      .query(
          "SELECT count(*) > 0 FROM pg_catalog.pg_replication_slots WHERE pg_catalog.starts_with("
          "slot_name::text, $1) AND slot_name <> $2 AND database = pg_catalog.current_database()",
          {both.config.stream_name(), both.config.slot_name()})
      .boolean(0, 0);
}

void check_target_is_read(const BothWays& both, Checks& check) {
  const Settings settings = read_settings(both.target);
  const auto& server = both.prepared.target;
  check.that(settings.wal_level == "logical", "way back: target wal_level", "logical", Level::fail,
             cat("wal_level is ", settings.wal_level, ", and changes on the target could not be read"),
             "ALTER SYSTEM SET wal_level = logical, and restart the target");
  check.that(server.superuser || server.replication, "way back: target privilege",
             cat(server.role, " may replicate"), Level::fail, cat("role ", server.role, " may not replicate"),
             cat("ALTER ROLE ", pg::quote_ident(server.role), " REPLICATION"));
  const bool made = has_slot_back(both);
  check.that(
      made || settings.used_slots < settings.max_slots, "way back: target max_replication_slots",
      cat(settings.used_slots, " of ", settings.max_slots, " used"), Level::fail,
      cat("all ", settings.max_slots, " replication slots are used"),
      cat("ALTER SYSTEM SET max_replication_slots = ", settings.max_slots + 5, ", and restart the target"));
  check.that(
      made || settings.used_senders < settings.max_senders, "way back: target max_wal_senders",
      cat(settings.used_senders, " of ", settings.max_senders, " used"), Level::fail,
      cat("all ", settings.max_senders, " WAL senders are in use"),
      cat("ALTER SYSTEM SET max_wal_senders = ", settings.max_senders + 5, ", and restart the target"));
  check.that(settings.can_create, "way back: target publication", cat(server.role, " may make it"),
             Level::fail, cat("role ", server.role, " may not make a publication"),
             cat("GRANT CREATE ON DATABASE ", pg::quote_ident(server.database), " TO ",
                 pg::quote_ident(server.role)));
}

void check_source_is_written(const BothWays& both, Checks& check) {
  const Settings settings = read_settings(both.source);
  const auto& server = both.prepared.source;
  const std::string role = pg::quote_ident(server.role);
  const std::string database = pg::quote_ident(server.database);
  check.that(settings.can_create || apply::schema_installed(both.source), "way back: source schema walign",
             "permitted", Level::fail, cat("role ", server.role, " may not make schema walign"),
             cat("GRANT CREATE ON DATABASE ", database, " TO ", role));
  check.that(settings.can_make_temporary, "way back: source temporary tables", "permitted", Level::fail,
             cat("role ", server.role, " may not make temporary tables, which checking the way back needs"),
             cat("GRANT TEMPORARY ON DATABASE ", database, " TO ", role));
}

void check_tables_back(const BothWays& both, const std::vector<WayBack>& ways, Findings& findings) {
  for (const auto& way : ways) {
    if (!way.route) continue;
    const auto& from = both.prepared.target_catalog.at({way.route->source.schema, way.route->source.name});
    const auto& into = both.prepared.source_catalog.at({way.route->target.schema, way.route->target.name});
    if (!from.is_owner && !both.prepared.target.superuser) {
      findings.push_back({Level::fail, way.label,
                          cat("way back: role ", both.prepared.target.role, " does not own ",
                              sql_of(way.route->source), " on the target, and only its owner may publish it"),
                          cat("ALTER TABLE ", sql_of(way.route->source), " OWNER TO ",
                              pg::quote_ident(both.prepared.target.role), "; or GRANT its owner's role")});
    }
    if (!into.can_insert || !into.can_update || !into.can_delete || !into.can_select) {
      findings.push_back({Level::fail, way.label,
                          cat("way back: role ", both.prepared.source.role, " may not read and write ",
                              sql_of(way.route->target), " on the source"),
                          cat("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ", sql_of(way.route->target),
                              " TO ", pg::quote_ident(both.prepared.source.role))});
    }
  }
}

// ------------------------------------------------------------------------- what the source does by itself

class Reactions {
 public:
  Reactions(const BothWays& both, const std::vector<WayBack>& ways, Findings& findings)
      : both_(both), findings_(findings), held_off_(may_set_replica_role(both.source)) {
    for (const auto& way : ways) {
      if (way.route) labels_[way.route->target] = way.label;
    }
  }

  void check() {
    find_triggers();
    if (!held_off_) find_foreign_keys();
  }

 private:
  static constexpr int kFirstOfTable = 0;

  [[nodiscard]] const std::string* label(const pg::Result& r, int row) const {
    const auto found = labels_.find({r.str(row, kFirstOfTable), r.str(row, kFirstOfTable + 1)});
    return found == labels_.end() ? nullptr : &found->second;
  }

  // Fires for replicated changes: ENABLE REPLICA or ALWAYS; where these cannot be told from others, all do.
  void find_triggers() {
    const auto r = both_.source.exec(
        "SELECT n.nspname, c.relname, t.tgname, t.tgenabled FROM pg_catalog.pg_trigger t "
        "JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = "
        "c.relnamespace "
        "JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_namespace f ON f.oid = "
        "p.pronamespace "
        "WHERE NOT t.tgisinternal AND f.nspname <> 'walign' AND t.tgenabled <> 'D' ORDER BY 1, 2, 3");
    for (int i = 0; i < r.rows(); ++i) {
      const auto* of = label(r, i);
      const auto enabled = r.text(i, 3);
      const bool fires = held_off_ ? enabled == "A" || enabled == "R" : enabled != "R";
      if (of == nullptr || !fires) continue;
      const std::string table = pg::qualified(r.str(i, 0), r.str(i, 1));
      findings_.push_back(
          {Level::warn, *of,
           cat("way back: trigger ", r.str(i, 2), " of ", r.str(i, 0), ".", r.str(i, 1),
               " on the source fires for what comes back, beside what it, or its like, did on the "
               "target"),
           cat(held_off_ ? ""
                         : cat("GRANT SET ON PARAMETER session_replication_role TO ",
                               pg::quote_ident(both_.prepared.source.role), "; or "),
               "ALTER TABLE ", table, held_off_ ? " ENABLE TRIGGER " : " DISABLE TRIGGER ",
               pg::quote_ident(r.str(i, 2)),
               held_off_ ? " (for the application's changes only)" : " after the cutover")});
    }
  }

  void find_foreign_keys() {
    const auto r = both_.source.exec(
        "SELECT n.nspname, c.relname, k.conname, pg_catalog.pg_get_constraintdef(k.oid), "
        "k.confrelid::pg_catalog.regclass, "
        "k.confdeltype NOT IN ('a', 'r') OR k.confupdtype NOT IN ('a', 'r'), rn.nspname, rc.relname "
        "FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_class rc ON rc.oid = "
        "k.confrelid "
        "JOIN pg_catalog.pg_namespace rn ON rn.oid = rc.relnamespace WHERE k.contype = 'f' ORDER BY 1, 2, 3");
    for (int i = 0; i < r.rows(); ++i) {
      const auto referenced = labels_.find({r.str(i, 6), r.str(i, 7)});
      const auto* of = label(r, i);
      if (of == nullptr && referenced == labels_.end()) continue;
      findings_.push_back({Level::warn, of != nullptr ? *of : referenced->second,
                           cat("way back: foreign key ", r.str(i, 2), " of ", r.str(i, 0), ".", r.str(i, 1),
                               " on the source (", r.str(i, 3), ") is enforced for what comes back",
                               r.boolean(i, 5) ? ", and changes rows by itself" : ""),
                           cat("GRANT SET ON PARAMETER session_replication_role TO ",
                               pg::quote_ident(both_.prepared.source.role), ", on the source")});
    }
  }

  const BothWays& both_;
  Findings& findings_;
  const bool held_off_;
  std::map<config::TableName, std::string> labels_;
};

}  // namespace

void check_servers_back(const BothWays& both, const std::vector<WayBack>& ways, Findings& findings) {
  Checks check(findings);
  check_target_is_read(both, check);
  check_source_is_written(both, check);
  check_tables_back(both, ways, findings);
}

void check_reactions(const BothWays& both, const std::vector<WayBack>& ways, Findings& findings) {
  Reactions(both, ways, findings).check();
}

}  // namespace walign::stream
