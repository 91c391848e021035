-- The old schema, as one tool made it: quoted names in camel case, serial keys, booleans.
\set ON_ERROR_STOP on

CREATE TABLE "Customers" (
  id serial PRIMARY KEY,
  "firstName" text NOT NULL,
  "lastName" text NOT NULL,
  email text,
  "isActive" boolean NOT NULL DEFAULT true,
  visits integer NOT NULL DEFAULT 0,
  "createdAt" timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE "Suppliers" (
  id serial PRIMARY KEY,
  "companyName" text NOT NULL,
  email text,
  "isActive" boolean NOT NULL DEFAULT true,
  "createdAt" timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE "Orders" (
  id serial PRIMARY KEY,
  "customerId" integer NOT NULL REFERENCES "Customers",
  total numeric(12, 2) NOT NULL,
  "isPaid" boolean NOT NULL DEFAULT false
);
INSERT INTO "Customers" ("firstName", "lastName", email, "isActive")
  SELECT 'Ada', 'Customer ' || i, 'customer' || i || '@example.org', i % 4 > 0 FROM generate_series(1, 8000) AS i;
INSERT INTO "Suppliers" ("companyName", email, "isActive")
  SELECT 'Supplier ' || i, NULL, i % 3 > 0 FROM generate_series(1, 4000) AS i;
INSERT INTO "Orders" ("customerId", total, "isPaid")
  SELECT 1 + i % 8000, i % 500 + 0.25, i % 2 = 0 FROM generate_series(1, 8000) AS i;
ANALYZE;
