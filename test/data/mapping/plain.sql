-- public.t -> public.t

-- insert; inputs 0 1 2
WITH done AS (INSERT INTO "public"."t" ("id", "v", "n") OVERRIDING SYSTEM VALUE SELECT src."id", src."v", src."n" FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.c1::"pg_catalog"."text" AS "v", u.c2::"pg_catalog"."int4" AS "n" FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[], $3::pg_catalog.text[]) AS u(c0, c1, c2)) AS src RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $4::pg_catalog.int8, 'insert into public.t');

-- delete; inputs 0
WITH done AS (DELETE FROM "public"."t" AS t USING (SELECT (src."id")::"pg_catalog"."int4" AS k0 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id" FROM unnest($1::pg_catalog.text[]) AS u(c0)) AS src) AS m WHERE t."id" = m.k0 RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $2::pg_catalog.int8, 'delete from public.t');

-- update; inputs 0 1 2
WITH done AS (UPDATE "public"."t" AS t SET "v" = m.e1, "n" = m.e2 FROM (SELECT (src."id")::"pg_catalog"."int4" AS k0, src."v" AS e1, src."n" AS e2 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.c1::"pg_catalog"."text" AS "v", u.c2::"pg_catalog"."int4" AS "n" FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[], $3::pg_catalog.text[]) AS u(c0, c1, c2)) AS src) AS m WHERE t."id" = m.k0 RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $4::pg_catalog.int8, 'update of public.t');

-- update, a value unchanged; inputs 0 2
WITH done AS (UPDATE "public"."t" AS t SET "n" = m.e2 FROM (SELECT (src."id")::"pg_catalog"."int4" AS k0, src."n" AS e2 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.c2::"pg_catalog"."int4" AS "n" FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) AS u(c0, c2)) AS src) AS m WHERE t."id" = m.k0 RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $3::pg_catalog.int8, 'update of public.t');

-- key change; inputs 0 1 2; old 0
WITH done AS (UPDATE "public"."t" AS t SET "id" = m.e0, "v" = m.e1, "n" = m.e2 FROM (SELECT src."id" AS e0, src."v" AS e1, src."n" AS e2 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.c1::"pg_catalog"."text" AS "v", u.c2::"pg_catalog"."int4" AS "n" FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[], $3::pg_catalog.text[]) AS u(c0, c1, c2)) AS src) AS m, (SELECT (src."id")::"pg_catalog"."int4" AS k0 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id" FROM unnest($4::pg_catalog.text[]) AS u(c0)) AS src) AS o WHERE t."id" = o.k0 RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $5::pg_catalog.int8, 'key change in public.t');

-- replace, a value unchanged; inputs 0 2
WITH m AS MATERIALIZED (SELECT src."walign.n", (src."id")::"pg_catalog"."int4" AS k0, src."id" AS e0, src."n" AS e2 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.c2::"pg_catalog"."int4" AS "n", u.n AS "walign.n" FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) WITH ORDINALITY AS u(c0, c2, n)) AS src), old AS (DELETE FROM "public"."t" AS t USING m WHERE t."id" = m.k0 RETURNING m."walign.n", m.e0 AS "walign.e0", m.e2 AS "walign.e2", t.*), done AS (INSERT INTO "public"."t" ("id", "v", "n") OVERRIDING SYSTEM VALUE SELECT old."walign.e0", old."v", old."walign.e2" FROM old ORDER BY "walign.n" RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $3::pg_catalog.int8, 'update of public.t');

-- replace with keys; inputs 0 1 2; old 0
WITH m AS MATERIALIZED (SELECT src."walign.n", (src."id")::"pg_catalog"."int4" AS k0, src."id" AS e0, src."v" AS e1, src."n" AS e2 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.c1::"pg_catalog"."text" AS "v", u.c2::"pg_catalog"."int4" AS "n", u.n AS "walign.n" FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[], $3::pg_catalog.text[]) WITH ORDINALITY AS u(c0, c1, c2, n)) AS src), old AS (DELETE FROM "public"."t" AS t USING m JOIN (SELECT src."walign.n", (src."id")::"pg_catalog"."int4" AS k0 FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.n AS "walign.n" FROM unnest($4::pg_catalog.text[]) WITH ORDINALITY AS u(c0, n)) AS src) AS o USING ("walign.n") WHERE t."id" = o.k0 RETURNING m."walign.n", m.e0 AS "walign.e0", m.e1 AS "walign.e1", m.e2 AS "walign.e2", t.*), done AS (INSERT INTO "public"."t" ("id", "v", "n") OVERRIDING SYSTEM VALUE SELECT old."walign.e0", old."walign.e1", old."walign.e2" FROM old ORDER BY "walign.n" RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $5::pg_catalog.int8, 'update of public.t');

-- truncate, restart identity
TRUNCATE "public"."t" RESTART IDENTITY;

-- truncate of a partition
DELETE FROM "public"."t" AS d USING (SELECT * FROM (SELECT t.tableoid AS "walign.o", t.ctid AS "walign.c", t."id" AS "id", t."v" AS "v", t."n" AS "n" FROM "public"."t" AS t) AS p WHERE (id < 10)) AS gone WHERE d.tableoid = gone."walign.o" AND d.ctid = gone."walign.c";
