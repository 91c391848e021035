# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
"""Who consumes a backlog in tools/bench, and what that took.

Each begins at a copy of one slot that nobody reads, with a target database made from one template: all of them do the
same work. The clock runs from the moment when the slot is in use until the backlog's last row is visible on the target
(pg_recvlogical: until it has ended). CPU seconds are those of that time, of whole servers: besides the walsender, or
the target's backend, also what writes their WAL and pages.
"""
import dataclasses
import pathlib
import shutil
import subprocess
import sys
import time

from bench_clients import Client
from bench_servers import BIN, cpu_seconds, memory_mib, own_cpu_seconds

PUBLICATION = "walign_bench"  # as walign names that of a migration called bench
SLOT, KEPT, DATABASE, TEMPLATE = "bench_run", "bench_kept", "bench_run", "bench_base"
MARKER = "bench_end"  # its only row is the end of the backlog
PATIENCE = 7200


@dataclasses.dataclass
class Figures:
    """Of one contender in one round."""
    seconds: float
    source: float  # CPU seconds
    consumer: float
    target: float
    mib: int


class Busy:
    """CPU seconds of the two servers and of the consumer since it was made."""

    def __init__(self, source, target, consumer, inside):
        self.postmasters = source.postmaster(), target.postmaster()
        self.consumer, self.inside = consumer, inside
        self.before = self.now()

    def now(self):
        source, target = (cpu_seconds(pid) for pid in self.postmasters)
        consumer = own_cpu_seconds(self.consumer)
        return source, consumer, target - consumer if self.inside else target

    def since(self):
        return [max(now - before, 0.0) for now, before in zip(self.now(), self.before)]


class Contender:
    """Starts, is waited for, and stops."""
    name = ""
    applies = True  # writes to the target
    inside = False  # is a process of the target's server
    checks = None  # pairs of relations, as SQL, that must be equal in the end; None: the workload's tables

    def __init__(self, source, target, home):
        self.source, self.target, self.home = source, target, home

    def prepare(self):
        self.source.sql(f"SELECT pg_copy_logical_replication_slot('{KEPT}', '{SLOT}')")
        self.target.sql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        self.target.sql(f"CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        self.target.sql("CHECKPOINT")

    def run(self):
        self.prepare()
        watch = Client(self.source.port, PATIENCE)
        target = Client(self.target.port, PATIENCE, DATABASE)
        self.start()
        try:
            while watch.sql(f"SELECT active FROM pg_replication_slots WHERE slot_name = '{SLOT}'") != ["t"]:
                self.check()
                time.sleep(0.005)
            pid = self.pid()
            began, busy = time.monotonic(), Busy(self.source, self.target, pid, self.inside)
            while not self.done(target):
                self.check()
                time.sleep(0.02)
            seconds = time.monotonic() - began
            figures = Figures(seconds, *busy.since(), memory_mib(pid, "RssAnon" if self.inside else "VmHWM"))
        finally:
            self.stop()
        self.let_go(watch)
        return figures

    def let_go(self, watch):
        active = f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{SLOT}' AND active"
        while watch.sql(active):
            time.sleep(0.02)
        watch.sql(f"SELECT pg_drop_replication_slot('{SLOT}')")

    def done(self, target):
        return target.sql(f"SELECT 1 FROM {MARKER}") != []

    def start(self):
        raise NotImplementedError

    def pid(self):
        raise NotImplementedError

    def check(self):
        """Ends the program if this one has failed."""

    def stop(self):
        raise NotImplementedError


class Receiver(Contender):
    """pg_recvlogical to nothing: the limit of what the source sends."""
    name = "pg_recvlogical to nothing"
    applies = False

    def __init__(self, source, target, home, streaming=False):
        super().__init__(source, target, home)
        self.options = ["proto_version=2", "streaming=on"] if streaming else ["proto_version=1"]
        self.process = None

    def start(self):
        end = self.source.sql("SELECT pg_current_wal_flush_lsn()")
        options = [word for option in (*self.options, f'publication_names="{PUBLICATION}"') for word in ("-o", option)]
        self.process = subprocess.Popen(
            [str(BIN / "pg_recvlogical"), "-d", self.source.url(), "-S", SLOT, "--start", "--no-loop", "-F", "0",
             "-f", "/dev/null", f"--endpos={end}", *options], stderr=subprocess.DEVNULL)

    def pid(self):
        return self.process.pid

    def done(self, target):
        """Its CPU seconds can be read as long as nobody has waited for it."""
        return pathlib.Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").split()[2] == "Z"

    def stop(self):
        if self.process.poll() is None and not self.done(None):
            self.process.terminate()
        if self.process.wait() != 0:
            sys.exit("bench: pg_recvlogical failed")


class Subscription(Contender):
    """The built-in one. Its worker is a process of the target's server."""
    inside = True

    def __init__(self, source, target, home, options=""):
        super().__init__(source, target, home)
        self.options = options
        self.name = f"built-in{', ' + options if options else ', text'}"
        self.publisher = f"host=127.0.0.1 port={source.port} user=postgres dbname=postgres"

    def start(self):
        options = f", {self.options}" if self.options else ""
        self.target.sql(f"CREATE SUBSCRIPTION bench CONNECTION '{self.publisher}' PUBLICATION {PUBLICATION} WITH "
                        f"(create_slot = false, slot_name = {SLOT}, copy_data = false{options})", DATABASE)

    def pid(self):
        return int(self.target.sql("SELECT pid FROM pg_stat_subscription WHERE subname = 'bench'", DATABASE))

    def stop(self):
        for text in ("ALTER SUBSCRIPTION bench DISABLE", "ALTER SUBSCRIPTION bench SET (slot_name = NONE)",
                     "DROP SUBSCRIPTION bench"):
            self.target.sql(text, DATABASE)


class Walign(Contender):
    """`walign run` on rows that are there already."""
    name = "walign"

    def __init__(self, source, target, home, walign, tables):
        super().__init__(source, target, home)
        self.walign, self.tables = walign, tables
        self.target_url = target.url(DATABASE)
        self.process = None

    def start(self):
        state = self.home / "state"
        shutil.rmtree(state, ignore_errors=True)
        config = self.home / "walign.yaml"
        config.write_text(f"migration: bench\nsource: {self.source.url()}\ntarget: {self.target_url}\n"
                          f"state: {state}\nslot: {SLOT}\ntables:\n{self.tables}  - public.{MARKER}\nhttp: \"\"\n",
                          encoding="utf-8")
        self.process = subprocess.Popen([str(self.walign), "-c", str(config), "--log-level", "warn", "run",
                                         "--no-backfill"])

    def pid(self):
        return self.process.pid

    def check(self):
        if self.process.poll() is not None:
            sys.exit(f"bench: walign ended with status {self.process.returncode}")

    def stop(self):
        self.process.terminate()
        self.process.wait()
