# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
"""A long line to a server on this machine: bytes arrive later, in either direction."""
import collections
import heapq
import itertools
import selectors
import socket
import threading
import time

PIECE = 1 << 16
MOST = 1 << 24  # bytes under way in one direction, as a line of that length and 25 Gbit/s would hold


class Direction:
    """From one socket to another."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.under_way, self.size, self.ended = collections.deque(), 0, False


class Line:
    """Listens on a port of its own, in a thread of its own, until the program ends."""

    def __init__(self, port, seconds):
        self.to, self.seconds = port, seconds
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.due, self.number = [], itertools.count()
        threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        while True:
            wait = max(self.due[0][0] - time.monotonic(), 0) if self.due else None
            for key, _ in self.selector.select(wait):
                if key.data is None:
                    self.accept()
                else:
                    self.take(key.data)
            while self.due and self.due[0][0] <= time.monotonic():
                self.give(heapq.heappop(self.due)[2])

    def accept(self):
        near = self.listener.accept()[0]
        far = socket.create_connection(("127.0.0.1", self.to))
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for reader, writer in ((near, far), (far, near)):
            self.selector.register(reader, selectors.EVENT_READ, Direction(reader, writer))

    def take(self, direction):
        try:
            piece = direction.reader.recv(PIECE)
        except OSError:
            piece = b""
        direction.under_way.append(piece)
        direction.size += len(piece)
        heapq.heappush(self.due, (time.monotonic() + self.seconds, next(self.number), direction))
        if not piece or direction.size >= MOST:
            self.selector.unregister(direction.reader)
            direction.ended = not piece

    def give(self, direction):
        piece = direction.under_way.popleft()
        was_full = direction.size >= MOST and not direction.ended
        direction.size -= len(piece)
        try:
            if piece:
                direction.writer.sendall(piece)
            else:
                direction.writer.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # whoever has hung up is told by its own side
        if was_full and direction.size < MOST:
            self.selector.register(direction.reader, selectors.EVENT_READ, direction)
