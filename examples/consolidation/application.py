"""Old code and new code of the example, for ./load, and what must hold in the end, for ./check."""

# Side: server, database.
SIDES = {"source": ("old", "crm"), "target": ("new", "crm")}


def old_code(number, chance):
    customer, order = chance.randint(1, 8000), chance.randint(1, 8000)
    yield f"""INSERT INTO "Customers" ("firstName", "lastName", "isActive") VALUES ('Writer', '{number}', true)"""
    yield f"""INSERT INTO "Suppliers" ("companyName") VALUES ('Company {number}')"""
    yield f"""INSERT INTO "Orders" ("customerId", total) VALUES ({customer}, {number % 100})"""
    yield f"""UPDATE "Customers" SET visits = visits + 1, "isActive" = NOT "isActive" WHERE id = {customer}"""
    yield f"""UPDATE "Orders" SET "isPaid" = true WHERE id BETWEEN {order} AND {order + 3}"""
    if number % 5 == 0:
        yield f"""DELETE FROM "Suppliers" WHERE id = {chance.randint(1, 4000)}"""


def new_code(number, chance):
    customer, order = chance.randint(1, 8000), chance.randint(1, 8000)
    yield ("INSERT INTO parties (id, kind, name) VALUES ('cus_' || nextval('customer_numbers'), 'customer', "
           f"'Writer {number}')")
    yield ("INSERT INTO parties (id, kind, name) VALUES ('sup_' || nextval('supplier_numbers'), 'supplier', "
           f"'Company {number}')")
    yield f"INSERT INTO orders (party_id, total) VALUES ('cus_{customer}', {number % 100})"
    yield f"UPDATE parties SET visits = visits + 1, state = 'inactive' WHERE id = 'cus_{customer}'"
    yield f"UPDATE orders SET payment = 'open' WHERE id = 'ord_{order}'"
    if number % 5 == 0:
        yield f"DELETE FROM parties WHERE id = 'sup_{chance.randint(1, 4000)}'"


COMPARED = [
    ("parties",
     """SELECT 'cus_' || id, 'customer', "firstName" || ' ' || "lastName", email,
          CASE WHEN "isActive" THEN 'active' ELSE 'inactive' END, visits, "createdAt" FROM "Customers" UNION ALL
        SELECT 'sup_' || id, 'supplier', "companyName", email,
          CASE WHEN "isActive" THEN 'active' ELSE 'inactive' END, 0, "createdAt" FROM "Suppliers" """,
     "SELECT id, kind, name, email, state, visits, created_at FROM parties"),
    ("orders",
     """SELECT 'ord_' || id, 'cus_' || "customerId", total, CASE WHEN "isPaid" THEN 'paid' ELSE 'open' END
        FROM "Orders" """,
     "SELECT id, party_id, total, payment FROM orders"),
]
# The numbers of the transactions that are there; each of them has counted one visit, and made a company.
NUMBERS = {"source": """SELECT "lastName" FROM "Customers" WHERE "firstName" = 'Writer'""",
           "target": "SELECT substr(name, 8) FROM parties WHERE name LIKE 'Writer %'"}
HOLDS = {"source": """SELECT sum(visits) = count(*) FILTER (WHERE "firstName" = 'Writer') AND count(*) FILTER (WHERE
                        "firstName" = 'Writer') = (SELECT count(*) FROM "Suppliers" WHERE "companyName" LIKE
                        'Company %') FROM "Customers" """,
         "target": "SELECT sum(visits) = count(*) FILTER (WHERE name LIKE 'Writer %') AND count(*) FILTER (WHERE name "
                   "LIKE 'Writer %') = count(*) FILTER (WHERE name LIKE 'Company %') FROM parties"}
