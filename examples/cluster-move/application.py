"""The application of the example, for ./load, and what must hold in the end, for ./check: one code on both sides."""

# Side: server, database.
SIDES = {"source": ("old", "app"), "target": ("new", "app")}


def old_code(number, chance):
    customer = chance.randint(1, 6000)
    yield f"INSERT INTO customers (email, name) VALUES ('writer{number}@example.org', 'Writer {number}')"
    yield f"UPDATE customers SET visits = visits + 1 WHERE id = {customer}"
    yield ("WITH made AS (INSERT INTO orders (customer_id, total) VALUES "
           f"({customer}, {number % 50}) RETURNING id) INSERT INTO order_items SELECT id, 1, 'New' FROM made")
    yield f"INSERT INTO audit.events (at, what) VALUES ('2026-{number % 12 + 1:02}-01', 'Writer {number}')"
    if number % 5 == 0:
        yield f"DELETE FROM orders WHERE id = {chance.randint(1, 8000)}"
    if number % 7 == 0:  # a unique value goes from one row to another, in one transaction
        yield f"UPDATE customers SET email = 'left{number}@example.org' WHERE name = 'Writer {number}'"
        yield f"UPDATE customers SET email = 'writer{number}@example.org' WHERE id = {customer}"


new_code = old_code

TABLES = {
    "customers": "SELECT * FROM customers",
    "orders": "SELECT * FROM orders",
    "order_items": "SELECT * FROM order_items",
    "audit.events": "SELECT *, tableoid::regclass::text FROM audit.events",
}
COMPARED = [(name, query, query) for name, query in TABLES.items()]
# The numbers of the transactions that are there; each of them has counted one visit, and left one event.
NUMBERS = {side: "SELECT substr(name, 8) FROM customers WHERE name LIKE 'Writer %'" for side in SIDES}
HOLDS = {side: "SELECT sum(visits) = count(*) FILTER (WHERE name LIKE 'Writer %') AND count(*) FILTER (WHERE name LIKE "
               "'Writer %') = (SELECT count(*) FROM audit.events WHERE what LIKE 'Writer %') FROM customers"
         for side in SIDES}
