-- Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
--
-- What walign needs to be allowed, and nothing more. As superuser, in the database, on the source and on the target:
--
--   psql -d app -v owner=app_owner -f roles.sql
--
-- `owner`: the role that owns the tables. `role`: walign's own; walign unless given with -v role=NAME. May be run
-- again. On a target that never takes the writes over (no cutover), REPLICATION and the membership are not needed.
\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role walign
\endif

SELECT format('CREATE ROLE %I LOGIN', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec

-- To read the stream of changes.
ALTER ROLE :"role" REPLICATION;

-- Only who owns a table may publish it, close it at a cutover and set its sequences; reading and writing come with it.
GRANT :"owner" TO :"role";

-- Schema walign and the publication; tables for what is compared and computed.
GRANT CREATE, TEMPORARY ON DATABASE :"DBNAME" TO :"role";

-- Which transactions a start or a cutover waits for.
GRANT pg_read_all_stats TO :"role";

-- Triggers and foreign keys do not fire a second time for what walign writes; a deadlock at the fence ends walign's
-- attempt and not the application's.
GRANT SET ON PARAMETER session_replication_role, deadlock_timeout TO :"role";
