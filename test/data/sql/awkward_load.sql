-- Random load on the tables of awkward.sql: CALL awkward.step(seed) is one transaction of one to five changes,
-- and one row in awkward.ledger. Called by several clients at once it may deadlock, as applications do:
--   pgbench -n -f awkward.pgbench -c 4 -T 20 --max-tries=0 app
-- Only the source needs this file. Keys come from a small space, so that changes meet.

CREATE FUNCTION awkward.pick(n int) RETURNS int LANGUAGE sql VOLATILE AS
  'SELECT 1 + floor(random() * n)::int';
CREATE FUNCTION awkward.one_of(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE AS
  'SELECT choices[awkward.pick(cardinality(choices))]';
CREATE FUNCTION awkward.long_text(bytes int) RETURNS text LANGUAGE sql VOLATILE AS
  $$ SELECT left(string_agg(md5(random()::text), ''), bytes) FROM generate_series(0, bytes / 32) $$;

-- Texts that quoting, escaping, encoding and NULL handling get wrong.
CREATE FUNCTION awkward.odd_text() RETURNS text LANGUAGE sql VOLATILE AS $$
  SELECT awkward.one_of('', ' ', 'NULL', 'null', '\N', '\\', '"', '''', '{}', '{NULL,"a"}', '(,)', E'a\tb\nc\r\n',
    'Größe', '表 и 🐘', 'it''s "quoted"', '$1', '%s', ';--', 'a,b', '  padded  ', E'\x01\x7f', NULL,
    md5(random()::text), md5(random()::text), awkward.pick(1000)::text)
$$;

-- Rows of random values: about one in eight values NULL, many at the edge of their type.
CREATE FUNCTION awkward.maybe(value anyelement) RETURNS anyelement LANGUAGE sql VOLATILE AS
  'SELECT CASE WHEN random() < 0.875 THEN value END';

CREATE FUNCTION awkward.random_point3() RETURNS awkward.point3 LANGUAGE sql VOLATILE AS
  'SELECT ROW(random() * 1e10, awkward.pick(9999) / 10.0, awkward.odd_text())::awkward.point3';
CREATE FUNCTION awkward.random_mood() RETURNS awkward.mood LANGUAGE sql VOLATILE AS
  $$ SELECT awkward.one_of('sad', 'ok', 'Very Happy', 'a,b "c" {d}')::awkward.mood $$;
CREATE FUNCTION awkward.random_nested() RETURNS awkward.nested LANGUAGE sql VOLATILE AS $$
  SELECT ROW(awkward.random_point3(), ARRAY[awkward.random_point3(), NULL, awkward.random_point3()],
             awkward.random_mood())::awkward.nested
$$;

CREATE FUNCTION awkward.random_every_type(k int) RETURNS awkward.every_type LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  r awkward.every_type;
  n int := awkward.pick(1000000);
  t timestamptz := timestamptz '2024-01-01 00:00:00+00' + random() * interval '700 days';
BEGIN
  r.id := k;
  r.c_bool := awkward.maybe(random() < 0.5);
  r.c_int2 := awkward.one_of('-32768', '32767', '0', NULL);
  r.c_int4 := awkward.one_of('-2147483648', '2147483647', n::text, NULL);
  r.c_int8 := awkward.one_of('-9223372036854775808', '9223372036854775807', n::text);
  r.c_float4 := awkward.one_of('NaN', '-Infinity', '-0', '1e-45', '3.4028235e38', random()::text);
  r.c_float8 := awkward.one_of('NaN', 'Infinity', '-0', '5e-324', '1.7976931348623157e308', random()::text,
                               '0.30000000000000004');
  r.c_numeric := awkward.one_of('NaN', 'Infinity', '0', '0.000', '-1.10', '1e60', '1.' || repeat('3', 70), NULL);
  r.c_numeric_scale := n / 7.0;
  r.c_numeric_negative := awkward.pick(9999) * 100;
  r.c_money := awkward.one_of('0', '-92233720368547758.08', '12.34', NULL);
  r.c_text := awkward.odd_text();
  r.c_varchar := left(awkward.odd_text(), 12);
  r.c_char := left(awkward.odd_text(), 9);
  r.c_one := awkward.one_of('', 'a', '"', ' ', '\', NULL);
  r.c_name := left(awkward.odd_text(), 60);
  r.c_bytea := awkward.one_of('\x', '\x00', '\xff5c27', '\x' || md5(random()::text), NULL);
  r.c_date := awkward.one_of('infinity', '-infinity', '0044-03-15 BC', '4713-01-01 BC', '2024-02-29', '99999-12-31');
  r.c_time := awkward.one_of('00:00', '24:00:00', '23:59:59.999999', NULL);
  r.c_time2 := t::time;
  r.c_timetz := awkward.one_of('12:34:56.789+14', '00:00-15:59:59', '24:00+00');
  r.c_timestamp := awkward.one_of('infinity', '0001-01-01 00:00:00 BC', '294276-12-31 23:59:59.999999', t::text);
  r.c_timestamp3 := t;
  r.c_timestamptz := awkward.one_of('-infinity', '2024-03-31 02:30:00+01', t::text, NULL);
  r.c_interval := awkward.one_of('0', '1 mon -1 day +00:00:01', '-178000000 years', '999999:59:59.999999', '1.5 weeks');
  r.c_interval_ds := random() * interval '40 days';
  r.c_uuid := awkward.maybe(gen_random_uuid());
  r.c_json := awkward.one_of('{"b": 1,  "a": [1,2 ] , "a": null}', '"\u00e9 \\"', 'null', ' 1.0 ', NULL);
  r.c_jsonb := jsonb_build_object('k', awkward.odd_text(), 'n', n, 'big', 1e40::numeric, 'in', '[1,null,{}]'::jsonb);
  r.c_jsonpath := awkward.one_of('$.a[*] ? (@.b > 3)', 'strict $."odd key"', NULL);
  r.c_xml := awkward.one_of('<a b="c">&lt;ü</a>', 'text only', '<x/><y/>', NULL);
  r.c_bit1 := awkward.one_of('0', '1', NULL);
  r.c_bit := (n % 32)::bit(5);
  r.c_varbit := left('101010101', n % 10)::varbit(9);
  r.c_varbit_free := awkward.one_of('', '1', repeat('10', 100));
  r.c_inet := awkward.one_of('10.0.0.1', '10.1.2.3/8', '::1', 'fe80::1/64', NULL);
  r.c_cidr := awkward.one_of('10.0.0.0/8', '::/0', '192.168.1.0/24');
  r.c_macaddr := '08:00:2b:01:02:03';
  r.c_macaddr8 := '08:00:2b:01:02:03:04:05';
  r.c_point := point(random(), -random() * 1e20);
  r.c_line := awkward.one_of('{1,2,3}', '{0.1,-1,0}', NULL);
  r.c_lseg := lseg(point(0, random()), point(random(), 1e-10));
  r.c_box := box(point(0, random()), point(random(), 1));
  r.c_path := awkward.one_of('[(0,0),(1,0.5)]', '((0,0),(1,1),(2,0))');
  r.c_polygon := awkward.one_of('((0,0),(1,1),(2,0))', NULL);
  r.c_circle := circle(point(random(), 0), random());
  r.c_tsvector := awkward.one_of('', '''it''''s'':1A,2 fat:3B', 'a b c', '''\\ "q"'':7');
  r.c_tsquery := awkward.one_of('', 'fat & (rat | !cat:AB*)', 'a <-> b <3> c');
  r.c_int4range := awkward.one_of('empty', '(,)', '[1,5)', '[-2147483648,]', NULL);
  r.c_int8range := int8range(n, n + 10);
  r.c_numrange := awkward.one_of('(1.10,2.200]', '[0,0]', '(,NaN)', 'empty');
  r.c_daterange := awkward.one_of('[2024-01-01,infinity)', '(,2024-02-29]', 'empty');
  r.c_tsrange := tsrange(t::timestamp, t::timestamp + interval '1 microsecond', '[]');
  r.c_tstzrange := tstzrange(NULL, t, '()');
  r.c_floatrange := awkward.one_of('[-Infinity,NaN]', '(0.1,0.30000000000000004)', 'empty');
  r.c_int4multirange := awkward.one_of('{}', '{[1,3),[5,9)}', '{(,)}');
  r.c_datemultirange := awkward.one_of('{[2024-01-01,2024-02-01),[2025-01-01,)}', NULL);
  r.c_tstzmultirange := tstzmultirange(tstzrange(t, t + interval '1 day'));
  r.c_oid := awkward.one_of('0', '4294967295', n::text);
  r.c_xid := awkward.one_of('0', '4294967295', n::text);
  r.c_xid8 := pg_current_xact_id();
  r.c_tid := awkward.one_of('(0,1)', '(4294967295,65535)');
  r.c_pg_lsn := awkward.one_of('0/0', 'FFFFFFFF/FFFFFFFF', pg_current_wal_lsn()::text);
  r.c_snapshot := awkward.one_of('10:20:10,14,15', pg_current_snapshot()::text);
  r.c_mood := awkward.maybe(awkward.random_mood());
  r.c_short := left(awkward.odd_text(), 7);
  r.c_positive := awkward.maybe(n / 100.0);
  r.c_tags := ARRAY[awkward.odd_text(), awkward.odd_text()];
  r.c_point3 := awkward.maybe(awkward.random_point3());
  r.c_nested := awkward.maybe(awkward.random_nested());
  RETURN r;
END $$;

CREATE FUNCTION awkward.random_every_array(k int) RETURNS awkward.every_array LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  r awkward.every_array;
  t text := awkward.odd_text();
BEGIN
  r.id := k;
  r.a_bool := awkward.one_of('{}', '{t,NULL,f}', NULL);
  r.a_int2 := awkward.one_of('{1,2}', '[0:1]={5,6}', '{{1,2},{3,4}}');
  r.a_int4 := ARRAY[awkward.pick(9), NULL, awkward.pick(9)];
  r.a_int8 := awkward.one_of('{9223372036854775807}', '{}');
  r.a_float8 := ARRAY['NaN', '-0', random()]::float8[];
  r.a_numeric := ARRAY['NaN', random() * 1000]::numeric(8, 2)[];
  r.a_text := ARRAY[t, NULL, 'NULL', '', '{', '"', '\', awkward.odd_text()];
  r.a_text2 := ARRAY[ARRAY[t, 'b'], ARRAY[awkward.odd_text(), NULL]];
  r.a_varchar := ARRAY[left(t, 5), 'x  '];
  r.a_char := ARRAY['ab', NULL, ''];
  r.a_one := ARRAY['a', '"', ','];
  r.a_name := ARRAY[left(t, 40)];
  r.a_bytea := ARRAY['\x00', '\x5c', decode(md5(random()::text), 'hex')]::bytea[];
  r.a_date := '{infinity,"0044-03-15 BC",NULL}';
  r.a_timestamptz := ARRAY['-infinity', now()]::timestamptz[];
  r.a_interval := ARRAY[interval '1 mon -1 day', random() * interval '9 days'];
  r.a_uuid := ARRAY[gen_random_uuid(), NULL];
  r.a_jsonb := ARRAY[jsonb_build_object('k', t), 'null', NULL]::jsonb[];
  r.a_bit := ARRAY[B'101', (awkward.pick(8) - 1)::bit(3)];
  r.a_varbit := ARRAY[B'', B'110011'];
  r.a_inet := '{10.1.2.3/8,::1}';
  r.a_box := ARRAY[box(point(0, 0), point(1, random())), box '(2,2),(1,1)'];  -- its delimiter is a semicolon
  r.a_point := ARRAY[point(random(), 1)];
  r.a_tsvector := ARRAY['a:1 b', '''it''''s''']::tsvector[];
  r.a_int4range := ARRAY['empty', '(,5)', NULL]::int4range[];
  r.a_multirange := ARRAY['{}', '{[1,3),[5,9)}']::int4multirange[];
  r.a_mood := ARRAY[awkward.random_mood(), NULL, awkward.random_mood()];
  r.a_short := ARRAY[left(t, 7), NULL];
  r.a_point3 := ARRAY[awkward.random_point3(), NULL];
  r.a_nested := ARRAY[awkward.random_nested()];
  RETURN r;
END $$;

-- One change per table and call.

CREATE PROCEDURE awkward.change_many_keys() LANGUAGE plpgsql AS $$
DECLARE
  day date := date '2024-01-01' + awkward.pick(5);
  k int := awkward.pick(5);
BEGIN
  CASE awkward.pick(5)
    WHEN 1, 2 THEN
      INSERT INTO awkward.many_keys (amount, a, b, note, c)
        VALUES (random() * 100, k, coalesce(awkward.odd_text(), 'n'), awkward.odd_text(), day)
        ON CONFLICT (c, a, b) DO UPDATE SET amount = excluded.amount, note = excluded.note;
    WHEN 3 THEN UPDATE awkward.many_keys SET amount = amount + 1 WHERE c = day AND a = k;
    WHEN 4 THEN UPDATE awkward.many_keys SET b = b || '+', c = c + 1 WHERE c = day AND a = k AND length(b) < 60;
    ELSE DELETE FROM awkward.many_keys WHERE c = day AND a = k;
  END CASE;
END $$;

CREATE PROCEDURE awkward.change_wide() LANGUAGE plpgsql AS $$
DECLARE k int := awkward.pick(100);
BEGIN
  CASE awkward.pick(6)
    WHEN 1, 2 THEN
      INSERT INTO awkward.wide VALUES (k, 0, awkward.long_text(20000), jsonb_build_object('t', awkward.long_text(9000)),
                                       convert_to(awkward.long_text(5000), 'UTF8'), left(awkward.odd_text(), 40))
        ON CONFLICT (id) DO UPDATE SET big = excluded.big, doc = excluded.doc;
    WHEN 3 THEN UPDATE awkward.wide SET counter = counter + 1 WHERE id BETWEEN k AND k + 3;
    WHEN 4 THEN
      UPDATE awkward.wide SET big = nullif(awkward.one_of('', 'short', awkward.long_text(3000)), '') WHERE id = k;
    WHEN 5 THEN UPDATE awkward.wide SET id = id + 1000 WHERE id = k;
    ELSE DELETE FROM awkward.wide WHERE id IN (k, k + 1000);
  END CASE;
END $$;

CREATE PROCEDURE awkward.change_toasted_key() LANGUAGE plpgsql AS $$
DECLARE
  head text := awkward.pick(20)::text || ':';
  old text := (SELECT min(k) FROM awkward.toasted_key WHERE starts_with(k, head));
BEGIN
  IF old IS NULL THEN
    INSERT INTO awkward.toasted_key VALUES (head || awkward.long_text(2300), 0) ON CONFLICT DO NOTHING;
  ELSIF random() < 0.6 THEN
    UPDATE awkward.toasted_key SET v = v + 1 WHERE k = old;
  ELSIF random() < 0.5 THEN
    UPDATE awkward.toasted_key SET k = head || awkward.long_text(2300) WHERE k = old;
  ELSE
    DELETE FROM awkward.toasted_key WHERE k = old;
  END IF;
END $$;

CREATE PROCEDURE awkward.change_unicode() LANGUAGE plpgsql AS $$
DECLARE k int := awkward.pick(50);
BEGIN
  CASE awkward.pick(4)
    WHEN 1 THEN
      INSERT INTO "Größe & Co"."Ünïcode ""Tabelle"" 表"
        VALUES (k, coalesce(awkward.odd_text(), 'leer'), awkward.odd_text(), k, awkward.odd_text())
        ON CONFLICT DO NOTHING;
    WHEN 2 THEN
      UPDATE "Größe & Co"."Ünïcode ""Tabelle"" 表" SET "Mixed Case" = awkward.odd_text(), "it's $1" = 'Ä'
        WHERE "Schlüssel" = k;
    WHEN 3 THEN
      UPDATE "Größe & Co"."Ünïcode ""Tabelle"" 表" SET "select" = left("select" || '€', 80), "naïve.Spalte" = -k
        WHERE "Schlüssel" = k;
    ELSE DELETE FROM "Größe & Co"."Ünïcode ""Tabelle"" 表" WHERE "Schlüssel" = k;
  END CASE;
END $$;

CREATE PROCEDURE awkward.change_every_type() LANGUAGE plpgsql AS $$
DECLARE
  k int := awkward.pick(60);
  r awkward.every_type := awkward.random_every_type(k);
BEGIN
  IF random() < 0.15 THEN
    DELETE FROM awkward.every_type WHERE id = k;
  ELSIF random() < 0.5 THEN
    UPDATE awkward.every_type SET c_text = r.c_text, c_numeric = r.c_numeric, c_float8 = r.c_float8, c_char = r.c_char,
      c_jsonb = r.c_jsonb, c_interval = r.c_interval, c_bit = r.c_bit, c_nested = r.c_nested, c_xml = r.c_xml
      WHERE id = k;
  ELSE
    DELETE FROM awkward.every_type WHERE id = k;  -- and insert in the same transaction: an update, seen from afar
    INSERT INTO awkward.every_type SELECT (r).* ON CONFLICT DO NOTHING;
  END IF;
END $$;

CREATE PROCEDURE awkward.change_every_array() LANGUAGE plpgsql AS $$
DECLARE
  k int := awkward.pick(60);
  r awkward.every_array := awkward.random_every_array(k);
BEGIN
  IF random() < 0.15 THEN
    DELETE FROM awkward.every_array WHERE id = k;
  ELSE
    INSERT INTO awkward.every_array SELECT (r).*
      ON CONFLICT (id) DO UPDATE SET a_text = excluded.a_text, a_text2 = NULL, a_bytea = excluded.a_bytea,
        a_point3 = excluded.a_point3, a_nested = excluded.a_nested, a_mood = excluded.a_mood;
  END IF;
END $$;

CREATE PROCEDURE awkward.change_generated() LANGUAGE plpgsql AS $$
DECLARE k int := awkward.pick(100);
BEGIN
  IF random() < 0.2 THEN
    DELETE FROM awkward.generated_columns WHERE id = k;
  ELSE
    INSERT INTO awkward.generated_columns (id, width, height, tag) VALUES (k, awkward.pick(9), k, awkward.odd_text())
      ON CONFLICT (id) DO UPDATE SET width = excluded.width, tag = excluded.tag;
  END IF;
END $$;

CREATE PROCEDURE awkward.change_identity() LANGUAGE plpgsql AS $$
DECLARE last bigint;
BEGIN
  INSERT INTO awkward.identity_always (v) VALUES (awkward.odd_text()) RETURNING id INTO last;
  UPDATE awkward.identity_always SET v = 'changed' WHERE id = last - awkward.pick(20);
  DELETE FROM awkward.identity_always WHERE id = last - 20 - awkward.pick(20);
  INSERT INTO awkward.identity_default (v) VALUES (awkward.odd_text()) RETURNING id INTO last;
  UPDATE awkward.identity_default SET id = -id WHERE id = last - awkward.pick(20);
END $$;

CREATE PROCEDURE awkward.change_parted() LANGUAGE plpgsql AS $$
DECLARE k int := awkward.pick(60);
BEGIN
  CASE awkward.pick(4)
    WHEN 1, 2 THEN
      INSERT INTO awkward.parted
        VALUES (date '2024-06-01' + awkward.pick(500), awkward.one_of('north', 'north-west', 'Süd', 'east'), k, 'new')
        ON CONFLICT DO NOTHING;
    WHEN 3 THEN  -- may move to another leaf
      UPDATE awkward.parted SET day = date '2024-06-01' + awkward.pick(500), v = awkward.odd_text()
        WHERE id = k AND (SELECT count(*) FROM awkward.parted p WHERE p.id = k) = 1;
    ELSE DELETE FROM awkward.parted WHERE id = k;
  END CASE;
END $$;

CREATE PROCEDURE awkward.change_identities() LANGUAGE plpgsql AS $$
DECLARE k int := awkward.pick(60);
BEGIN
  CASE awkward.pick(4)
    WHEN 1 THEN
      INSERT INTO awkward.full_identity VALUES (k, awkward.odd_text(), awkward.long_text(6000)) ON CONFLICT DO NOTHING;
      INSERT INTO awkward.index_identity VALUES (awkward.odd_text(), 'code ' || k) ON CONFLICT DO NOTHING;
    WHEN 2 THEN
      UPDATE awkward.full_identity SET v = awkward.odd_text() WHERE id = k;
      UPDATE awkward.index_identity SET v = awkward.odd_text(), part = part + 1 WHERE code = 'code ' || k;
    WHEN 3 THEN
      UPDATE awkward.full_identity SET id = id + 1000, big = NULL
        WHERE id = k AND NOT EXISTS (SELECT FROM awkward.full_identity f WHERE f.id = k + 1000);
      UPDATE awkward.index_identity SET code = code || '+' WHERE code = 'code ' || k;
    ELSE
      DELETE FROM awkward.full_identity WHERE id IN (k, k + 1000);
      DELETE FROM awkward.index_identity WHERE code IN ('code ' || k, 'code ' || k || '+');
  END CASE;
END $$;

CREATE PROCEDURE awkward.change_two_uniques() LANGUAGE plpgsql AS $$
DECLARE
  ids int[];
  seats int[];
  k int := awkward.pick(100);
BEGIN
  -- Two rows that exist, locked in the order of their keys.
  SELECT array_agg(id), array_agg(seat) INTO ids, seats FROM (
    SELECT id, seat FROM awkward.two_uniques
      WHERE id IN (SELECT id FROM awkward.two_uniques ORDER BY random() LIMIT 2) ORDER BY id FOR UPDATE) locked;
  CASE awkward.pick(6)
    WHEN 1, 2, 3 THEN  -- an exchange, by way of NULL
      UPDATE awkward.two_uniques SET seat = NULL WHERE id = ids[1];
      UPDATE awkward.two_uniques SET seat = seats[1], email = 'e' || ids[2] WHERE id = ids[2];
      UPDATE awkward.two_uniques SET seat = seats[2], v = v + 1 WHERE id = ids[1];
    WHEN 4 THEN  -- a value passes from a row that goes to one that comes
      DELETE FROM awkward.two_uniques WHERE id = ids[1];
      INSERT INTO awkward.two_uniques VALUES (k, seats[1], NULL, 0) ON CONFLICT DO NOTHING;
    WHEN 5 THEN DELETE FROM awkward.two_uniques WHERE id = ids[2];
    ELSE
      INSERT INTO awkward.two_uniques SELECT n, n, 'u' || n || '@x', 0 FROM generate_series(k, k + 3) AS n
        ON CONFLICT DO NOTHING;
  END CASE;
END $$;

CREATE PROCEDURE awkward.change_truncated() LANGUAGE plpgsql AS $$
DECLARE parent int;
BEGIN
  INSERT INTO awkward.truncated (v) SELECT awkward.odd_text() FROM generate_series(1, 3);
  SELECT max(id) INTO parent FROM awkward.truncated;
  INSERT INTO awkward.truncated_child VALUES (awkward.pick(100000), parent, 'child') ON CONFLICT DO NOTHING;
END $$;

-- First in its transaction, so that the lock it needs waits for nobody who waits for us.
CREATE PROCEDURE awkward.truncate_some() LANGUAGE plpgsql AS $$
BEGIN
  IF random() < 0.5 THEN
    TRUNCATE awkward.truncated RESTART IDENTITY CASCADE;
  ELSE
    TRUNCATE awkward.many_keys, awkward.parted_2024_north;
  END IF;
END $$;

CREATE PROCEDURE awkward.change(what text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CALL awkward.%I()', what);
END $$;

-- A change inside a savepoint, sometimes taken back.
CREATE PROCEDURE awkward.change_in_savepoint(what text) LANGUAGE plpgsql AS $$
BEGIN
  CALL awkward.change(what);
  IF random() < 0.3 THEN RAISE EXCEPTION 'taken back' USING ERRCODE = 'ZZ001'; END IF;
EXCEPTION WHEN SQLSTATE 'ZZ001' OR unique_violation THEN
  NULL;
END $$;

CREATE PROCEDURE awkward.step(seed int) LANGUAGE plpgsql SET client_min_messages = warning AS $$
DECLARE
  all_changes text[] := ARRAY['change_many_keys', 'change_wide', 'change_toasted_key', 'change_unicode',
    'change_every_type', 'change_every_array', 'change_generated', 'change_identity', 'change_parted',
    'change_identities', 'change_two_uniques', 'change_truncated'];
  chosen text[];
  what text;
BEGIN
  PERFORM setseed((seed % 1000003) / 1000003.0);
  IF random() < 0.01 THEN
    chosen := ARRAY['truncate_some'];
  ELSE  -- in the order of the list, which keeps deadlocks rare
    SELECT array_agg(c ORDER BY place) INTO chosen FROM (
      SELECT c, place FROM unnest(all_changes) WITH ORDINALITY AS t (c, place)
        ORDER BY random() LIMIT awkward.pick(5)) AS few;
  END IF;
  FOREACH what IN ARRAY chosen LOOP
    IF what = 'truncate_some' THEN CALL awkward.change(what); ELSE CALL awkward.change_in_savepoint(what); END IF;
  END LOOP;
  INSERT INTO awkward.ledger (seed, steps) VALUES (seed, chosen);
END $$;
