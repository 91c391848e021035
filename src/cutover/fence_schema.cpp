// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "fence_schema.hpp"

namespace walign::cutover {

const char* const kFenceTable = R"(
CREATE TABLE IF NOT EXISTS walign.fence (
  migration text NOT NULL,
  side text NOT NULL CHECK (side IN ('source', 'target')),
  epoch bigint NOT NULL,
  state text NOT NULL CHECK (state IN ('OPEN', 'FENCING', 'FENCED', 'SEALED', 'CLOSED', 'ABORTED')),
  owner bigint NOT NULL,
  lease_until timestamptz,
  fence_lsn pg_lsn,
  open_lsn pg_lsn,
  switched_epoch bigint,
  not_back text,
  changed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  PRIMARY KEY (migration, side),
  CHECK ((state IN ('FENCING', 'FENCED')) = (lease_until IS NOT NULL))
) WITH (fillfactor = 10);
ALTER TABLE walign.fence ADD COLUMN IF NOT EXISTS not_back text;  -- since version 2
)";

// guard() reads its row twice: plainly, with the snapshot of the statement (or of the transaction, where that is
// REPEATABLE READ: it must not pass on what it does not see); and locked, only after the lease. Whoever finds the row
// busy then is refused, since waiting for the seal with a table's lock held would be a deadlock in the making.
// The owner of a fenced table may execute it: a new partition gets a trigger of its own, made by whoever makes the
// partition. What that permits is a trigger that refuses.
// The sub-block turns "changed since your snapshot" into the refusal that it is.
// reopen() displaces the stream that writes to the side it opens (record.hpp, rule 5).
// count_write() keeps the report's figures where an aborted transaction does not take them back: in sequences. They
// are named like the migration and the side ("walign_users_s_refused"), and made with the row.
const char* const kFenceFunctions = R"(
CREATE OR REPLACE FUNCTION walign.count_write(its_migration text, its_side text, passed boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  prefix constant text := its_migration || '_' || pg_catalog.left(its_side, 1);
  -- One that is refused has waited since it was asked for.
  at_us constant bigint := extract(epoch FROM
    CASE WHEN passed THEN pg_catalog.clock_timestamp() ELSE pg_catalog.statement_timestamp() END) * 1000000;
  refused constant regclass := pg_catalog.to_regclass(pg_catalog.format('walign.%I', prefix || '_refused'));
  first_at constant regclass := pg_catalog.to_regclass(
    pg_catalog.format('walign.%I', prefix || CASE WHEN passed THEN '_passed' ELSE '_first' END));
BEGIN
  IF NOT passed AND refused IS NOT NULL THEN
    PERFORM pg_catalog.nextval(refused);
  END IF;
  -- Those who have waited for one table are refused at once: the earliest of them stays.
  FOR tries IN 1..3 LOOP
    EXIT WHEN first_at IS NULL OR pg_catalog.pg_sequence_last_value(first_at) <= at_us;
    PERFORM pg_catalog.setval(first_at, at_us);
  END LOOP;
END $$;

CREATE OR REPLACE FUNCTION walign.guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  its_migration constant text := TG_ARGV[0];
  its_side constant text := TG_ARGV[1];
  its_epoch constant bigint := TG_ARGV[2]::bigint;
  write_to constant text := TG_ARGV[3];
  seen walign.fence;
  what text;
BEGIN
  SELECT f.* INTO seen FROM walign.fence f WHERE f.migration = its_migration AND f.side = its_side;
  IF seen.state = 'OPEN' AND seen.epoch >= its_epoch THEN
    IF TG_LEVEL = 'STATEMENT' THEN
      PERFORM walign.count_write(its_migration, its_side, true);
    END IF;
    RETURN NULL;
  END IF;
  IF seen.state IN ('FENCING', 'FENCED') AND seen.lease_until < pg_catalog.clock_timestamp() THEN
    BEGIN
      PERFORM pg_catalog.set_config('synchronous_commit', 'on', true);
      PERFORM FROM walign.fence f WHERE f.migration = its_migration AND f.side = its_side AND f.epoch = seen.epoch
        AND f.state IN ('FENCING', 'FENCED') AND f.lease_until < pg_catalog.clock_timestamp() FOR UPDATE SKIP LOCKED;
      IF FOUND THEN
        UPDATE walign.fence f SET state = 'OPEN', lease_until = NULL, changed_at = pg_catalog.clock_timestamp()
        WHERE f.migration = its_migration AND f.side = its_side;
        PERFORM walign.count_write(its_migration, its_side, true);
        RETURN NULL;
      END IF;
    EXCEPTION WHEN serialization_failure THEN
      NULL;
    END;
  END IF;
  PERFORM walign.count_write(its_migration, its_side, false);
  what := CASE
    WHEN seen.state = 'OPEN' THEN 'the transaction began before writes came back here: begin it again'
    WHEN seen.state IN ('FENCING', 'FENCED') THEN pg_catalog.format(
      'a change of sides is under way: try again in a moment, and write to %s if that still fails here', write_to)
    WHEN seen.state = 'SEALED' THEN pg_catalog.format('write to %s. Should that server be gone for ever, whoever '
      'administers this one may run here: SELECT walign.reopen(%L, other_side_is_gone => true)',
      write_to, its_migration)
    ELSE pg_catalog.format('write to %s', write_to) END;
  RAISE EXCEPTION USING ERRCODE = '25006',
    MESSAGE = pg_catalog.format('%I.%I does not take writes on this side now (migration %s, %s, epoch %s)',
      TG_TABLE_SCHEMA, TG_TABLE_NAME, its_migration, coalesce(seen.state, 'no fence'), coalesce(seen.epoch, 0)),
    HINT = what, SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END $$;

CREATE OR REPLACE FUNCTION walign.expect_fence(its_migration text, its_side text, its_epoch bigint, its_state text,
                                               its_owner bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  seen walign.fence;
BEGIN
  SELECT f.* INTO seen FROM walign.fence f WHERE f.migration = its_migration AND f.side = its_side FOR UPDATE;
  IF seen.epoch = its_epoch AND seen.state = its_state AND (its_owner IS NULL OR seen.owner = its_owner) THEN
    RETURN;
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'WA004',
    MESSAGE = pg_catalog.format('the %s side of %s is at epoch %s, %s; expected epoch %s, %s', its_side, its_migration,
      coalesce(seen.epoch, 0), coalesce(seen.state, 'no fence'), its_epoch, its_state),
    HINT = 'another walign, or a writer after the lease, has changed it: look at both sides again';
END $$;

CREATE OR REPLACE FUNCTION walign.guard_table(root regclass, its_migration text, its_side text, its_epoch bigint,
                                              write_to text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  relation regclass;
  kind "char";
  table_owner constant regrole := (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = root);
  runs constant text := pg_catalog.format(
    'WHEN (pg_catalog.current_setting(''walign.pass'', true) IS DISTINCT FROM %L OR session_user <> %L) '
    'EXECUTE FUNCTION walign.guard(%L, %L, %L, %L)',
    its_migration, session_user, its_migration, its_side, its_epoch, write_to);
BEGIN
  IF NOT pg_catalog.has_function_privilege(table_owner, 'walign.guard()', 'EXECUTE') THEN
    EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION walign.guard() TO %s', table_owner);
  END IF;
  EXECUTE pg_catalog.format('CREATE OR REPLACE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW %s',
                            its_migration || '_row', root, runs);
  EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', root, its_migration || '_row');
  FOR relation, kind IN
    SELECT c.oid, c.relkind FROM pg_catalog.pg_class c WHERE c.oid = root
      OR c.oid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree(root) t) ORDER BY c.oid <> root, c.oid
  LOOP
    EXECUTE pg_catalog.format(
      'CREATE OR REPLACE TRIGGER %I BEFORE INSERT OR UPDATE OR DELETE %s ON %s FOR EACH STATEMENT %s',
      its_migration || '_statement', CASE WHEN kind = 'f' THEN '' ELSE 'OR TRUNCATE' END, relation, runs);
    EXECUTE pg_catalog.format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %I', relation, its_migration || '_statement');
  END LOOP;
  RETURN (SELECT count(*) FROM pg_catalog.pg_locks l WHERE l.relation = root AND NOT l.granted);
END $$;

CREATE OR REPLACE FUNCTION walign.reopen(its_migration text, other_side_is_gone boolean) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  giver walign.fence;
BEGIN
  PERFORM pg_catalog.set_config('synchronous_commit', 'on', true);
  PERFORM FROM walign.fence f WHERE f.migration = its_migration ORDER BY f.side FOR UPDATE;
  SELECT f.* INTO giver FROM walign.fence f
    WHERE f.migration = its_migration AND f.state IN ('FENCING', 'FENCED', 'SEALED');
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'WA004',
      MESSAGE = pg_catalog.format('no side of %s in this database is fenced or sealed', its_migration),
      HINT = 'reopen() is for the side that gave its writes away; run it on that server';
  END IF;
  IF other_side_is_gone IS NOT TRUE THEN
    RAISE EXCEPTION USING ERRCODE = 'WA004',
      MESSAGE = pg_catalog.format('the other side of %s may still take writes', its_migration),
      HINT = 'if it can be reached, run `walign recover`; say other_side_is_gone => true only if it will never '
             'come back: what was written there is not here';
  END IF;
  IF EXISTS (SELECT FROM walign.fence f WHERE f.migration = its_migration AND f.side <> giver.side
             AND f.state = 'OPEN') THEN
    RAISE EXCEPTION USING ERRCODE = 'WA004',
      MESSAGE = pg_catalog.format('the other side of %s is in this very database, and open', its_migration),
      HINT = 'run `walign rollback`';
  END IF;
  UPDATE walign.fence f SET state = 'ABORTED', changed_at = pg_catalog.clock_timestamp()
    WHERE f.migration = its_migration AND f.side <> giver.side AND f.state = 'CLOSED';
  UPDATE walign.fence f SET state = 'OPEN', epoch = f.epoch + 1, owner = 0, lease_until = NULL, open_lsn = NULL,
    changed_at = pg_catalog.clock_timestamp() WHERE f.migration = its_migration AND f.side = giver.side;
  IF pg_catalog.to_regclass('walign.stream') IS NOT NULL THEN
    UPDATE walign.stream s SET epoch = s.epoch + 1
      WHERE s.name = its_migration || CASE giver.side WHEN 'source' THEN '_reverse' ELSE '' END;
  END IF;
  RETURN pg_catalog.format('the %s side of %s takes writes again (epoch %s)', giver.side, its_migration,
                           giver.epoch + 1);
END $$;

REVOKE ALL ON FUNCTION walign.count_write(text, text, boolean), walign.guard(),
  walign.expect_fence(text, text, bigint, text, bigint), walign.guard_table(regclass, text, text, bigint, text),
  walign.reopen(text, boolean) FROM PUBLIC;
)";

}  // namespace walign::cutover
