# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
"""tools/bench backfill: copies a table, beside psql | psql; with --load, while transactions write to it."""
import json
import re
import resource
import statistics
import subprocess
import sys
import time
import urllib.request

from bench_servers import BIN, cpu_seconds, wait_for

TABLE = ("CREATE TABLE t (id bigint PRIMARY KEY, a int NOT NULL, b int, c timestamptz NOT NULL, d text, e text, "
         "f numeric(12,2))")
FILL = ("INSERT INTO t SELECT g, g % 1000, g % 77, now() - g * interval '1 second', md5(g::text), "
        "repeat(md5((g + 1)::text), 3), g / 100.0 FROM generate_series(1, {rows}) g")
CHECKSUM = "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM t"


def by_psql(source, target):
    """As walign, over TCP."""
    def psql(server, text):
        return [*server.psql()[:4], "-d", server.url(), "-c", text]
    out = subprocess.Popen(psql(source, "COPY t TO STDOUT (FORMAT binary)"), stdout=subprocess.PIPE)
    subprocess.run(psql(target, "COPY t FROM STDIN (FORMAT binary)"), stdin=out.stdout, check=True)
    out.wait()


class Migration:
    """Of t, from one server to the other."""

    def __init__(self, args, home, source, target, workers, http=""):
        config = home / "walign.yaml"
        config.write_text(f"migration: bench\nsource: {source.url()}\ntarget: {target.url()}\nstate: {home}/state\n"
                          f"tables:\n  - public.t\nbackfill: {{ workers: {workers} }}\nhttp: \"{http}\"\n",
                          encoding="utf-8")
        self.command = [str(args.walign), "-c", str(config), "--log-level", "warn"]

    def run(self):
        subprocess.run([*self.command, "run", "--until-caught-up"], check=True)

    def remove(self):
        subprocess.run([*self.command, "remove", "--name", "bench"], check=True, stdout=subprocess.DEVNULL)


class Copied:
    """What a copy took: CPU seconds for a million rows of either server, and of the program between them."""

    def __init__(self, way, copy, rows, servers, expected):
        source, target = servers
        target.sql("TRUNCATE t")
        target.sql("CHECKPOINT")

        def so_far():
            own = resource.getrusage(resource.RUSAGE_CHILDREN)
            return [cpu_seconds(source.postmaster()), own.ru_utime + own.ru_stime, cpu_seconds(target.postmaster())]

        before, began = so_far(), time.monotonic()
        copy()
        self.rate = rows / (time.monotonic() - began)
        self.cpu = [(now - then) / (rows / 1e6) for now, then in zip(so_far(), before)]
        if target.sql(CHECKSUM) != expected:
            sys.exit(f"bench: {way}: the target differs from the source")

    def line(self):
        return f"{self.rate:12,.0f} " + " ".join(f"{cpu:9.2f}" for cpu in (*self.cpu, sum(self.cpu)))


def header(what):
    print(f"\n{what:18} {'rows/s':>12} {'source':>9} {'program':>9} {'target':>9} {'all':>9}\n"
          f"{'':31} {'CPU seconds for a million rows':^39}", flush=True)


def fill(args, source, target):
    for server in (source, target):
        server.sql(TABLE)
    source.sql(FILL.format(rows=args.rows))
    source.sql("VACUUM ANALYZE t")


def beside_psql(args, home, source, target):
    fill(args, source, target)
    ways = {"psql | psql": 0, "walign, 1 worker": 1, "walign, 2 workers": 2}  # with how many workers
    seen = {way: [] for way in ways}
    expected = source.sql(CHECKSUM)
    for number in range(args.rounds + 1):  # the first, with cold caches, does not count
        header(f"round {number}" + ("" if number else ", not counted"))
        order = list(ways)
        for way in order[number % len(order):] + order[:number % len(order)]:
            migration = Migration(args, home, source, target, ways[way])
            copy = migration.run if ways[way] else lambda: by_psql(source, target)
            copied = Copied(way, copy, args.rows, (source, target), expected)
            if ways[way]:
                migration.remove()
            print(f"{way:18} {copied.line()}", flush=True)
            if number > 0:
                seen[way].append(copied)
    base = seen["psql | psql"]
    header("median")
    for way, all_copied in seen.items():
        medians = [statistics.median(c.cpu[part] for c in all_copied) for part in range(3)]
        rate = statistics.median(c.rate for c in all_copied)
        rates = statistics.median(c.rate / other.rate for c, other in zip(all_copied, base))
        cpus = statistics.median(sum(c.cpu) / sum(other.cpu) for c, other in zip(all_copied, base))
        print(f"{way:18} {rate:12,.0f} " + " ".join(f"{cpu:9.2f}" for cpu in (*medians, sum(medians)))
              + f"   ratio of rates {rates:.2f}, of CPU {cpus:.2f}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(f"\nratios to psql within each round; CPU of either server's processes and of the program (of psql: both); "
          f"most resident memory of walign or psql: {peak} MiB; targets were equal in every round")


