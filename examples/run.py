#!/usr/bin/env python3
# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
"""run.py NAME [--by-hand | --undisturbed]: an example, from nothing to its finished migration.

Starts throw-away PostgreSQL servers, then runs what README.md of examples/NAME tells its reader to type: every fenced
block that begins with ```sh, in order, in a directory of its own with a copy of the example's files. While it lasts,
and this is what the test is about, walign is killed (-9) half-way through the copy and after the first cutover, and
each server crashes and starts again, both times.

--by-hand      only starts the servers, and says how to go on in another terminal; Ctrl-C takes all away again.
--undisturbed  nobody is killed.
WALIGN names the program; else the newest of build/*/walign.

What stands behind ```sh is for this program: `copying` (the disturbances of the copy follow), `cut-over` (the others
follow), `again-on-3` (run again while it exits with 3: the text says why), `exit=N`.
"""
import argparse
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from sides import code_of

from bench_servers import BIN, Server, stat_fields

HERE = pathlib.Path(__file__).resolve().parent
FENCED = re.compile(r"^```sh(?P<words>[^\n]*)\n(?P<script>.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE = 180  # seconds, for one block
SETTINGS = "fsync = off\nshared_buffers = 64MB\n"


class Failure(Exception):
    """The example did not go as its page says."""


class Block:
    def __init__(self, words, script):
        self.words, self.script = words.split(), script
        exits = [int(word[5:]) for word in self.words if word.startswith("exit=")]
        self.exit = exits[0] if exits else 0


def blocks_of(page):
    return [Block(found["words"], found["script"]) for found in FENCED.finditer(page.read_text(encoding="utf-8"))]


def free_port():
    """Below those that the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def program():
    if "WALIGN" in os.environ:
        return pathlib.Path(os.environ["WALIGN"]).resolve()
    built = sorted((HERE.parent / "build").glob("*/walign"), key=lambda path: path.stat().st_mtime)
    if not built:
        raise SystemExit("run.py: build walign first (cmake --preset release && cmake --build --preset release), or "
                         "name the program in WALIGN")
    return built[-1]


def newest_servers():
    """Where the target's programs are; the source has what tools/bench has."""
    return pathlib.Path(os.environ.get("WALIGN_TARGET_PG_BIN", BIN))


class Run:
    def __init__(self, name, home):
        self.home = home
        self.work = home / name
        shutil.copytree(HERE / name, self.work, ignore=shutil.ignore_patterns("__pycache__"))
        for tool in ("load", "check"):
            (self.work / tool).symlink_to(HERE / f"{tool}.py")
        self.sides = code_of(self.work).SIDES
        self.servers = {}
        self.environment = dict(os.environ)

    def start_servers(self):
        home = self.home / "servers"
        home.mkdir()
        home.chmod(0o777)
        for side, (server, _) in self.sides.items():
            if server not in self.servers:
                binaries = newest_servers() if side == "target" else BIN
                self.servers[server] = Server(home, server, free_port(), SETTINGS, binaries)
        for server, database in sorted(set(self.sides.values())):
            self.servers[server].sql(f"CREATE DATABASE {database} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        self.environment |= {side.upper(): self.servers[server].url(database)
                             for side, (server, database) in self.sides.items()}
        self.environment |= {"HTTP": f"127.0.0.1:{free_port()}",
                             "PATH": f"{program().parent}:{newest_servers()}:{os.environ['PATH']}"}

    def how_to_go_on(self):
        names = ("SOURCE", "TARGET", "HTTP", "PATH")
        return "\n".join([f"cd {self.work}", *(f"export {name}='{self.environment[name]}'" for name in names)])

    # ------------------------------------------------------------------------------------------- the page

    def run_block(self, block):
        print(block.script.rstrip(), flush=True)
        end = time.monotonic() + PATIENCE
        while True:
            exits = self.run_once(block.script)
            if exits == block.exit:
                return
            if exits != 3 or "again-on-3" not in block.words or time.monotonic() > end:
                raise Failure(f"this ended with {exits}, not {block.exit}:\n{block.script}")
            time.sleep(1)

    def run_once(self, script):
        """What is left running in the background has the output's file, and is not waited for."""
        with open(self.home / "output", "w+", encoding="utf-8") as output:
            try:
                done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=self.work, env=self.environment,
                                      stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=PATIENCE,
                                      check=False)
                exits = done.returncode
            except subprocess.TimeoutExpired:
                exits = "nothing"
            output.seek(0)
            sys.stdout.write("".join(f"    {line}" for line in output))
            sys.stdout.flush()
        return exits

    # --------------------------------------------------------------------------------------- disturbances

    def pid(self, name):
        return int((self.work / f"{name}.pid").read_text(encoding="utf-8"))

    def alive(self, name):
        fields = stat_fields(self.pid(name))
        return fields is not None and fields[0] != "Z"

    def kill(self, name):
        os.kill(self.pid(name), signal.SIGKILL)
        while self.alive(name):
            time.sleep(0.01)

    def acknowledged(self):
        return len((self.work / "acknowledged").read_text(encoding="utf-8").splitlines())

    def wait_for_writes(self, more):
        first, end = self.acknowledged(), time.monotonic() + 60
        while self.acknowledged() < first + more:
            if time.monotonic() > end:
                raise Failure(f"the application could not write {more} times in a minute")
            time.sleep(0.05)

    def ask(self, side, query):
        """The answer; nothing where there is none, as before walign has made its tables."""
        server, database = self.sides[side]
        done = subprocess.run([*self.servers[server].psql(database), "-c", query], check=False, capture_output=True,
                              text=True)
        return done.stdout.strip()

    def wait_until_copying(self):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.ask("target", "SELECT count(*) > 0 AND bool_and(complete) FROM walign.copy") == "t":
                raise Failure("the copy was over before anybody could be killed in it: make it slower")
            if self.ask("target", "SELECT sum(rows) > 0 FROM walign.chunk") == "t":
                return
            time.sleep(0.05)
        raise Failure("the copy does not begin")

    def disturb(self, block, again):
        """walign is killed and started again, then each server, while the application writes."""
        if "copying" in block.words:
            self.wait_until_copying()
        self.wait_for_writes(30)
        print("    -- walign is killed", flush=True)
        self.kill("walign")
        self.wait_for_writes(10)
        self.run_block(again)
        for name, server in self.servers.items():
            self.wait_for_writes(10)
            print(f"    -- the server \"{name}\" crashes", flush=True)
            server.crash()
        self.wait_for_writes(30)
        if not self.alive("walign"):
            raise Failure("walign has ended after a server crashed")

    def run(self, disturbed):
        start = None
        for block in blocks_of(self.work / "README.md"):
            self.run_block(block)
            if "copying" in block.words:
                start = block
            if disturbed and ("copying" in block.words or "cut-over" in block.words):
                self.disturb(block, start)

    def end(self):
        for name in ("load", "walign"):
            try:
                if os.readlink(f"/proc/{self.pid(name)}/cwd") == str(self.work):  # still that one, and no other's
                    self.kill(name)
            except (FileNotFoundError, ProcessLookupError, ValueError):
                pass
        for server in self.servers.values():
            try:
                server.stop()
            except subprocess.CalledProcessError:
                pass

    def show_logs(self):
        for name in ("walign.log", "load.log"):
            path = self.work / name
            if path.exists():
                print(f"\nThe end of {name}:", *path.read_text(encoding="utf-8").splitlines()[-30:], sep="\n  ")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--by-hand", action="store_true")
    parser.add_argument("--undisturbed", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the directory there")
    args = parser.parse_args()
    if not (HERE / args.name / "README.md").exists():
        parser.error(f"there is no examples/{args.name}")
    home = pathlib.Path(tempfile.mkdtemp(prefix="walign-example-"))
    home.chmod(0o755)
    run = Run(args.name, home)
    try:
        run.start_servers()
        if args.by_hand:
            print(f"The servers run. In another terminal:\n\n{run.how_to_go_on()}\n\nthen what README.md says. "
                  "Ctrl-C here ends the servers and takes the directory away.", flush=True)
            signal.pause()
        run.run(not args.undisturbed)
        print(f"\n{args.name}: finished, and nothing was lost or came twice")
        return 0
    except (Failure, subprocess.CalledProcessError) as failure:
        run.show_logs()
        print(f"\n{args.name}: FAILED: {failure}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        run.end()
        if args.keep:
            print(f"kept in {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
