#!/usr/bin/env python3
# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
"""./load: the application of an example, old code and new code, until SIGTERM.

Three clients write where the file `writes_to` says (the switch hook of walign.yaml writes it): the old code on the
source, the new code on the target. One more is an old program that nobody has told anything: it goes on trying the
source.

Each transaction has a number. Those that were acknowledged are in the file `acknowledged`, with their side; those whose
answer was lost in `in_doubt`. What a client did not expect is in `unexpected`. ./check reads all three.
"""
import itertools
import pathlib
import random
import signal
import sys
import threading

from sides import Failed, client_of, code_of

EXPECTED = {"25006", "40001", "40P01", "lost"}  # refused by the fence; try again; a server that is restarted
PAUSE = 0.03
AGAIN = 0.03


class Books:
    """What was acknowledged, as it happens."""

    def __init__(self):
        self.lock = threading.Lock()
        self.numbers = itertools.count(1)
        self.files = {name: open(name, "w", encoding="utf-8") for name in ("acknowledged", "in_doubt", "unexpected")}

    def note(self, name, line):
        with self.lock:
            self.files[name].write(line + "\n")
            self.files[name].flush()

    def number(self):
        with self.lock:
            return next(self.numbers)


def side_of_now():
    try:
        return pathlib.Path("writes_to").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return "source"


def transact(client, number, statements, books, side):
    """One transaction; what became of it goes into the books."""
    sent = False
    try:
        client.sql("BEGIN")
        for statement in statements:
            client.sql(statement)
        sent = True
        client.sql("COMMIT")
        books.note("acknowledged", f"{number} {side}")
        return True
    except Failed as failed:
        if failed.state not in EXPECTED:
            books.note("unexpected", f"{number} {side} {failed}")
        if failed.state == "lost":
            if sent:
                books.note("in_doubt", f"{number} {side}")
            raise
        client.sql("ROLLBACK")
        return False


def write(code, books, stopping, which_side):
    clients = {}
    chance = random.Random()
    while not stopping.is_set():
        side = which_side()
        try:
            if side not in clients:
                clients[side] = client_of(side)
            number = books.number()
            good = transact(clients[side], number, code[side](number, chance), books, side)
            stopping.wait(PAUSE if good else AGAIN)
        except Failed:
            if side in clients:
                clients.pop(side).close()
            stopping.wait(AGAIN * 5)


def main():
    module = code_of()
    code = {"source": module.old_code, "target": module.new_code}
    books, stopping = Books(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    followers = [threading.Thread(target=write, args=(code, books, stopping, side_of_now)) for _ in range(3)]
    forgotten = threading.Thread(target=write, args=(code, books, stopping, lambda: "source"))
    for thread in (*followers, forgotten):
        thread.start()
    for thread in (*followers, forgotten):
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
