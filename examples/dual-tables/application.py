"""Old code and new code of the example, for ./load, and what must hold in the end, for ./check."""

# Side: server, database. Here both are one.
SIDES = {"source": ("app", "app"), "target": ("app", "app")}


def both(number, chance, users, plants):
    user, plant = chance.randint(1, 10000), chance.randint(1, 15000)
    yield f"INSERT INTO {users} (email, name) VALUES ('writer{number}@example.org', 'Writer {number}')"
    yield f"UPDATE {users} SET logins = logins + 1 WHERE id = {user}"
    yield f"INSERT INTO {plants} (user_id, name) VALUES ({user}, 'Plant of writer {number}')"
    yield f"UPDATE {plants} SET watered = watered + 1 WHERE id BETWEEN {plant} AND {plant + 3}"
    if number % 7 == 0:
        yield f"DELETE FROM {plants} WHERE id = {plant}"


def old_code(number, chance):
    yield from both(number, chance, "users", "plants")


def new_code(number, chance):
    yield from both(number, chance, "users_async", "plants_async")
    yield f"UPDATE users_async SET locale = 'pt' WHERE id = {chance.randint(1, 10000)}"


USERS = "SELECT id, email, name, logins, settings, created_at FROM "
PLANTS = "SELECT id, user_id, name, watered FROM "
COMPARED = [("users", USERS + "users", USERS + "users_async"), ("plants", PLANTS + "plants", PLANTS + "plants_async")]

# The numbers of the transactions that are there; and each of them has counted one login.
NUMBERS = {side: f"SELECT substr(name, 8) FROM {users} WHERE name LIKE 'Writer %'"
           for side, users in (("source", "users"), ("target", "users_async"))}
HOLDS = {side: f"SELECT sum(logins) = count(*) FILTER (WHERE name LIKE 'Writer %') FROM {users}"
         for side, users in (("source", "users"), ("target", "users_async"))}
