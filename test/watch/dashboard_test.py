#!/usr/bin/env python3
"""dashboard_test.py WALIGN FOLDER: the dashboard in a real browser, at ten moments of a real migration.

FOLDER keeps what npm brings (playwright-core), and the pictures. Chromium is Debian's.
"""
import contextlib
import fcntl
import json
import os
import pathlib
import re
import select
import struct
import subprocess
import sys
import termios
import time

from bed import Bed, need, skip, stop, wait_for

RULES = """  - public.users
  - from: '"<b>odd</b>"."a & ''b''"'
    to: public.odd
    where: n >= 0
"""
MORE = """backfill: { workers: 1, chunk_rows: 100, max_rows_per_second: 250 }
apply: { on_conflict: dead_letter }
gates: { stable_for: 0s, oldest_transaction: 1s }
cutover: { max_pause: 60s, lease: 90s, before_open: "while test -e %s; do sleep 0.1; done" }
"""


def playwright(folder):
    """The module's entry; npm brings it once."""
    need("npm", "npm")
    entry = folder / "node_modules" / "playwright-core" / "index.js"
    if not entry.exists():
        try:
            subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000",
                            "--prefix", str(folder), "playwright-core@1"], check=True, capture_output=True, text=True,
                           timeout=150)
        except subprocess.CalledProcessError as failed:
            skip(f"npm could not install playwright-core: {failed.stderr.strip()[-300:]}")
        except subprocess.TimeoutExpired:
            skip("npm does not come to an end with installing playwright-core")
    return entry