WRITES = {  # by their weight
    90: "\\set id random(1, {rows})\nUPDATE t SET b = b + 1 WHERE id = :id;\n",
    5: "\\set id random(1, {rows})\nDELETE FROM t WHERE id = :id;\n",
    6: "\\set id random(1, {rows} + {rows} / 10)\nINSERT INTO t VALUES (:id, 0, 0, now(), 'new', '', 0) "
       "ON CONFLICT DO NOTHING;\n",
}


class Load:
    """Transactions on the table, so many a second, until stop()."""

    def __init__(self, home, source, rows, rate):
        command = [str(BIN / "pgbench"), "-n", "-M", "prepared", "-c", "8", "-j", "1", "-T", "86400", "-P", "1", "-R",
                   str(rate), "-h", str(home), "-p", str(source.port), "-U", "postgres", "postgres"]
        for weight, text in WRITES.items():
            script = home / f"write{weight}.sql"
            script.write_text(text.format(rows=rows), encoding="utf-8")
            command += ["-f", f"{script}@{weight}"]
        self.log = home / "pgbench.log"
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)

    def seconds(self):
        """Transactions a second, one figure for each second so far."""
        if self.process.poll() is not None:
            sys.exit(f"bench: the load has ended: {self.log.read_text(encoding='utf-8')}")
        return [float(tps) for tps in re.findall(r"([0-9.]+) tps", self.log.read_text(encoding="utf-8"))]

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Sidecar:
    """`walign run`, asked over HTTP how far it is."""

    def __init__(self, migration, port):
        self.url = f"http://127.0.0.1:{port}/v1/status"
        self.began = time.monotonic()
        self.process = subprocess.Popen([*migration.command, "run"])

    def status(self):
        if self.process.poll() is not None:
            sys.exit(f"bench: walign ended with status {self.process.returncode}")
        try:
            with urllib.request.urlopen(self.url, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            return {}

    def is_copied(self):
        status = self.status()
        return status.get("connected") and status["phase"] == "streaming"

    def wait_until_copied(self):
        wait_for("the end of the copy", self.is_copied, 86400, 0.1)
        return time.monotonic() - self.began

    def catch_up(self, source):
        end = lsn(source.sql("SELECT pg_logical_emit_message(true, 'bench', ''); SELECT pg_current_wal_insert_lsn()")
                  .split()[-1])
        began = time.monotonic()
        wait_for("the end of the stream", lambda: lsn(self.status().get("applied_lsn") or "0/0") >= end, 86400, 0.1)
        return time.monotonic() - began

    def stop(self):
        self.process.terminate()
        self.process.wait()


def lsn(text):
    """Behind a page's header nothing has been written yet: that is the page's start."""
    high, low = text.split("/")
    position = (int(high, 16) << 32) + int(low, 16)
    return position - position % 8192 if position % 8192 in (24, 40) else position


def copy_once(args, home, source, target, load):
    """Seconds until the table is copied, and until the stream is at the source's end; what the load did meanwhile."""
    target.sql("TRUNCATE t")
    port = source.port + 1000
    migration = Migration(args, home, source, target, 2, f"127.0.0.1:{port}")
    before = len(load.seconds()) if load else 0
    sidecar = Sidecar(migration, port)
    try:
        copied = sidecar.wait_until_copied()
        rates = load.seconds()[before:] if load else []
        if load:
            load.stop()
        behind = sidecar.catch_up(source)
    finally:
        sidecar.stop()
    if source.sql(CHECKSUM) != target.sql(CHECKSUM):
        sys.exit("bench: the target differs from the source")
    migration.remove()
    return copied, behind, rates


def under_load(args, home, source, target):
    source.sql("ALTER SYSTEM SET synchronous_commit = off")
    source.sql("SELECT pg_reload_conf()")
    fill(args, source, target)
    for number in range(args.rounds):
        alone, _, _ = copy_once(args, home, source, target, None)
        load = Load(home, source, args.rows, args.load)
        try:
            wait_for("the load's first seconds", lambda: len(load.seconds()) >= 5, 60)
            undisturbed = statistics.mean(load.seconds()[1:])
            copied, behind, rates = copy_once(args, home, source, target, load)
        finally:
            load.stop()
        print(f"round {number + 1}: {undisturbed:,.0f} transactions a second before the copy, "
              f"{statistics.mean(rates):,.0f} during it (of {args.load:,} asked for; least in a second "
              f"{min(rates):,.0f}); copied in {copied:.1f} s, without load in {alone:.1f} s; then {behind:.1f} s "
              "behind; both sides are equal", flush=True)


def run(args, home, source, target):
    if args.load:
        under_load(args, home, source, target)
    else:
        beside_psql(args, home, source, target)
