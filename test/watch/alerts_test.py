#!/usr/bin/env python3
"""alerts_test.py WALIGN BOOKS_OUT_OF_BALANCE: each alert of docker/monitoring fires in a real Prometheus, because what
it warns of has really come about: on real servers, with a real sidecar, whose /metrics is scraped. Here with seconds
instead of minutes; that the minutes of the rules are as they should be is told by promtool and walign.rules.test.yml.
The Grafana dashboard's queries are asked of the same Prometheus: each has an answer.
alerts_test.py --rules: only promtool's part, which needs neither servers nor walign.
"""
import json
import pathlib
import re
import subprocess
import sys
import urllib.parse

from bed import Bed, free_port, get, need, stop, wait_for

MONITORING = pathlib.Path(__file__).resolve().parents[2] / "docker" / "monitoring"
MORE = """apply: { on_conflict: dead_letter }
gates: { stable_for: 0s, oldest_transaction: 1h, max_lag_time: 1h, max_lag: 1GiB }
"""
# Of the rules, and what is asked here: minutes would be the whole time of the test.
SOONER = [(r"for: \d+m", "for: 0s"), (r"\[5m\]", "[8s]"), (r"\[15m\]", "[15s]"),
          (r"lag_seconds > \d+", "lag_seconds > 2"), (r"50 \* 1024 \* 1024 \* 1024", "40 * 1024 * 1024")]


def sooner(rules):
    for what, instead in SOONER:
        rules, count = re.subn(what, instead, rules)
        assert count > 0, f"no rule has {what} any more"
    return rules


class Prometheus:
    def __init__(self, bed):
        folder = bed.home / "prometheus"
        folder.mkdir()
        (folder / "rules.yml").write_text(sooner((MONITORING / "walign.rules.yml").read_text(encoding="utf-8")),
                                          encoding="utf-8")
        (folder / "prometheus.yml").write_text(
            "global: { scrape_interval: 1s, evaluation_interval: 1s }\nrule_files: [rules.yml]\nscrape_configs:\n"
            f"  - job_name: walign\n    static_configs: [{{ targets: ['127.0.0.1:{bed.port}'] }}]\n", encoding="utf-8")
        self.base = f"http://127.0.0.1:{free_port()}"
        bed.start([need("prometheus", "prometheus"), f"--config.file={folder}/prometheus.yml",
                   f"--storage.tsdb.path={folder}/data", f"--web.listen-address={self.base[7:]}"], "prometheus")
        wait_for("Prometheus is ready", lambda: "Ready" in (get(f"{self.base}/-/ready") or ""))

    def api(self, path):
        answer = json.loads(get(f"{self.base}/api/v1/{path}") or "{}")
        assert answer.get("status") == "success", answer
        return answer["data"]

    def firing(self):
        return {a["labels"]["alertname"] for a in self.api("alerts")["alerts"] if a["state"] == "firing"}

    def query(self, text):
        return self.api("query?query=" + urllib.parse.quote(text))["result"]

    def rules(self):
        return {rule["name"] for group in self.api("rules")["groups"] for rule in group["rules"]}


class Watch:
    def __init__(self, prometheus):
        self.prometheus, self.fired = prometheus, set()

    def fires(self, *names):
        wait_for(f"{', '.join(names)} fire", lambda: set(names) <= self.prometheus.firing(), 60)
        print("fired:", ", ".join(names), flush=True)
        self.fired |= set(names)

    def rests(self):
        """Nothing is wrong, and nothing is said to be."""
        wait_for("no alert fires", lambda: not self.prometheus.firing(), 60)
        print("nothing fires", flush=True)


