"""What a service manager hears from walign run: the test has its socket."""
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest

import support

WALIGN = os.environ["WALIGN"]


@contextlib.contextmanager
def stopped_thread(thread):
    """One thread of another process stands still, as if it were stuck; ptrace(2) can do that."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    attach, detach, any_thread = 16, 17, 0x40000000
    if libc.ptrace(attach, thread, None, None) != 0:
        raise unittest.SkipTest(f"ptrace is not allowed here: {os.strerror(ctypes.get_errno())}")
    os.waitpid(thread, any_thread)
    try:
        yield
    finally:
        libc.ptrace(detach, thread, None, None)


class Notify(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.source = support.Server(["wal_level = logical"])
        cls.target = support.Server()
        for server in (cls.source, cls.target):
            server.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
        cls.source.sql("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) AS i")

    @classmethod
    def tearDownClass(cls):
        cls.source.__exit__()
        cls.target.__exit__()

    def setUp(self):
        self.target.sql("TRUNCATE t")
        self.folder = tempfile.TemporaryDirectory()
        self.config = f"{self.folder.name}/walign.yaml"
        self.write()
        self.running = None

    def tearDown(self):
        if self.running and self.running.poll() is None:
            self.running.kill()
            self.running.wait()
        support.until("no slot is read", lambda: self.source.sql(
            "SELECT count(*) FROM pg_replication_slots WHERE active") == "0")
        subprocess.run([WALIGN, "-c", self.config, "remove", "--name", "notify"], capture_output=True, check=False)
        self.folder.cleanup()

    def write(self, table="public.t", more=""):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"migration: notify\nsource: {self.source.url()}\ntarget: {self.target.url()}\n"
                       f"state: {self.folder.name}/state\nhttp: \"\"\ntables: [{table}]\n{more}")

    def run_walign(self, manager, watchdog_seconds=None):
        self.running = subprocess.Popen([WALIGN, "-c", self.config, "run"], stderr=subprocess.DEVNULL,
                                        env=manager.environment(watchdog_seconds))
        return self.running

    def test_ready_status_watchdog_and_stopping_come_in_their_order(self):
        manager = support.Manager()
        walign = self.run_walign(manager, watchdog_seconds=20)
        support.until("ready", lambda: manager.has("READY=1"))
        support.until("a status with the lag", lambda: re.search(
            r"STATUS=streaming  applied 0/\w+  lag ", "\n".join(manager.lines())))
        support.until("the watchdog is fed", lambda: manager.has("WATCHDOG=1"))
        self.assertFalse(manager.has("STOPPING=1"))
        walign.send_signal(signal.SIGTERM)
        self.assertEqual(walign.wait(60), 130)
        support.until("stopping", lambda: manager.has("STOPPING=1"))
        lines = manager.lines()
        self.assertEqual(lines.count("READY=1"), 1)
        self.assertEqual(lines.count("STOPPING=1"), 1)
        self.assertLess(lines.index("READY=1"), lines.index("STOPPING=1"))

    def test_a_start_that_a_human_must_mend_never_says_ready(self):
        self.write("public.nowhere")
        manager = support.Manager()
        walign = self.run_walign(manager)
        self.assertIn(walign.wait(60), (2, 3))
        self.assertFalse(manager.has("READY=1"))
        support.until("stopping", lambda: manager.has("STOPPING=1"))

    def test_paused_and_connecting_again_feed_the_watchdog(self):
        manager = support.Manager()
        self.run_walign(manager, watchdog_seconds=8)
        support.until("streaming", lambda: manager.has("STATUS=streaming"))
        subprocess.run([WALIGN, "-c", self.config, "pause", "apply"], check=True, capture_output=True)
        support.until("paused", lambda: manager.has("STATUS=streaming, paused"))
        since = time.monotonic()
        support.until("fed while paused", lambda: manager.fed_after(since + 3))
        subprocess.run([WALIGN, "-c", self.config, "resume", "apply"], check=True, capture_output=True)
        self.source.stop("immediate")
        support.until("trying again", lambda: any("trying again after" in line for line in manager.lines()))
        since = time.monotonic()
        support.until("fed while the source is down", lambda: manager.fed_after(since + 3))
        self.source.start()
        self.assertIsNone(self.running.poll())

    @contextlib.contextmanager
    def locked_target(self):
        """Somebody holds the target's table."""
        with subprocess.Popen([support.server_programs() / "psql", "-Xq", self.target.url()], stdin=subprocess.PIPE,
                              text=True) as blocker:
            blocker.stdin.write("BEGIN; LOCK TABLE t;\n")
            blocker.stdin.flush()
            try:
                support.until("locked", lambda: self.locks_of_target("mode = 'AccessExclusiveLock' AND granted") == 1)
                yield
            finally:
                blocker.stdin.close()  # which ends its transaction

    def locks_of_target(self, which):
        return int(self.target.sql(f"SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND {which}"))

    def is_fed_while_it_waits_for_the_lock(self, manager):
        support.until("walign waits for the lock", lambda: self.locks_of_target("NOT granted") > 0)
        since = time.monotonic()
        support.until("fed", lambda: manager.fed_after(since + 6))

    def test_a_loop_that_waits_long_for_the_target_feeds_the_watchdog(self):
        manager = support.Manager()
        self.run_walign(manager, watchdog_seconds=4)
        support.until("streaming", lambda: manager.has("STATUS=streaming"))
        with self.locked_target():
            self.source.sql("INSERT INTO t VALUES (1001, 'waits')")
            self.is_fed_while_it_waits_for_the_lock(manager)
        support.until("applied", lambda: self.target.sql("SELECT count(*) FROM t WHERE id = 1001") == "1")

    def test_a_loop_that_waits_for_a_batch_that_another_thread_writes_feeds_the_watchdog(self):
        self.write(more="apply: { max_batch_rows: 10 }\n")
        manager = support.Manager()
        self.run_walign(manager, watchdog_seconds=4)
        support.until("streaming", lambda: manager.has("STATUS=streaming"))
        subprocess.run([WALIGN, "-c", self.config, "pause", "apply"], check=True, capture_output=True)
        for first in range(2001, 2101, 20):
            self.source.sql(f"INSERT INTO t SELECT i, 'waits' FROM generate_series({first}, {first} + 19) AS i")
        with self.locked_target():
            subprocess.run([WALIGN, "-c", self.config, "resume", "apply"], check=True, capture_output=True)
            self.is_fed_while_it_waits_for_the_lock(manager)
        support.until("applied", lambda: self.target.sql("SELECT count(*) FROM t WHERE id > 2000") == "100")

    def test_a_loop_that_stands_still_does_not_feed_the_watchdog(self):
        manager = support.Manager()
        walign = self.run_walign(manager, watchdog_seconds=4)
        support.until("fed while streaming", lambda: manager.has("STATUS=streaming") and manager.has("WATCHDOG=1"))
        with stopped_thread(walign.pid):  # the loop's is the first; the one that tells goes on
            since = time.monotonic() + 4
            time.sleep(8)
            self.assertFalse(manager.fed_after(since))
            self.assertIsNone(walign.poll())
        support.until("fed again", lambda: manager.fed_after(since))


if __name__ == "__main__":
    support.main()
