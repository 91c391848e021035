-- public.t -> public.t

-- insert; inputs 0 1
WITH done AS (INSERT INTO "public"."t" ("id", "v") OVERRIDING SYSTEM VALUE SELECT src."id", src."v" FROM (SELECT u.c0::"pg_catalog"."int4" AS "id", u.c1::"pg_catalog"."text" AS "v" FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) AS u(c0, c1)) AS src RETURNING 1) SELECT walign.expect((SELECT count(*) FROM done), $3::pg_catalog.int8, 'insert into public.t');

-- truncate, restart identity
TRUNCATE "public"."t" RESTART IDENTITY;

-- truncate of a partition
DELETE FROM "public"."t" AS d USING (SELECT * FROM (SELECT t.tableoid AS "walign.o", t.ctid AS "walign.c", t."id" AS "id", t."v" AS "v" FROM "public"."t" AS t) AS p WHERE (id < 10)) AS gone WHERE d.tableoid = gone."walign.o" AND d.ctid = gone."walign.c";
