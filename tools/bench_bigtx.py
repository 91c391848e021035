# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
"""tools/bench bigtx --kill: one transaction of many rows, with savepoints that are rolled back in it, through walign,
which is killed while it spills and while it applies; resident memory throughout."""
import pathlib
import subprocess
import sys
import threading
import time

from bench_servers import wait_for

PIECES = 5
MOST_MIB = 256
ROW = "SELECT g, 'row ' || g, md5(g::text) FROM generate_series({first}, {last}) g"
CHECKSUM = "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM t"


def transaction(rows):
    """Each piece is followed by a savepoint with half as many rows, which are rolled back."""
    piece = max(rows // PIECES, 1)
    out = ["BEGIN"]
    for number in range(PIECES):
        first = number * piece + 1
        out.append("INSERT INTO t " + ROW.format(first=first, last=first + piece - 1))
        out.append("SAVEPOINT s")
        out.append("INSERT INTO t " + ROW.format(first=-first - piece // 2, last=-first))
        out.append("ROLLBACK TO SAVEPOINT s")
    return "; ".join([*out, "COMMIT"])


def directory_bytes(path):
    total = 0
    for file in path.rglob("*"):
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            pass
    return total


class Runs:
    """`walign run`, started again when it was killed, and what all of them took."""

    def __init__(self, walign, home, source, target):
        self.state = home / "state"
        config = home / "walign.yaml"
        config.write_text(f"migration: bench\nsource: {source.url()}\ntarget: {target.url()}\nstate: {self.state}\n"
                          "tables:\n  - public.t\nhttp: \"\"\n", encoding="utf-8")
        self.command = [str(walign), "-c", str(config), "--log-level", "warn", "run", "--no-backfill"]
        self.log = open(home / "walign.log", "wb")  # pylint: disable=consider-using-with
        self.peak_mib, self.spilled, self.kills = 0, 0, 0
        self.done = threading.Event()
        self.start()
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.kills += 1
        self.start()

    def watch(self):
        while not self.done.wait(0.05):
            self.spilled = max(self.spilled, directory_bytes(self.state / "spill"))
            try:
                status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
            except (FileNotFoundError, ProcessLookupError):
                continue
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    self.peak_mib = max(self.peak_mib, int(line.split()[1]) // 1024)

    def stop(self):
        self.done.set()
        self.watcher.join()
        self.process.terminate()
        self.process.wait()
        self.log.close()


def run(args, home, source, target):
    for server in (source, target):
        server.sql("CREATE TABLE t (id bigint PRIMARY KEY, a text NOT NULL, b text NOT NULL)")
    runs = Runs(args.walign, home, source, target)
    try:
        wait_for("streaming", lambda: source.sql("SELECT count(*) FROM pg_replication_slots WHERE active") == "1", 60)
        began = time.monotonic()
        writer = subprocess.Popen([*source.psql(), "-c", transaction(args.rows)], stdout=subprocess.DEVNULL)
        # What runs in one transaction comes while it runs, and is on disk past apply.spill_above.
        wait_for("spill", lambda: runs.spilled > 8 << 20 or writer.poll() is not None, 600)
        runs.kill()
        if writer.wait() != 0:
            sys.exit("bench: the transaction failed")
        written = time.monotonic() - began
        applying = ("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%apply' AND backend_xid IS NOT "
                    "NULL")
        wait_for("applying", lambda: target.sql(applying) != "0", 600)
        time.sleep(0.3)
        runs.kill()
        expected = source.sql(CHECKSUM)
        wait_for("the end", lambda: target.sql("SELECT count(*) > 0 FROM t") == "t", 3600)
        applied = time.monotonic() - began
        if target.sql(CHECKSUM) != expected:
            sys.exit("bench: the target differs from the source")
    finally:
        runs.stop()
    print(f"one transaction of {args.rows:,} rows and half as many that it took back: written in {written:.1f} s, "
          f"applied {applied:.1f} s after it began, with {runs.kills} kills of walign in between")
    print(f"target equal; at most {runs.spilled / (1 << 20):,.0f} MiB spilled, {runs.peak_mib} MiB resident")
    if runs.peak_mib >= MOST_MIB:
        sys.exit(f"bench: that is {MOST_MIB} MiB or more")
