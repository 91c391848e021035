# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
"""The backlogs of tools/bench insert, oltp, wide, mapped, far and bigtx. Each is made once, and consumed by every
contender in turn, round by round (bench_rounds.py)."""
import subprocess

from bench_contenders import TEMPLATE, Receiver, Subscription, Walign
from bench_line import Line
from bench_servers import BIN

FAR_SECONDS = 0.005  # each way


class Workload:
    """Tables with what is in them before the backlog, and the backlog."""
    tables = ()
    streaming = False
    asynchronous = True  # commits of the source, so that the backlog is soon made

    def __init__(self, rows):
        self.rows = rows  # changes of rows

    def schema(self, server, database):
        """Empty tables on either side."""

    def before(self, source):
        """What both sides have when the backlog begins."""

    def after_copy(self, target):
        """More of that, where the target is not as the source."""

    def load(self, source):
        raise NotImplementedError

    def mapping(self):
        return "".join(f"  - public.{table}\n" for table in self.tables)

    def contenders(self, source, target, home, args):
        yield Receiver(source, target, home, self.streaming)
        for options in ("", "binary = on"):
            yield Subscription(source, target, home, options)
        yield Walign(source, target, home, args.walign, self.mapping())


def in_transactions(source, statement, count):
    """So many transactions of one statement, which has the transaction's number as i."""
    source.sql(f"DO $$ BEGIN PERFORM setseed(0.5); FOR i IN 0 .. {count - 1} LOOP {statement}; COMMIT; END LOOP; "
               "END $$")


