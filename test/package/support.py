"""What the tests of packages and pages share: throw-away PostgreSQL servers, ports that are free, and how a test that
cannot be tried here is skipped."""
import glob
import os
import pathlib
import pwd
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

SKIPPED = 77


def main():
    """unittest.main(), but for the exit status where every test was skipped, which ctest shows."""
    result = unittest.main(module="__main__", exit=False).result
    if not result.wasSuccessful():
        sys.exit(1)
    if result.skipped and result.testsRun <= len(result.skipped):
        sys.exit(SKIPPED)


def needs(program, package):
    """Skips a test, or a class of them, where a program is not installed."""
    return unittest.skipUnless(shutil.which(program), f"{program} is not installed (Debian's package {package})")


def free_port():
    """Below the ports that the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def server_programs():
    folder = os.environ.get("WALIGN_PG_BIN")
    if folder:
        return pathlib.Path(folder)
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    return pathlib.Path(max(found, key=lambda path: int(path.split("/")[4]))).parent


class Server:
    """A cluster of its own on a port of 127.0.0.1, gone afterwards. Superuser postgres, no password."""

    def __init__(self, settings=(), port=None):
        self.port = port or free_port()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="walign-test-"))
        self.data = self.folder / "data"
        self.as_postgres = []
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
            self.as_postgres = ["runuser", "-u", "postgres", "--"]
        self.program("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C",
                     "--no-sync")
        lines = [f"port = {self.port}", "listen_addresses = '127.0.0.1'", f"unix_socket_directories = '{self.folder}'",
                 "fsync = off", *settings]
        with open(self.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
        self.start()

    def program(self, name, *arguments):
        done = subprocess.run([*self.as_postgres, server_programs() / name, *map(str, arguments)], cwd=self.folder,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, (name, done.stdout, done.stderr)

    def start(self):
        # The server inherits nothing of ours that it would keep open.
        done = subprocess.run([*self.as_postgres, server_programs() / "pg_ctl", "-D", self.data, "-w", "-l",
                               self.folder / "log", "start"], cwd=self.folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=120)
        assert done.returncode == 0, (self.folder / "log").read_text(encoding="utf-8")

    def stop(self, how="fast"):
        self.program("pg_ctl", "-D", self.data, "-m", how, "-w", "stop")

    def sql(self, text, database="postgres"):
        done = subprocess.run([server_programs() / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", self.url(database)],
                              input=text, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, (text, done.stderr)
        return done.stdout.strip()

    def url(self, database="postgres", user="postgres"):
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.stop("immediate")
        except AssertionError:
            pass  # a test has stopped it
        shutil.rmtree(self.folder, ignore_errors=True)


class Manager:
    """A service manager: a socket that NOTIFY_SOCKET names, and all that was heard on it."""

    def __init__(self):
        self.name = f"\0walign-test-{os.getpid()}-{id(self)}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.name)
        self.heard = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            text = self.socket.recv(65536).decode()
            self.heard += [(time.monotonic(), line) for line in text.split("\n")]

    def environment(self, watchdog_seconds=None):
        out = {**os.environ, "NOTIFY_SOCKET": "@" + self.name[1:]}
        if watchdog_seconds:
            out["WATCHDOG_USEC"] = str(int(watchdog_seconds * 1e6))
        return out

    def lines(self):
        return [line for _, line in list(self.heard)]

    def has(self, begins):
        return any(line.startswith(begins) for line in self.lines())

    def fed_after(self, when):
        return any(line == "WATCHDOG=1" and at > when for at, line in list(self.heard))


def has_user(name):
    try:
        pwd.getpwnam(name)
        return True
    except KeyError:
        return False


def until(what, condition, seconds=120):
    """Waits until the condition holds; how long that takes is nobody's business but the machine's."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds} s still not: {what}")
        time.sleep(0.1)
