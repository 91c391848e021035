// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What walign keeps on the target, and the functions that its statements call. Names are qualified everywhere:
// the sessions that run this have an empty search_path.
#include "walign/crosswalk.hpp"

namespace walign::apply {

namespace {

constexpr const char* kTables = R"(
CREATE SCHEMA IF NOT EXISTS walign;

CREATE TABLE IF NOT EXISTS walign.schema_version (version int NOT NULL);

CREATE TABLE IF NOT EXISTS walign.stream (
  name text PRIMARY KEY,
  position pg_lsn NOT NULL,
  epoch bigint NOT NULL,
  source_system_id text NOT NULL,
  source_timeline bigint NOT NULL,
  source_database text NOT NULL,
  slot text NOT NULL,
  mapping_hash text NOT NULL,
  birth_snapshot text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  position_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 10);
-- So that changing the epoch is in the way of those who hold FOR KEY SHARE, and moving the position is not.
CREATE UNIQUE INDEX IF NOT EXISTS stream_epoch ON walign.stream (name, epoch);

CREATE TABLE IF NOT EXISTS walign.copy (
  stream text NOT NULL,
  route text NOT NULL,
  complete boolean NOT NULL,
  birth text NOT NULL,
  rows bigint NOT NULL DEFAULT 0,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  completed_at timestamptz,
  adopts boolean NOT NULL DEFAULT false,
  PRIMARY KEY (stream, route)
);
ALTER TABLE walign.copy ADD COLUMN IF NOT EXISTS adopts boolean NOT NULL DEFAULT false;  -- since version 2

CREATE TABLE IF NOT EXISTS walign.chunk (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream text NOT NULL,
  route text NOT NULL,
  lower_key text[],
  lower_after boolean NOT NULL,
  upper_key text[],
  upper_after boolean NOT NULL,
  snapshot text NOT NULL,
  fence pg_lsn NOT NULL,
  rows bigint NOT NULL,
  loaded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS chunk_route ON walign.chunk (stream, route);

-- A row for each shape that a table of the source was seen in, oldest first (relations.hpp).
CREATE TABLE IF NOT EXISTS walign.relation (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream text NOT NULL,
  oid bigint NOT NULL,
  table_oid bigint NOT NULL,
  schema text NOT NULL,
  name text NOT NULL,
  attnums int[] NOT NULL,
  columns text[] NOT NULL,
  types bigint[] NOT NULL,
  filenode bigint NOT NULL,
  seen pg_lsn NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS relation_stream ON walign.relation (stream, table_oid);

-- What walign itself did to the target's tables (relations.hpp). Since version 4.
CREATE TABLE IF NOT EXISTS walign.alteration (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream text NOT NULL,
  schema text NOT NULL,
  name text NOT NULL,
  statements text NOT NULL,
  position pg_lsn NOT NULL,
  altered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE IF NOT EXISTS walign.dead_letter (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream text NOT NULL,
  chain bigint,
  route text NOT NULL,
  relation text NOT NULL,
  key text NOT NULL,
  key_bytes bytea NOT NULL,
  new_key_bytes bytea,
  commit_lsn pg_lsn NOT NULL,
  operation text NOT NULL,
  error text NOT NULL,
  sqlstate text NOT NULL,
  event bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
)";

constexpr const char* kFunctions = R"(
CREATE OR REPLACE FUNCTION walign.advance(stream_name text, its_epoch bigint, from_position pg_lsn,
                                          to_position pg_lsn) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE walign.stream s SET position = to_position, position_at = pg_catalog.clock_timestamp()
  WHERE s.name = stream_name AND s.epoch = its_epoch AND s.position = from_position;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'WA003',
      MESSAGE = pg_catalog.format('stream %s is no longer at %s in epoch %s', stream_name, from_position, its_epoch),
      HINT = 'another walign has taken over this stream; this one must stop';
  END IF;
END $$;

CREATE OR REPLACE FUNCTION walign.expect(hit bigint, wanted bigint, doing text) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
  IF hit <> wanted THEN
    RAISE EXCEPTION USING ERRCODE = 'WA001',
      MESSAGE = pg_catalog.format('%s: %s of %s rows were there', doing, hit, wanted),
      HINT = 'the target does not have the rows that the source had: were all rows copied before the stream began, '
             'and does nothing else write to the target?';
  END IF;
  RETURN hit;
END $$;

CREATE OR REPLACE FUNCTION walign.unmapped_value(route text, column_name text, value text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'WA002',
    MESSAGE = pg_catalog.format('%s: the value map of column %s has no entry for %L', route, column_name, value),
    HINT = 'add the value to values:, or an else:';
END $$;
)";

int installed_version(pg::Connection& target) {
  const auto table = target.exec("SELECT pg_catalog.to_regclass('walign.schema_version') IS NOT NULL");
  if (!table.boolean(0, 0)) return 0;
  const auto version = target.exec("SELECT coalesce(max(version), 0) FROM walign.schema_version");
  return static_cast<int>(version.integer(0, 0));
}

StreamRow row_of(const pg::Result& r) {
  StreamRow row;
  row.position = r.lsn(0, 0);
  row.epoch = static_cast<std::uint64_t>(r.integer(0, 1));
  row.source_system_id = r.str(0, 2);
  row.source_timeline = static_cast<std::uint32_t>(r.integer(0, 3));
  row.source_database = r.str(0, 4);
  row.slot = r.str(0, 5);
  row.mapping_hash = r.str(0, 6);
  row.birth_snapshot = r.str(0, 7);
  return row;
}

}  // namespace

bool schema_installed(pg::Connection& target) { return installed_version(target) > 0; }

void create_schema_objects(pg::Connection& target) {
  target.exec(kTables);
  target.exec(kFunctions);
  target.exec(cat("INSERT INTO walign.schema_version VALUES (", kSchemaVersion, ")"));
}

void install_schema(pg::Connection& target) {
  const int version = installed_version(target);
  if (version > kSchemaVersion) {
    throw Error(
        ErrorKind::precondition,
        cat("schema walign on the target has version ", version, ", this program knows ", kSchemaVersion),
        "use the newer walign that made it");
  }
  if (version == kSchemaVersion) return;
  target.exec(
      "BEGIN; SET LOCAL synchronous_commit = on; "
      "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('walign schema'))");
  if (installed_version(target) < kSchemaVersion) {
    create_schema_objects(target);
  }
  target.exec("COMMIT");
}

std::optional<StreamRow> read_stream(pg::Connection& target, const std::string& stream) {
  if (!schema_installed(target)) return std::nullopt;
  const auto r = target.query(
      "SELECT position, epoch, source_system_id, source_timeline, source_database, slot, mapping_hash, "
      "birth_snapshot FROM walign.stream WHERE name = $1",
      {stream});
  return r.rows() == 0 ? std::nullopt : std::optional(row_of(r));
}

void insert_stream(pg::Connection& target, const std::string& stream, const StreamRow& row) {
  target.exec("BEGIN; SET LOCAL synchronous_commit = on");
  target.query(
      "INSERT INTO walign.stream (name, position, epoch, source_system_id, source_timeline, "
      "source_database, slot, mapping_hash, birth_snapshot) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
      {stream, row.position.to_string(), cat(row.epoch), row.source_system_id, cat(row.source_timeline),
       row.source_database, row.slot, row.mapping_hash, row.birth_snapshot});
  target.exec("COMMIT");
}

void begin_stream(pg::Connection& target, const std::string& stream, Lsn position,
                  const std::string& snapshot) {
  target.exec("BEGIN; SET LOCAL synchronous_commit = on");
  const auto r = target.query(
      "UPDATE walign.stream SET position = $2, birth_snapshot = $3, position_at = "
      "pg_catalog.clock_timestamp() WHERE name = $1 AND position = '0/0'",
      {stream, position.to_string(), snapshot});
  if (r.affected() != 1) {
    throw Error(ErrorKind::precondition, cat("stream ", stream, " already has a position"),
                "another walign is starting the same migration; stop one of them");
  }
  target.exec("COMMIT");
}

void set_mapping_hash(pg::Connection& target, const std::string& stream, const std::string& hash) {
  target.query("UPDATE walign.stream SET mapping_hash = $2 WHERE name = $1", {stream, hash});
}

std::uint64_t take_over(pg::Connection& target, const std::string& stream) {
  // An earlier instance may hold the row's lock in a transaction that it will never end: end the session first.
  // Only sessions of our own role are ended, so no privilege beyond ours is needed.
  target.query(
      "SELECT pg_catalog.pg_terminate_backend(pid, 5000) FROM pg_catalog.pg_stat_activity "
      "WHERE application_name = $1 AND usename = current_user AND datname = pg_catalog.current_database() "
      "AND pid <> pg_catalog.pg_backend_pid()",
      {cat(stream, " apply")});
  target.exec("BEGIN; SET LOCAL synchronous_commit = on");
  const auto r =
      target.query("UPDATE walign.stream SET epoch = epoch + 1 WHERE name = $1 RETURNING epoch", {stream});
  target.exec("COMMIT");
  if (r.rows() != 1) {
    throw Error(ErrorKind::precondition, cat("the target has no stream ", stream, " in walign.stream"),
                "it was removed while walign was starting; run again");
  }
  return static_cast<std::uint64_t>(r.integer(0, 0));
}

void raise_epoch(pg::Connection& target, const std::string& stream, std::uint64_t to) {
  target.query(
      "UPDATE walign.stream SET epoch = $2::pg_catalog.int8 WHERE name = $1 AND epoch < $2::pg_catalog.int8",
      {stream, cat(to)});
}

void displace(pg::Connection& target, const std::string& stream) {
  if (!schema_installed(target)) return;
  target.query("UPDATE walign.stream SET epoch = epoch + 1 WHERE name = $1", {stream});
}

std::vector<Extra> forget_copied(const std::string& stream, const std::string& route) {
  std::vector<Extra> out;
  for (const char* table : {"dead_letter", "chunk", "copy"}) {
    out.push_back({cat("DELETE FROM walign.", table, " WHERE stream = $1 AND route = $2"), {stream, route}});
  }
  return out;
}

namespace {

// By name: the schema may hold what fences a side of another migration, which must not fall with it.
void drop_schema_objects(pg::Connection& target) {
  target.exec(
      "DROP TABLE IF EXISTS walign.schema_version, walign.stream, walign.copy, walign.chunk, "
      "walign.relation, walign.alteration, walign.dead_letter; "
      "DROP FUNCTION IF EXISTS walign.advance(text, bigint, pg_lsn, pg_lsn), walign.expect(bigint, bigint, "
      "text), "
      "walign.unmapped_value(text, text, text)");
  const auto others = target.exec(
      "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = 'walign'::regnamespace) OR "
      "EXISTS (SELECT FROM pg_catalog.pg_proc WHERE pronamespace = 'walign'::regnamespace)");
  if (!others.boolean(0, 0)) target.exec("DROP SCHEMA walign");
}

}  // namespace

void remove_stream(pg::Connection& target, const std::string& stream) {
  if (!schema_installed(target)) return;
  install_schema(target);  // an older one lacks tables
  target.exec("BEGIN; SET LOCAL synchronous_commit = on");
  for (const char* table : {"dead_letter", "chunk", "copy", "relation", "alteration"}) {
    target.query(cat("DELETE FROM walign.", table, " WHERE stream = $1"), {stream});
  }
  target.exec("LOCK TABLE walign.stream IN ACCESS EXCLUSIVE MODE");  // another may begin at this moment
  target.query("DELETE FROM walign.stream WHERE name = $1", {stream});
  const bool last = target.exec("SELECT count(*) FROM walign.stream").integer(0, 0) == 0;
  forget_crosswalk(target, stream, last);
  if (last) drop_schema_objects(target);
  target.exec("COMMIT");
}

}  // namespace walign::apply