class Insert(Workload):
    tables = ("t",)

    def schema(self, server, database):
        server.sql("CREATE TABLE t (id bigint PRIMARY KEY, a int NOT NULL, b text NOT NULL, c timestamptz NOT NULL)",
                   database)

    def load(self, source):
        in_transactions(source, "INSERT INTO t SELECT g, g % 1000, md5(g::text), clock_timestamp() "
                        "FROM generate_series(i * 100 + 1, i * 100 + 100) g", self.rows // 100)


class Oltp(Workload):
    """pgbench, four changes to a transaction."""
    tables = ("pgbench_accounts", "pgbench_tellers", "pgbench_branches", "pgbench_history")

    def pgbench(self, server, database, *args):
        subprocess.run([str(BIN / "pgbench"), "-h", str(server.home), "-p", str(server.port), "-U", "postgres",
                        *args, database], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def schema(self, server, database):
        self.pgbench(server, database, "-i", "-I", "dtp", "-s", "1")
        server.sql("ALTER TABLE pgbench_history ADD COLUMN id bigserial PRIMARY KEY", database)

    def before(self, source):
        self.pgbench(source, "postgres", "-i", "-I", "G", "-s", str(max(1, self.rows // 60_000)))

    def load(self, source):
        self.pgbench(source, "postgres", "-n", "-c", "4", "-t", str(self.rows // 16))


COLUMNS = ("id bigint PRIMARY KEY, a int NOT NULL, b int, c bigint, d numeric(12,2), e double precision, f boolean, "
           "g date, h timestamptz, i uuid, j text, k text, l text, m varchar(40), n varchar(40), o bytea, p smallint, "
           "q real, r timestamp, s text")


class Wide(Workload):
    tables = ("w",)

    def schema(self, server, database):
        server.sql(f"CREATE TABLE w ({COLUMNS}) WITH (fillfactor = 80)", database)

    def kept(self):
        return max(self.rows // 2, 1000)

    def before(self, source):
        source.sql(
            "INSERT INTO w SELECT x, x % 1000, x % 77, x * 7919, x / 100.0, x / 3.0, x % 2 = 0, "
            "date '2020-01-01' + (x % 2000)::int, timestamptz '2024-01-01' + x * interval '1 second', "
            "md5(x::text)::uuid, repeat(md5(x::text), 3), repeat(md5((x + 1)::text), 3), md5((x + 2)::text), "
            "left(md5((x + 3)::text), 20), CASE WHEN x % 3 > 0 THEN left(md5((x + 4)::text), 30) END, "
            f"decode(md5((x + 5)::text), 'hex'), x % 30000, x / 7.0, timestamp '2024-01-01' + x * interval '1 minute', "
            f"(ARRAY['new', 'paid', 'sent'])[x % 3 + 1] FROM generate_series(1, {self.kept()}) x")

    def load(self, source):
        in_transactions(
            source, "UPDATE w SET a = a + 1, e = e + 0.5, h = clock_timestamp(), l = md5(l), "
            "s = (ARRAY['new', 'paid', 'sent'])[a % 3 + 1] WHERE id = ANY (ARRAY(SELECT 1 + (random() * "
            f"{self.kept() - 1})::bigint FROM generate_series(1, 20)))", self.rows // 20)


class Mapped(Wide):
    """Through renames, a value map and two expressions, against itself without them."""
    RENAMED = ("i", "j", "k", "n")
    VALUES = {"new": "fresh", "paid": "settled"}
    EXPRESSIONS = {"d": "src.d * 100", "m": "upper(src.m)"}

    def schema(self, server, database):
        super().schema(server, database)
        if database != TEMPLATE:
            return
        columns = COLUMNS.replace("d numeric(12,2)", "d numeric(14,2)")
        for name in self.RENAMED:
            columns = columns.replace(f", {name} ", f", new_{name} ")
        server.sql(f"CREATE TABLE w2 ({columns}) WITH (fillfactor = 80)", database)

    def expected(self):
        """What w2 has, over the source's w."""
        columns = []
        for column in COLUMNS.replace("(12,2)", "").split(", "):
            name = column.split()[0]
            columns.append(f"{self.EXPRESSIONS.get(name, 'src.' + name)} AS {name}")
        whens = " ".join(f"WHEN '{key}' THEN '{value}'" for key, value in self.VALUES.items())
        columns[-1] = f"CASE src.s {whens} ELSE 'other' END AS s"
        return f"(SELECT {', '.join(columns)} FROM w AS src)"

    def after_copy(self, target):
        target.sql(f"INSERT INTO w2 SELECT * FROM {self.expected()} AS t", TEMPLATE)

    def rule(self):
        renames = "".join(f"new_{name}: {name}, " for name in self.RENAMED)
        expressions = "".join(f'{name}: {{ sql: "{sql}" }}, ' for name, sql in self.EXPRESSIONS.items())
        values = ", ".join(f"{key}: {value}" for key, value in self.VALUES.items())
        return (f"  - {{ from: public.w, to: public.w2, columns: {{ {renames}{expressions}"
                f"s: {{ values: {{ {values} }}, else: other }} }} }}\n")

    def contenders(self, source, target, home, args):
        yield Receiver(source, target, home)
        plain = Walign(source, target, home, args.walign, self.mapping())
        plain.name = "walign, unmapped"
        yield plain
        mapped = Walign(source, target, home, args.walign, self.rule())
        mapped.name = "walign, mapped"
        mapped.checks = [(self.expected(), "w2")]
        yield mapped


class Far(Oltp):
    """The same with the target far from the source: the built-in worker's line is that to the source, walign's that to
    the target."""

    def contenders(self, source, target, home, args):
        for options in ("", "binary = on"):
            subscription = Subscription(source, target, home, options)
            subscription.publisher = subscription.publisher.replace(
                f"port={source.port}", f"port={Line(source.port, FAR_SECONDS).port}")
            yield subscription
        walign = Walign(source, target, home, args.walign, self.mapping())
        walign.target_url = walign.target_url.replace(f":{target.port}/", f":{Line(target.port, FAR_SECONDS).port}/")
        yield walign


class BigTx(Workload):
    """One transaction of inserts, and one of a third as many updates."""
    tables = ("t",)
    streaming = True

    def schema(self, server, database):
        server.sql("CREATE TABLE t (id bigint PRIMARY KEY, a int NOT NULL, b text NOT NULL, c timestamptz NOT NULL)",
                   database)

    def load(self, source):
        inserts = self.rows * 3 // 4
        source.sql("INSERT INTO t SELECT g, g % 1000, md5(g::text), clock_timestamp() "
                   f"FROM generate_series(1, {inserts}) g")
        source.sql(f"UPDATE t SET a = a + 1, b = md5(b) WHERE id <= {self.rows - inserts}")

    def contenders(self, source, target, home, args):
        yield Receiver(source, target, home, True)
        streaming = "streaming = parallel" if int(BIN.parent.name) >= 16 else "streaming = on"
        for options in ("binary = on", f"binary = on, {streaming}"):
            yield Subscription(source, target, home, options)
        yield Walign(source, target, home, args.walign, self.mapping())
