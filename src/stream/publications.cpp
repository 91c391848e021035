// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The checks of publications. One that was made by somebody else can leave rows out without any error: by a row
// filter, a column list, an operation that it does not publish, or a table that joined it after the slot was made.
#include "servers.hpp"

namespace walign::stream {

namespace {

using mapping::Finding;

class PublicationChecks {
 public:
  PublicationChecks(const config::Config& config, Prepared& prepared, bool started, pg::Connection& source)
      : config_(config), prepared_(prepared), started_(started), source_(source) {}

  void check(const std::string& name, const std::vector<config::TableName>& wanted, bool inserts_only) {
    if (wanted.empty()) return;
    subject_ = cat("source publication ", name);
    problems_.clear();
    const auto existing = source::read_publication(source_, name);
    if (existing) {
      check_tables(name, *existing, wanted);
      check_what_is_sent(name, inserts_only);
      if (config_.slot_is_brought() && !started_) check_age(name);
    } else {
      check_may_make(name, wanted);
    }
    auto& findings = prepared_.findings;
    if (problems_.empty()) {
      findings.push_back({Finding::Level::ok, subject_, existing ? "exists" : "will be made", ""});
    }
    findings.insert(findings.end(), problems_.begin(), problems_.end());
  }

 private:
  void fails(std::string what, std::string remedy) {
    problems_.push_back({Finding::Level::fail, subject_, std::move(what), std::move(remedy)});
  }

  void check_tables(const std::string& name, const std::vector<config::TableName>& has,
                    const std::vector<config::TableName>& wanted) {
    for (const auto& table : wanted) {
      if (std::find(has.begin(), has.end(), table) != has.end()) continue;
      if (started_) continue;  // it is added, and copied
      fails(cat("does not have ", table.to_string()),
            cat("ALTER PUBLICATION ", pg::quote_ident(name), " ADD TABLE ",
                pg::qualified(table.schema, table.name)));
    }
  }

  void check_what_is_sent(const std::string& name, bool inserts_only) {
    const auto r = source_.query(
        "SELECT pubinsert AND pubtruncate, pubupdate AND pubdelete, pubviaroot, "
        "(SELECT string_agg(p.prrelid::regclass::text, ', ') FROM pg_catalog.pg_publication_rel p "
        "WHERE p.prpubid = b.oid AND (p.prqual IS NOT NULL OR p.prattrs IS NOT NULL)) "
        "FROM pg_catalog.pg_publication b WHERE pubname = $1",
        {name});
    if (r.rows() == 0) return;
    const std::string alter = cat("ALTER PUBLICATION ", pg::quote_ident(name), " SET ");
    const char* operations = inserts_only ? "insert, truncate" : "insert, update, delete, truncate";
    if (!r.boolean(0, 0) || (!inserts_only && !r.boolean(0, 1))) {
      fails(cat("does not publish all of ", operations), cat(alter, "(publish = '", operations, "')"));
    }
    if (r.boolean(0, 2)) {
      fails("publishes partitions as their root, so that TRUNCATE, ATTACH and DETACH of one are not sent",
            cat(alter, "(publish_via_partition_root = false)"));
    }
    if (!r.is_null(0, 3)) {
      fails(cat("has a row filter or a column list for ", r.str(0, 3)),
            cat(alter,
                "TABLE ...: name every table without WHERE and columns; use where: and columns: of "
                "walign.yaml instead"));
    }
  }

