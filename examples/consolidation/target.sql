-- The new schema, as another tool made it: one table of parties, text keys that say what they are of, enums.
\set ON_ERROR_STOP on

CREATE TYPE party_kind AS ENUM ('customer', 'supplier');
CREATE TYPE party_state AS ENUM ('active', 'inactive');
CREATE TYPE payment_state AS ENUM ('open', 'paid');
CREATE SEQUENCE customer_numbers;
CREATE SEQUENCE supplier_numbers;
CREATE SEQUENCE order_numbers;
CREATE TABLE parties (
  id text PRIMARY KEY,            -- cus_17, sup_17
  kind party_kind NOT NULL,
  name text NOT NULL,
  email text,
  state party_state NOT NULL DEFAULT 'active',
  visits integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  CHECK (starts_with(id, 'cus_') AND kind = 'customer' OR starts_with(id, 'sup_') AND kind = 'supplier')
);
CREATE TABLE orders (
  id text PRIMARY KEY DEFAULT 'ord_' || nextval('order_numbers'),
  party_id text NOT NULL REFERENCES parties,
  total numeric(12, 2) NOT NULL,
  payment payment_state NOT NULL DEFAULT 'open'
);
