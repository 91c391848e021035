-- What months of dual writes have left on the new side: about half of the listings, some of them wrong, some that the
-- old side has deleted since. Run on the target; takes the rows from the old side's dump in listings.csv.
\set ON_ERROR_STOP on

CREATE TEMPORARY TABLE old (
  id bigint, public_id uuid, tenant_id bigint, title text, price_cents int, created_at timestamptz
);
\copy old FROM listings.csv WITH (FORMAT csv)
INSERT INTO marketplace.service_listings (id, legacy_listing_id, provider_id, title, status, price, created_at)
  SELECT old.public_id, old.id, p.id, CASE WHEN old.id % 50 = 0 THEN 'Lost update' ELSE old.title END, 'active',
         old.price_cents / 100.0, old.created_at
  FROM old JOIN marketplace.providers p USING (tenant_id) WHERE old.id % 2 = 0;
INSERT INTO marketplace.service_listings (id, legacy_listing_id, provider_id, title, status, price)
  SELECT gen_random_uuid(), 700000 + i, 5002, 'Deleted long ago', 'active', 1 FROM generate_series(1, 40) AS i;
