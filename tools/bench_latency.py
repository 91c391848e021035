# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
"""tools/bench latency: how long after its commit on the source a transaction can be read on the target, while pgbench
commits 500 others a second."""
import statistics
import subprocess
import sys
import time

import bench_rounds
from bench_apply import Oltp
from bench_clients import Client
from bench_contenders import DATABASE, MARKER, PATIENCE, Subscription, Walign
from bench_servers import BIN

RATE = 500
EVERY = 0.02  # seconds between two that are watched


class Quiet(Oltp):
    """No backlog: what is watched comes while it is applied."""
    asynchronous = False  # else nothing is sent before the next round of the WAL writer

    def load(self, source):
        """Nothing."""

    def contenders(self, source, target, home, args):
        yield Subscription(source, target, home)
        yield Walign(source, target, home, args.walign, self.mapping())


def watch(source, target, first, seconds):
    """Milliseconds of each."""
    writer, reader = Client(source.port), Client(target.port, PATIENCE, DATABASE)
    out, end, number = [], time.monotonic() + seconds, first
    while time.monotonic() < end:
        number += 1
        writer.sql(f"INSERT INTO {MARKER} VALUES ({number})")
        committed = time.monotonic()
        while not reader.sql(f"SELECT 1 FROM {MARKER} WHERE id = {number}"):
            if time.monotonic() > committed + 30:
                sys.exit("bench: latency: a row did not come within 30 s")
        out.append((time.monotonic() - committed) * 1000)
        time.sleep(EVERY)
    writer.close()
    reader.close()
    return out, number


def one(contender, source, target, first, seconds):
    contender.prepare()
    contender.start()
    watching = Client(source.port)
    reader = Client(target.port, PATIENCE, DATABASE)
    first += 1
    watching.sql(f"INSERT INTO {MARKER} VALUES ({first})")
    while not reader.sql(f"SELECT 1 FROM {MARKER} WHERE id = {first}"):  # what came before is consumed
        contender.check()
        time.sleep(0.05)
    reader.close()
    load = subprocess.Popen(
        [str(BIN / "pgbench"), "-n", "-h", str(source.home), "-p", str(source.port), "-U", "postgres", "-c", "2", "-R",
         str(RATE), "-T", str(seconds + 4), "postgres"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(2)
    out = watch(source, target, first, seconds)
    if load.wait() != 0:
        sys.exit("bench: latency: pgbench failed")
    contender.stop()
    contender.let_go(watching)
    return out


def run(args, home, source, target):
    workload = Quiet(60_000)
    bench_rounds.build(workload, source, target)
    contenders = list(workload.contenders(source, target, home, args))
    figures, number = {c.name: [] for c in contenders}, 1
    print(f"{RATE} transactions a second, and one every {EVERY * 1000:.0f} ms that is watched")
    for round_number in range(args.rounds):
        for contender in contenders:
            times, number = one(contender, source, target, number, args.seconds)
            cuts = statistics.quantiles(times, n=100)
            figures[contender.name].append((cuts[49], cuts[98]))
            print(f"round {round_number + 1}  {contender.name:20} {len(times):6} watched: p50 {cuts[49]:6.2f} ms, "
                  f"p99 {cuts[98]:6.2f} ms", flush=True)
    peer = None
    for name, all_of_it in figures.items():
        p50, p99 = (statistics.median(part) for part in zip(*all_of_it))
        ratio = f", {p50 / peer[0]:.2f} and {p99 / peer[1]:.2f} times" if peer else ""
        peer = peer or (p50, p99)
        print(f"median   {name:20} p50 {p50:6.2f} ms, p99 {p99:6.2f} ms{ratio}")
