-- public.t -> public.t

-- insert; inputs 0 1
WITH done AS (INSERT INTO "public"."t" ("id", "notes") OVERRIDING SYSTEM VALUE SELECT src."id", src."notes" FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.c1::"pg_catalog"."text" AS "notes" FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) AS u(c0, c1)) AS src RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $3::pg_catalog.int8, 'insert into public.t');

-- delete; inputs 0
WITH done AS (DELETE FROM "public"."t" AS t USING (SELECT (src."id")::"pg_catalog"."int4" AS k0 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id" FROM unnest($1::pg_catalog.text[]) AS u(c0)) AS src) AS m WHERE t."id" = m.k0 RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $2::pg_catalog.int8, 'delete from public.t');

-- update; inputs 0 1
WITH done AS (UPDATE "public"."t" AS t SET "notes" = m.e1 FROM (SELECT (src."id")::"pg_catalog"."int4" AS k0, src."notes" AS e1 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.c1::"pg_catalog"."text" AS "notes" FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) AS u(c0, c1)) AS src) AS m WHERE t."id" = m.k0 RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $3::pg_catalog.int8, 'update of public.t');

-- update, a value unchanged; inputs 0
WITH done AS (SELECT 1 FROM "public"."t" AS t, (SELECT (src."id")::"pg_catalog"."int4" AS k0 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id" FROM unnest($1::pg_catalog.text[]) AS u(c0)) AS src) AS m WHERE t."id" = m.k0) SELECT walign.expect((SELECT count(*) FROM done), $2::pg_catalog.int8, 'update of public.t');

-- key change; inputs 0 1; old 0
WITH m AS MATERIALIZED (SELECT src."walign.n", (src."id")::"pg_catalog"."int4" AS k0, src."id" AS e0, src."notes" AS e1 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.c1::"pg_catalog"."text" AS "notes", u.n AS "walign.n" FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) WITH ORDINALITY AS u(c0, c1, n)) AS src), old AS (DELETE FROM "public"."t" AS t USING m JOIN (SELECT src."walign.n", (src."id")::"pg_catalog"."int4" AS k0 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.n AS "walign.n" FROM unnest($3::pg_catalog.text[]) WITH ORDINALITY AS u(c0, n)) AS src) AS o USING ("walign.n") WHERE t."id" = o.k0 RETURNING m."walign.n", m.e0 AS "walign.e0", m.e1 AS "walign.e1", t.*), done AS (INSERT INTO "public"."t" ("id", "notes", "own") OVERRIDING SYSTEM VALUE SELECT old."walign.e0", old."walign.e1", old."own" FROM old ORDER BY "walign.n" RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $4::pg_catalog.int8, 'update of public.t');

-- replace, a value unchanged; inputs 0
WITH m AS MATERIALIZED (SELECT src."walign.n", (src."id")::"pg_catalog"."int4" AS k0, src."id" AS e0 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.n AS "walign.n" FROM unnest($1::pg_catalog.text[]) WITH ORDINALITY AS u(c0, n)) AS src), old AS (DELETE FROM "public"."t" AS t USING m WHERE t."id" = m.k0 RETURNING m."walign.n", m.e0 AS "walign.e0", t.*), done AS (INSERT INTO "public"."t" ("id", "notes", "own") OVERRIDING SYSTEM VALUE SELECT old."walign.e0", old."notes", old."own" FROM old ORDER BY "walign.n" RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $2::pg_catalog.int8, 'update of public.t');

-- replace with keys; inputs 0 1; old 0
WITH m AS MATERIALIZED (SELECT src."walign.n", (src."id")::"pg_catalog"."int4" AS k0, src."id" AS e0, src."notes" AS e1 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.c1::"pg_catalog"."text" AS "notes", u.n AS "walign.n" FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) WITH ORDINALITY AS u(c0, c1, n)) AS src), old AS (DELETE FROM "public"."t" AS t USING m JOIN (SELECT src."walign.n", (src."id")::"pg_catalog"."int4" AS k0 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.n AS "walign.n" FROM unnest($3::pg_catalog.text[]) WITH ORDINALITY AS u(c0, n)) AS src) AS o USING ("walign.n") WHERE t."id" = o.k0 RETURNING m."walign.n", m.e0 AS "walign.e0", m.e1 AS "walign.e1", t.*), done AS (INSERT INTO "public"."t" ("id", "notes", "own") OVERRIDING SYSTEM VALUE SELECT old."walign.e0", old."walign.e1", old."own" FROM old ORDER BY "walign.n" RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $4::pg_catalog.int8, 'update of public.t');

-- truncate, restart identity
TRUNCATE "public"."t" RESTART IDENTITY;

-- truncate of a partition
DELETE FROM "public"."t" AS d USING (SELECT * FROM (SELECT t.tableoid AS "walign.o", t.ctid AS "walign.c", t."id" AS "id", t."notes" AS "notes" FROM "public"."t" AS t) AS p WHERE (id < 10)) AS gone WHERE d.tableoid = gone."walign.o" AND d.ctid = gone."walign.c";
