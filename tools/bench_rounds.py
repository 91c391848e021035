# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
"""tools/bench insert, oltp, wide, mapped, far, bigtx: makes the backlog, lets the contenders consume it, round by
round, and prints what that took."""
import dataclasses
import statistics
import subprocess
import sys
import time

import bench_apply
from bench_contenders import DATABASE, KEPT, MARKER, PUBLICATION, TEMPLATE, Figures

WORKLOADS = {  # with the number of changes to rows
    "insert": (bench_apply.Insert, 2_000_000),
    "oltp": (bench_apply.Oltp, 1_200_000),
    "wide": (bench_apply.Wide, 1_000_000),
    "mapped": (bench_apply.Mapped, 1_000_000),
    "far": (bench_apply.Far, 1_200_000),
    "bigtx": (bench_apply.BigTx, 4_000_000),
}


def checksum(server, relation, database):
    return server.sql(f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {relation} AS t", database)


def copy_table(source, target, table):
    out = subprocess.Popen([*source.psql(), "-c", f"COPY {table} TO STDOUT (FORMAT binary)"], stdout=subprocess.PIPE)
    subprocess.run([*target.psql(TEMPLATE), "-c", f"COPY {table} FROM STDIN (FORMAT binary)"], stdin=out.stdout,
                   check=True)
    out.wait()


def build(workload, source, target):
    """Both sides equal, then the slot, then the backlog, whose last row is the marker's."""
    target.sql(f"CREATE DATABASE {TEMPLATE}")
    if workload.asynchronous:
        source.sql("ALTER SYSTEM SET synchronous_commit = off")
        source.sql("SELECT pg_reload_conf()")
    for server, database in ((source, "postgres"), (target, TEMPLATE)):
        workload.schema(server, database)
        server.sql(f"CREATE TABLE {MARKER} (id int PRIMARY KEY)", database)
    workload.before(source)
    for table in workload.tables:
        copy_table(source, target, table)
    workload.after_copy(target)
    target.sql("VACUUM ANALYZE", TEMPLATE)
    source.sql("VACUUM ANALYZE")
    tables = ", ".join((*workload.tables, MARKER))
    source.sql(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {tables}")
    source.sql(f"SELECT pg_create_logical_replication_slot('{KEPT}', 'pgoutput')")
    began, size = time.monotonic(), source.sql("SELECT pg_current_wal_insert_lsn()")
    workload.load(source)
    source.sql(f"INSERT INTO {MARKER} VALUES (1)")
    size = source.sql(f"SELECT pg_size_pretty(pg_current_wal_insert_lsn() - '{size}')")
    # A slot begins to decode at the last list of running transactions before it, and some of the WAL's writing may
    # still be due: neither is to be part of what is measured.
    source.sql("CHECKPOINT")
    print(f"{workload.rows:,} changes, {size} of WAL, made in {time.monotonic() - began:.1f} s", flush=True)


def check(contender, workload, source, target, expected):
    for there, here in contender.checks or [(table, table) for table in workload.tables]:
        if there not in expected:
            expected[there] = checksum(source, there, "postgres")
        if checksum(target, here, DATABASE) != expected[there]:
            sys.exit(f"bench: {contender.name}: {here} on the target differs from the source")


def line(name, figures, rows, reference):
    million = rows / 1e6
    rate = rows / figures.seconds
    ratio = f"{reference / figures.seconds:8.2f}" if reference else f"{'':8}"
    print(f"{name:38} {rate:11,.0f} {ratio} {figures.source / million:9.2f} {figures.consumer / million:9.2f} "
          f"{figures.target / million:9.2f} {figures.mib:7}", flush=True)


def header(what):
    print(f"\n{what:38} {'changes/s':>11} {'ratio':>8} {'source':>9} {'consumer':>9} {'target':>9} {'MiB':>7}")
    print(f"{'':38} {'':11} {'':8} {'CPU seconds for a million changes':^29}")


def median(all_figures):
    return Figures(*(statistics.median(getattr(f, field.name) for f in all_figures)
                     for field in dataclasses.fields(Figures)))


def summary(contenders, measured, rows):
    """Ratios are against the better of the built-in ones; where there is none, against the first that applies."""
    medians = {c.name: median(measured[c.name]) for c in contenders}
    peers = [medians[c.name].seconds for c in contenders if c.inside]
    reference = min(peers) if peers else next(medians[c.name].seconds for c in contenders if c.applies)
    header("median")
    for name, figures in medians.items():
        line(name, figures, rows, reference)


def run(args, home, source, target):
    make, rows = WORKLOADS[args.workload]
    workload = make(args.rows or rows)
    build(workload, source, target)
    contenders = [c for c in workload.contenders(source, target, home, args) if not args.only or args.only in c.name]
    measured, expected = {c.name: [] for c in contenders}, {}
    for number in range(args.rounds):
        header(f"round {number + 1}")
        for contender in contenders:
            figures = contender.run()
            if contender.applies:
                check(contender, workload, source, target, expected)
            measured[contender.name].append(figures)
            line(contender.name, figures, workload.rows, None)
    summary(contenders, measured, workload.rows)
    print("\nratio: of speed, to the better of the built-in ones, or else to the first that applies; the targets were "
          "equal to the source each time; MiB: resident at most (built-in: without what is shared)")