class Browser:
    def __init__(self, bed, folder, entry):
        shots = folder / "shots"
        shots.mkdir(exist_ok=True)
        driver = pathlib.Path(__file__).with_name("dashboard.mjs")
        self.process = subprocess.Popen(["node", str(driver), bed.base, str(shots), str(entry)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        bed.processes.append(self.process)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the browser has ended")
        return json.loads(line)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def check(self, moment):
        said = self.ask(f"check {moment}")
        print(f"{moment}: {said}", flush=True)
        assert not said.get("error"), said
        assert not said["found"], "\n".join(said["found"])
        assert said["fields"] > 25, said


def make_tables(bed):
    bed.source.sql('CREATE SCHEMA "<b>odd</b>"; CREATE TABLE "<b>odd</b>"."a & \'b\'" (id int PRIMARY KEY, n int); '
                   'INSERT INTO "<b>odd</b>"."a & \'b\'" SELECT i, i - 10 FROM generate_series(1, 50) i; '
                   "CREATE TABLE users (id int PRIMARY KEY, name text); "
                   "INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 6000) i; ANALYZE")
    bed.target.sql("CREATE TABLE odd (id int PRIMARY KEY, n int); "
                   "CREATE TABLE users (id int PRIMARY KEY, name text UNIQUE)")


def until_it_streams(bed, browser):
    bed.target.start()
    bed.until("a chunk is copied", lambda s: s["phase"] == "backfilling" and any(t["rows_copied"] for t in s["tables"]))
    browser.check("backfilling")
    bed.until("all is copied", lambda s: s["phase"] == "streaming", 180)
    bed.source.sql("UPDATE users SET name = 'changed' WHERE id = 7; DELETE FROM users WHERE id = 8")
    bed.until("the changes are applied", lambda s: sum(t["books"]["applied"] for t in s["tables"]) >= 2)
    browser.check("streaming")
    bed.ask("pause", "apply")
    bed.source.sql("INSERT INTO users VALUES (7001, 'while paused')")
    browser.check("paused")
    bed.ask("resume", "apply")


def what_is_wrong(bed, browser):
    bed.target.sql("SET session_replication_role = replica; INSERT INTO users VALUES (8000, 'taken')")
    bed.source.sql("INSERT INTO users VALUES (8001, 'taken')")
    bed.until("a dead letter", lambda s: s["dead_letters"] == 1)
    browser.check("dead-letter")
    letter = json.loads(bed.ask("dead-letters", "list", "--json").stdout)[0]["id"]
    bed.target.sql("DELETE FROM users WHERE id = 8000")
    bed.ask("dead-letters", "retry", str(letter))
    bed.until("no dead letter", lambda s: s["dead_letters"] == 0)
    bed.target.sql("UPDATE users SET name = 'not the same' WHERE id = 9")
    bed.ask("verify", "--all", status=4)
    bed.until("a difference", lambda s: any(t["differences"] == 1 for t in s["tables"]))
    browser.check("difference")
    bed.ask("verify", "--all", "--repair", status=None)
    bed.ask("verify", "--all")
    with bed.source.holding("SELECT pg_current_xact_id()"):
        time.sleep(1.5)
        bed.ask("cutover", "--dry-run", status=3)
        bed.until("a gate is shut", lambda s: any(not g["ok"] for g in s["gates"]))
        browser.check("gates-red")


def in_a_terminal(bed):
    """status --watch in 60 columns and 20 rows: drawn over in place, ended by Ctrl-C."""
    main_end, its_end = os.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 60, 0, 0))
    watch = subprocess.Popen([bed.walign, "-c", str(bed.yaml), "status", "--watch"], stdin=its_end, stdout=its_end,
                             stderr=its_end, start_new_session=True,
                             preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    bed.processes.append(watch)
    os.close(its_end)
    shown = b""

    def looks():
        nonlocal shown
        if select.select([main_end], [], [], 0.2)[0]:
            shown += os.read(main_end, 65536)
        return shown.count(b"\x1b[H") >= 3
    wait_for("three looks", looks)
    os.write(main_end, b"\x03")
    code = watch.wait(30)
    with contextlib.suppress(OSError):  # nobody is left at the other end
        while True:
            shown += os.read(main_end, 65536)
    os.close(main_end)
    text = shown.decode(errors="replace")
    assert code == 130, (code, text)
    assert text.startswith("\x1b[?25l\x1b[2J") and text.count("\x1b[2J") == 1, repr(text[:200])
    assert text.rstrip("\r\n^C").endswith("\x1b[?25h"), repr(text[-200:])
    last = re.sub(r"\x1b\[[0-9?]*[A-Za-z]", "", text.split("\x1b[H")[2])
    print(last)
    lines = last.rstrip("\r\n").split("\r\n")
    assert len(lines) <= 19 and all(len(line) <= 60 for line in lines), lines
    for part in ("migration     watched", "next          ", "type          walign", "lag           ", "WAL is lost   "):
        assert part in last, (part, last)


def there_and_back(bed, browser, flag):
    flag.touch()
    cutover = bed.begin("cutover", "--yes")
    bed.until("the hook runs", lambda s: s["cutover"]["running"] and s["phase"] == "cutting_over"
              and any(x["step"] == "prove" for x in s["cutover"]["steps"]))
    browser.check("cutting-over")
    flag.unlink()
    wait_for("the cutover has ended", lambda: cutover.poll() is not None)
    assert cutover.returncode == 0, bed.log("command")
    bed.until("a rollback is ready", lambda s: s["phase"] == "cut_over" and s["rollback"]["ready"])
    bed.target.sql("INSERT INTO users VALUES (9000, 'on the target')")
    bed.until("the way back applies", lambda s: any(t["books"]["applied"] for t in s["tables"]))
    browser.check("cut-over")
    bed.ask("rollback", "--yes")
    bed.until("it streams again",
              lambda s: s["phase"] == "streaming" and s["connected"] and s["direction"] == "forward")
    browser.check("rolled-back")
    assert bed.source.sql("SELECT count(*) FROM users WHERE id = 9000") == "1"


def main(walign, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    need("chromium", "chromium")
    entry = playwright(folder)
    with Bed(walign, RULES, "", "max_slot_wal_keep_size = 1GB") as bed:
        flag = bed.home / "hold"
        bed.yaml.write_text(bed.yaml.read_text(encoding="utf-8") + MORE % flag, encoding="utf-8")
        make_tables(bed)
        bed.target.stop()
        sidecar = bed.run()
        browser = Browser(bed, folder, entry)
        try:
            bed.until("it tries the target", lambda s: s["last_error"])
            browser.check("new")
            until_it_streams(bed, browser)
            what_is_wrong(bed, browser)
            in_a_terminal(bed)
            there_and_back(bed, browser, flag)
            code = stop(sidecar, 60)  # while pages are open
            said = browser.ask("lost")
            print(said)
            assert code == 130, bed.log("sidecar")[-2000:]
            assert "Connection to the sidecar lost, for" in said["first"] and said["first"] != said["second"], said
            assert "connection lost" in said["link"], said
            end = browser.ask("end")
            print(end)
            assert end["hosts"] == [f"127.0.0.1:{bed.port}"], end
            assert 10_000 < end["bytes"] < 200_000, end
            assert not end["complaints"], end
        except BaseException:
            print(bed.log("sidecar")[-4000:])
            raise


main(*sys.argv[1:3])
