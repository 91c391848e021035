"""What the tests here share: two throw-away servers, a sidecar between them, and ways to ask it.

A program that is missing (a browser, Prometheus) skips the test visibly: exit status 77.
"""
import contextlib
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

SKIPPED = 77


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def need(program, package):
    found = shutil.which(program)
    if found is None:
        skip(f"{program} is not installed (Debian's package {package})")
    return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, condition, seconds=60, pause=0.2):
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"did not come about in {seconds} s: {what}")
        time.sleep(pause)


def get(url, seconds=10):
    """The body; nothing where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return None


def bin_directory():
    wanted = os.environ.get("WALIGN_PG_BIN")
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    if wanted:
        return pathlib.Path(wanted)
    return found[-1].parent if found else pathlib.Path(skip("no PostgreSQL server is installed"))


class Server:
    def __init__(self, home, name, settings=""):
        self.home, self.data, self.port = home, home / name, free_port()
        self.program("initdb", "-D", str(self.data), "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8", "--locale=C")
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(f"port = {self.port}\nunix_socket_directories = '{home}'\nlisten_addresses = '127.0.0.1'\n"
                       "wal_level = logical\nfsync = off\nmax_wal_size = 2GB\ncheckpoint_timeout = 1h\n"
                       f"max_replication_slots = 20\nmax_wal_senders = 20\n{settings}\n")
        self.start()
        self.sql("CREATE DATABASE app", "postgres")

    def program(self, name, *args):
        command = [str(bin_directory() / name), *args]
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def start(self):
        log = str(self.home / f"{self.data.name}.log")
        self.program("pg_ctl", "-D", str(self.data), "-l", log, "-w", "-t", "120", "start")

    def stop(self, mode="fast"):
        self.program("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")

    def psql(self, database="app"):
        return ["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", "-h", str(self.home), "-p", str(self.port), "-U", "postgres",
                "-d", database]

    def sql(self, text, database="app"):
        done = subprocess.run([*self.psql(database), "-c", text], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(f"{text}: {done.stderr}")
        return done.stdout.strip()

    @contextlib.contextmanager
    def holding(self, statement):
        """A session that has run the statement in a transaction, and stays in it."""
        session = subprocess.Popen(self.psql(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        session.stdin.write(f"BEGIN; {statement}; SELECT 'held';\n")
        session.stdin.flush()
        while session.stdout.readline().strip() != "held":
            if session.poll() is not None:
                raise AssertionError(f"could not hold: {statement}")
        try:
            yield
        finally:
            session.stdin.close()
            session.wait(30)

    def url(self):
        return f"postgresql://postgres@127.0.0.1:{self.port}/app"


class Bed:
    """with Bed(WALIGN, rules, more) as bed: two servers and a walign.yaml; everything ends with it."""

    def __init__(self, walign, rules, more, source_settings=""):
        self.walign = walign
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="walign-watch-"))
        if os.geteuid() == 0:
            os.chown(self.home, pwd.getpwnam("postgres").pw_uid, -1)
        os.chmod(self.home, 0o755)
        self.servers, self.processes = [], []
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.source_settings, self.rules, self.more = source_settings, rules, more

    def __enter__(self):
        try:
            self.source = self.server("source", self.source_settings)
            self.target = self.server("target")
        except BaseException:
            self.__exit__()
            raise
        self.yaml = self.home / "walign.yaml"
        self.yaml.write_text(f"migration: watched\nsource: {self.source.url()}\ntarget: {self.target.url()}\n"
                             f"state: {self.home}/state\nhttp: 127.0.0.1:{self.port}\ntables:\n{self.rules}{self.more}",
                             encoding="utf-8")
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for server in self.servers:
            with contextlib.suppress(subprocess.CalledProcessError):
                server.stop("immediate")
        if os.environ.get("WALIGN_KEEP"):
            print(f"kept: {self.home}")
        else:
            shutil.rmtree(self.home, ignore_errors=True)

    def server(self, name, settings=""):
        made = Server(self.home, name, settings)
        self.servers.append(made)
        return made

    def start(self, command, name):
        log = open(self.home / f"{name}.log", "ab")
        process = subprocess.Popen(command, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def log(self, name):
        return (self.home / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def run(self):
        """The sidecar, once it serves."""
        process = self.start([self.walign, "-c", str(self.yaml), "run"], "sidecar")
        wait_for("the sidecar serves", lambda: get(f"{self.base}/healthz") or process.poll() is not None)
        return process

    def ask(self, *args, status=0):
        done = subprocess.run([self.walign, "-c", str(self.yaml), *args], check=False, capture_output=True, text=True,
                              timeout=120)
        if status is not None and done.returncode != status:
            raise AssertionError(f"walign {' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def begin(self, *args):
        return self.start([self.walign, "-c", str(self.yaml), *args], "command")

    def status(self):
        text = get(f"{self.base}/v1/status")
        return json.loads(text) if text else None

    def until(self, what, condition, seconds=60):
        def holds():
            status = self.status()
            return status if status and condition(status) else None
        return wait_for(what, holds, seconds)

    def past_the_fence(self, statement):
        """A write on the closed source, by somebody who takes the triggers away."""
        self.source.sql(f"BEGIN; ALTER TABLE users DISABLE TRIGGER USER; {statement}; "
                        "ALTER TABLE users ENABLE ALWAYS TRIGGER walign_watched_row; "
                        "ALTER TABLE users ENABLE ALWAYS TRIGGER walign_watched_statement; COMMIT")


def stop(process, seconds=30):
    process.send_signal(signal.SIGTERM)
    return process.wait(seconds)
