-- What tools/record-wire records of protocol versions 2 to 4: transactions that are streamed while they run (the
-- server streams what takes more than 64 kB), and transactions in two phases.
-- Run by a superuser; publication `p` is FOR ALL TABLES, and the slots exist already.

CREATE TYPE shade AS ENUM ('dark', 'light');
CREATE TABLE big (id integer PRIMARY KEY, s shade, v text);
CREATE TABLE other (id integer PRIMARY KEY, v text);
ALTER TABLE other REPLICA IDENTITY FULL;

-- Streamed, with a part that is rolled back and one that is not, a message, a truncate; committed.
BEGIN;
INSERT INTO big SELECT i, 'dark', 'v' FROM generate_series(1, 600) i;
SAVEPOINT undone;
INSERT INTO big SELECT i, NULL, NULL FROM generate_series(601, 1200) i;
ROLLBACK TO undone;
UPDATE big SET v = 'w' WHERE id = 1;
UPDATE big SET id = 10001 WHERE id = 2;
DELETE FROM big WHERE id = 3;
INSERT INTO other VALUES (1, 'a'), (2, 'b');
UPDATE other SET v = 'c' WHERE id = 1;
DELETE FROM other WHERE id = 2;
SELECT pg_logical_emit_message(true, 'prefix', 'inside');
SELECT pg_logical_emit_message(false, 'prefix', 'beside');
TRUNCATE other;
COMMIT;

-- Streamed, with a table that it changes, and rolled back as a whole.
BEGIN;
ALTER TABLE big ADD COLUMN more integer;
INSERT INTO big SELECT i, 'light', 'x', i FROM generate_series(2001, 2600) i;
ROLLBACK;

-- A small one in two phases, committed, and one rolled back.
BEGIN;
INSERT INTO other VALUES (3, 'prepared');
PREPARE TRANSACTION 'small, kept';
INSERT INTO other VALUES (4, 'between the phases');
COMMIT PREPARED 'small, kept';
BEGIN;
INSERT INTO other VALUES (5, 'gone');
PREPARE TRANSACTION 'small, gone';
ROLLBACK PREPARED 'small, gone';

-- A streamed one in two phases.
BEGIN;
INSERT INTO big SELECT i, 'light', 'y' FROM generate_series(3001, 3600) i;
PREPARE TRANSACTION 'große';
COMMIT PREPARED 'große';