  // RULES 13. What is decoded from before the publication existed fails loudly; what is decoded from before a table
  // joined it is left out without a word. A table that joined after its creation must have done so before the slot,
  // which begins after all transactions below its catalog_xmin. (That can be older than need be, while another slot
  // lags behind; then this refuses too much.)
  void check_age(const std::string& name) {
    const auto r = source_.query(
        "SELECT string_agg(p.prrelid::regclass::text, ', ') FROM pg_catalog.pg_replication_slots s, "
        "pg_catalog.pg_publication b JOIN pg_catalog.pg_publication_rel p ON p.prpubid = b.oid "
        "WHERE s.slot_name = $1 AND b.pubname = $2 AND p.xmin <> b.xmin AND age(p.xmin) <= "
        "age(s.catalog_xmin)",
        {config_.slot_name(), name});
    if (r.rows() == 0 || r.is_null(0, 0)) return;
    fails(
        cat("may have got ", r.str(0, 0), " after slot ", config_.slot_name(),
            " was made: what changed in between would not be sent"),
        cat("make both again, publication first, in one statement: DROP PUBLICATION ", pg::quote_ident(name),
            "; CREATE PUBLICATION ...: `walign plan --sql` has it; then SELECT pg_drop_replication_slot(",
            pg::quote_literal(config_.slot_name()), "); SELECT pg_create_logical_replication_slot(",
            pg::quote_literal(config_.slot_name()), ", 'pgoutput')"));
  }

  // Only the tables' owner can, with CREATE on the database.
  void check_may_make(const std::string& name, const std::vector<config::TableName>& wanted) {
    const auto& server = prepared_.source;
    if (server.superuser) return;
    const auto may =
        source_.exec("SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')");
    if (!may.boolean(0, 0)) {
      fails(cat("role ", server.role, " may not make a publication"),
            cat("GRANT CREATE ON DATABASE ", pg::quote_ident(server.database), " TO ",
                pg::quote_ident(server.role)));
    }
    for (const auto& table : wanted) {
      const auto found = prepared_.source_catalog.find({table.schema, table.name});
      if (found == prepared_.source_catalog.end() || found->second.is_owner) continue;
      fails(cat("role ", server.role, " does not own ", table.to_string(), " and cannot publish it"),
            cat("as its owner: CREATE PUBLICATION ", pg::quote_ident(name), " FOR TABLE ",
                pg::qualified(table.schema, table.name),
                ", ...: `walign plan --sql` has the whole statement; or GRANT the owner's role"));
    }
  }

  const config::Config& config_;
  Prepared& prepared_;
  const bool started_;
  pg::Connection& source_;
  std::string subject_;
  mapping::Findings problems_;
};

}  // namespace

void check_publications(const config::Config& config, Prepared& prepared, bool started,
                        pg::Connection& source) {
  PublicationChecks checks(config, prepared, started, source);
  checks.check(config.stream_name(), prepared.published, false);
  checks.check(inserts_publication(config), prepared.published_inserts, true);
}

void require_still_published(const config::Config& config, const Prepared& prepared, pg::Connection& source) {
  const auto r = source.query(
      "SELECT n.nspname, c.relname, c.oid FROM pg_catalog.pg_publication_rel p "
      "JOIN pg_catalog.pg_publication b ON b.oid = p.prpubid JOIN pg_catalog.pg_class c ON c.oid = p.prrelid "
      "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE b.pubname IN ($1, $2)",
      {config.stream_name(), inserts_publication(config)});
  std::map<config::TableName, std::int64_t> published;
  for (int i = 0; i < r.rows(); ++i) {
    published.emplace(config::TableName{r.str(i, 0), r.str(i, 1)}, r.integer(i, 2));
  }
  for (const auto* tables : {&prepared.published, &prepared.published_inserts}) {
    for (const auto& table : *tables) {
      const auto known = prepared.source_catalog.find({table.schema, table.name});
      const auto now = published.find(table);
      if (known == prepared.source_catalog.end()) continue;
      if (now != published.end() && now->second == static_cast<std::int64_t>(known->second.oid)) continue;
      throw Error(
          ErrorKind::precondition,
          cat("table ", table.to_string(),
              " of the source is no longer published as it was: it was "
              "dropped, made again, renamed, or taken out of the publication"),
          "what was written to it since is not in the stream: if that is nothing, give the old table its "
          "name back or put it back into the publication, and run again; otherwise begin again: `walign "
          "remove`, then `walign run`");
    }
  }
}

}  // namespace walign::stream