def ask_promtool(rules):
    for args in (["check", "rules", str(rules)],
                 ["test", "rules", str(pathlib.Path(__file__).with_name("walign.rules.test.yml"))]):
        done = subprocess.run([need("promtool", "prometheus"), *args], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def letters_and_differences(bed, watch):
    bed.target.sql("INSERT INTO users VALUES (8000, 'taken')")
    bed.source.sql("INSERT INTO users VALUES (8001, 'taken')")
    bed.target.sql("UPDATE users SET name = 'not the same' WHERE id = 9")
    bed.until("a dead letter", lambda s: s["dead_letters"] == 1)
    bed.ask("verify", "--all", status=4)
    watch.fires("WalignDeadLetters", "WalignDifferences")
    bed.target.sql("DELETE FROM users WHERE id = 8000")
    bed.ask("dead-letters", "retry", str(json.loads(bed.ask("dead-letters", "list", "--json").stdout)[0]["id"]))
    bed.ask("verify", "--all", "--repair", status=None)
    bed.ask("verify", "--all")
    watch.rests()


def locked_target(bed, watch):
    with bed.target.holding("LOCK TABLE users"):
        bed.source.sql("UPDATE users SET name = 'while locked' WHERE id = 1")
        watch.fires("WalignLagHigh", "WalignApplyStalled")
        for _ in range(5):  # 16 MiB of WAL each
            bed.source.sql("SELECT pg_logical_emit_message(false, 'test', 'x'); SELECT pg_switch_wal()")
        watch.fires("WalignSlotSoonLost", "WalignSlotKeepsMuch")
        for _ in range(3):
            bed.source.sql("SELECT pg_logical_emit_message(false, 'test', 'x'); SELECT pg_switch_wal()")
        watch.fires("WalignSlotUnsafe")
    bed.until("it is caught up", lambda s: s["lag"]["seconds"] is not None and s["lag"]["seconds"] < 1)
    # The slot moves when a place that it can begin at has been decoded and applied.
    bed.source.sql("SELECT pg_log_standby_snapshot()" if int(bed.source.sql("SHOW server_version_num")) >= 160000
                   else "CREATE TABLE somewhere (id int); DROP TABLE somewhere")
    watch.rests()


def stopped_target(bed, watch):
    bed.target.stop()
    watch.fires("WalignNotStreaming")
    bed.target.start()
    watch.rests()


def over_and_around_the_fence(bed, watch):
    bed.ask("verify", "--all")
    bed.ask("cutover", "--yes")
    bed.until("a rollback is ready", lambda s: s["rollback"]["ready"])
    watch.rests()
    bed.past_the_fence("INSERT INTO users VALUES (4711, 'past the fence')")
    watch.fires("WalignFenceBreach", "WalignRollbackNotReady")


def dashboard_has_answers(prometheus):
    board = json.loads((MONITORING / "grafana-dashboard.json").read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) and len(ids) > 8
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "30s")
            assert prometheus.query(text), f"{panel['title']}: no answer to {text}"


def main(walign, books):
    rules = MONITORING / "walign.rules.yml"
    ask_promtool(rules)
    with Bed(walign, "  - public.users\n", MORE,
             "max_slot_wal_keep_size = 96MB") as bed:
        for server in (bed.source, bed.target):
            server.sql("CREATE TABLE users (id int PRIMARY KEY, name text)")
        bed.target.sql("CREATE UNIQUE INDEX ON users (name)")
        bed.source.sql("INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 1000) i")
        sidecar = bed.run()
        try:
            prometheus = Prometheus(bed)
            watch = Watch(prometheus)
            bed.until("it streams", lambda s: s["phase"] == "streaming" and s["connected"])
            watch.rests()
            letters_and_differences(bed, watch)
            locked_target(bed, watch)
            stopped_target(bed, watch)
            over_and_around_the_fence(bed, watch)
            dashboard_has_answers(prometheus)
            stop(sidecar)
            watch.fires("WalignDown")
            subprocess.run([books, f"{bed.home}/state", "watched"], check=True)
            again = bed.run()
            watch.fires("WalignBooksOutOfBalance")
            if again.poll() is None:
                stop(again)
            assert watch.fired == prometheus.rules(), prometheus.rules() - watch.fired
        except BaseException:
            print(bed.log("sidecar")[-4000:])
            raise


if sys.argv[1] == "--rules":
    ask_promtool(MONITORING / "walign.rules.yml")
else:
    main(*sys.argv[1:3])
