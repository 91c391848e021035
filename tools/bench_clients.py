# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
"""The clients of tools/bench cutover.

They are pinned to a side each, and remember when each statement that writes was asked for and answered, and which
transactions were acknowledged.
"""
import itertools
import random
import socket
import struct
import threading
import time

SIDES = ("source", "target")
OTHER = {"source": "target", "target": "source"}
NEW_IDS = 1_000_000_000  # those that the application takes are above it
REFUSED = "25006"
LOST = "lost"


class Failed(Exception):
    """A statement's error, by SQLSTATE."""

    def __init__(self, state, message):
        super().__init__(f"{state}: {message}")
        self.state = state


class Client:
    """One connection, in the simple protocol; trusted, and to a server on this machine."""

    def __init__(self, port, timeout=60, database="postgres"):
        try:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise Failed(LOST, str(error)) from error
        self.buffer = b""
        start = struct.pack("!i", 196608) + b"user\0postgres\0application_name\0shop\0"
        start += b"database\0" + database.encode() + b"\0\0"
        self.answer(struct.pack("!i", len(start) + 4) + start)

    def receive(self, size):
        while len(self.buffer) < size:
            more = self.socket.recv(65536)
            if not more:
                raise Failed(LOST, "the connection has ended")
            self.buffer += more
        out, self.buffer = self.buffer[:size], self.buffer[size:]
        return out

    def answer(self, question):
        """The first values of all rows, once the server is ready for more."""
        failed, values = None, []
        try:
            self.socket.sendall(question)
            while True:
                kind, size = struct.unpack("!ci", self.receive(5))
                body = self.receive(size - 4)
                if kind == b"E":
                    fields = {part[:1]: part[1:].decode() for part in body.split(b"\0") if part}
                    failed = Failed(fields[b"C"], fields[b"M"])
                    if fields[b"S"] in ("FATAL", "PANIC"):
                        raise Failed(LOST, fields[b"M"])
                elif kind == b"D":
                    length = struct.unpack("!hi", body[:6])[1]
                    values.append(body[6:6 + length].decode() if length >= 0 else None)
                elif kind == b"Z":
                    break
        except OSError as error:
            raise Failed(LOST, str(error)) from error
        if failed:
            raise failed
        return values

    def sql(self, text):
        body = text.encode() + b"\0"
        return self.answer(b"Q" + struct.pack("!i", len(body) + 4) + body)

    def close(self):
        self.socket.close()


class Statement:
    """What a client remembers of one that writes."""

    __slots__ = ("side", "asked", "answered", "state")

    def __init__(self, side, asked, answered, state):
        self.side, self.asked, self.answered, self.state = side, asked, answered, state


class Write:
    """A transaction that was acknowledged."""

    __slots__ = ("number", "side", "statements", "answered")

    def __init__(self, number, side, statements, answered):
        self.number, self.side, self.statements, self.answered = number, side, statements, answered

    def ms(self):
        return (self.answered - self.statements[0].asked) * 1000


class Application:
    """Clients on both sides at once; those of the closed side are refused, and ask again soon."""

    LASTS = 0.020
    AGAIN = 0.010

    def __init__(self, servers, tables, rows, each):
        self.servers, self.tables, self.rows = servers, tables, rows
        self.stopping = threading.Event()
        self.numbers = itertools.count(NEW_IDS + 1)
        self.statements, self.writes, self.in_doubt, self.unexpected = [], [], set(), []
        self.threads = [threading.Thread(target=self.work, args=(side,), daemon=True)
                        for side in SIDES for _ in range(each)]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def say(self, client, side, text, mine):
        asked, state = time.time(), None
        try:
            client.sql(text)
        except Failed as failed:
            state = failed.state
            raise
        finally:
            mine.append(Statement(side, asked, time.time(), state))
            self.statements.append(mine[-1])

    def write(self, client, side, number):
        mine = []
        three = random.sample(self.tables, 3)
        lines = [f"BEGIN; INSERT INTO {three[0]} (id, a, b) VALUES ({number}, {number % 1000}, 'new')"]
        lines += [f"UPDATE {table} SET a = a + 1 WHERE id = {random.randint(1, self.rows)}" for table in three[1:]]
        for line in lines:
            self.say(client, side, line, mine)
            time.sleep(self.LASTS / 3)
        client.sql("COMMIT")
        self.writes.append(Write(number, side, mine, time.time()))

    def work(self, side):
        client = None
        while not self.stopping.is_set():
            number = next(self.numbers)
            try:
                if client is None:
                    client = Client(self.servers[side].port)
                self.write(client, side, number)
            except Failed as failed:
                client = self.after_failure(client, failed, number)
                self.stopping.wait(self.AGAIN)

    def after_failure(self, client, failed, number):
        if failed.state not in (REFUSED, "40P01") and failed.state != LOST:
            self.unexpected.append(str(failed))
        try:
            if failed.state != LOST:
                client.sql("ROLLBACK")
                return client
        except Failed:
            pass
        if client is not None:
            client.close()
        self.in_doubt.add(number)
        return None

    def wait_for(self, side, writes, seconds=60):
        """Until so many more were acknowledged there."""
        first, end = len(self.writes), time.time() + seconds
        while sum(w.side == side for w in self.writes[first:]) < writes:
            if time.time() > end:
                raise SystemExit(f"bench: the {side} takes no writes")
            time.sleep(0.05)

    def pause(self, giver, since):
        """Seconds since 1970: the first write that was refused, or waited and was; the first accepted over there."""
        seen = [s for s in self.statements if s.asked >= since]
        stopped = min((s.asked for s in seen if s.side == giver and s.state == REFUSED), default=None)
        accepted = min((s.answered for s in seen if s.side == OTHER[giver] and s.state is None), default=None)
        return stopped, accepted

    def overlaps(self):
        """Acknowledged writes of which a statement was asked for after the other side had accepted one."""
        found, reign = [], None
        writes = sorted(self.writes, key=lambda w: w.answered)
        for write in writes:
            if reign is None or reign[0] != write.side:
                before, reign = reign, (write.side, write.answered, [])
                found += [w.number for w in before[2] if w.statements[-1].asked > write.answered] if before else []
            reign[2].append(write)
        return found
