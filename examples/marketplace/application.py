"""Old code and new code of the example, for ./load, and what must hold in the end, for ./check."""

# Side: server, database.
SIDES = {"source": ("shop", "shop"), "target": ("shop", "market")}


def uuid_of(number):
    return f"md5('writer {number}')::uuid"


def some_listing(chance):
    """Of those that were there from the start, and are not the demonstration's."""
    while True:
        listing = chance.randint(1, 8000)
        if listing % 200:
            return listing


def old_code(number, chance):
    tenant, listing = chance.randint(2, 200), some_listing(chance)
    status = chance.choice(("ACTIVE", "PAUSED", "SOLD"))
    yield ("INSERT INTO marketplace_listings (public_id, tenant_id, title, status, price_cents) "
           f"VALUES ({uuid_of(number)}, {tenant}, 'Writer {number}', '{status}', {number * 7})")
    yield ("INSERT INTO marketplace_listing_images (tenant_id, listing, url) "
           f"VALUES ({tenant}, {uuid_of(number)}, 'https://images.example.org/writer{number}.jpg')")
    yield f"UPDATE marketplace_listings SET views = views + 1, status = '{status}' WHERE id = {listing}"
    if number % 10 == 0:
        yield "INSERT INTO marketplace_listings (tenant_id, title, price_cents) VALUES (1, 'A demonstration', 1)"
    if number % 5 == 0:
        yield f"DELETE FROM marketplace_listing_images WHERE id = {chance.randint(1, 8000)}"


def new_code(number, chance):
    provider, listing = 5000 + chance.randint(2, 200), some_listing(chance)
    status = chance.choice(("active", "paused", "sold"))
    yield ("INSERT INTO marketplace.service_listings (id, provider_id, title, status, price) "
           f"VALUES ({uuid_of(number)}, {provider}, 'Writer {number}', '{status}', {number} / 4.0)")
    yield ("INSERT INTO marketplace.listing_images (provider_id, listing_id, url) "
           f"VALUES ({provider}, {uuid_of(number)}, 'https://images.example.org/writer{number}.jpg')")
    yield (f"UPDATE marketplace.service_listings SET views = views + 1, status = '{status}' "
           f"WHERE legacy_listing_id = {listing}")
    # One that was made a moment ago, and may not have its old number yet.
    yield f"UPDATE marketplace.service_listings SET price = price + 1 WHERE id = {uuid_of(number - 3)}"
    if number % 5 == 0:
        yield f"DELETE FROM marketplace.listing_images WHERE id = {chance.randint(1, 8000)}"


COMPARED = [
    ("listings",
     "SELECT l.public_id, l.id, t.provider_id, l.title, lower(l.status), (l.price_cents / 100.0)::numeric(12, 2), "
     "l.views, l.created_at FROM marketplace_listings l JOIN tenants t ON t.id = l.tenant_id WHERE l.tenant_id <> 1",
     "SELECT id, legacy_listing_id, provider_id, title, status::text, price, views, created_at "
     "FROM marketplace.service_listings"),
    ("images",
     "SELECT i.id, t.provider_id, i.listing, i.url FROM marketplace_listing_images i JOIN tenants t ON t.id = "
     "i.tenant_id WHERE i.tenant_id <> 1",
     "SELECT id, provider_id, listing_id, url FROM marketplace.listing_images"),
]
# The numbers of the transactions that are there; and each of them has counted one view.
NUMBERS = {"source": "SELECT substr(title, 8) FROM marketplace_listings WHERE title LIKE 'Writer %'",
           "target": "SELECT substr(title, 8) FROM marketplace.service_listings WHERE title LIKE 'Writer %'"}
HOLDS = {"source": "SELECT sum(views) = count(*) FILTER (WHERE title LIKE 'Writer %') FROM marketplace_listings",
         "target": "SELECT count(*) = 0 FROM marketplace.listing_images i WHERE NOT EXISTS "
                   "(SELECT FROM marketplace.service_listings l WHERE l.id = i.listing_id)"}
