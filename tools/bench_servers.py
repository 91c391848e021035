# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
"""Throw-away servers for tools/bench, and what processes have cost."""
import os
import pathlib
import pwd
import subprocess
import sys
import time


def bin_directory():
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[4]))
    if not found:
        sys.exit("bench: no PostgreSQL server found; run tools/install-deps")
    return found[-1].parent


BIN = bin_directory()


class Server:
    """A throw-away server with settings that suit bulk work; as user postgres when run by root."""

    def __init__(self, home, name, port, settings="", binaries=BIN):
        self.data = home / name
        self.port = port
        self.binaries = binaries
        self.run("initdb", "-D", str(self.data), "-A", "trust", "-U", "postgres", "-N")
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(f"port = {port}\nunix_socket_directories = '{home}'\nlisten_addresses = '127.0.0.1'\n"
                       "wal_level = logical\nshared_buffers = 512MB\nmax_wal_size = 16GB\n"
                       f"checkpoint_timeout = 1h\nmax_replication_slots = 20\nmax_wal_senders = 20\n{settings}")
        self.run("pg_ctl", "-D", str(self.data), "-l", str(home / f"{name}.log"), "-w", "start")
        self.home = home

    def run(self, program, *args):
        command = [str(self.binaries / program), *args]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={pwd.getpwnam('postgres').pw_uid}",
                       f"--regid={pwd.getpwnam('postgres').pw_gid}", "--clear-groups", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def stop(self):
        self.run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")

    def crash(self):
        """Ends it as a crash does, and starts it again."""
        self.run("pg_ctl", "-D", str(self.data), "-m", "immediate", "-l", str(self.home / "restart.log"), "-w",
                 "restart")

    def postmaster(self):
        return int((self.data / "postmaster.pid").read_text(encoding="utf-8").split()[0])

    def psql(self, database="postgres"):
        return ["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", "-h", str(self.home), "-p", str(self.port), "-U",
                "postgres", "-d", database]

    def sql(self, text, database="postgres"):
        done = subprocess.run([*self.psql(database), "-c", text], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            sys.stderr.write(done.stderr)
        done.check_returncode()
        return done.stdout.strip()

    def url(self, database="postgres"):
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"


def stat_fields(pid):
    """The fields of /proc/PID/stat behind the name; nothing where it has ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def cpu_seconds(*postmasters):
    """Of these processes, and of their children, those that have ended too."""
    ticks = 0
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        fields = stat_fields(process.name)
        if fields is None:
            continue
        if int(process.name) in postmasters:
            ticks += sum(int(field) for field in fields[11:15])
        elif int(fields[1]) in postmasters:
            ticks += sum(int(field) for field in fields[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def own_cpu_seconds(pid):
    """Of one process; 0 where it has ended."""
    fields = stat_fields(pid)
    return sum(int(field) for field in fields[11:13]) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def memory_mib(pid, field):
    """VmHWM: the most that was ever resident; RssAnon: without what is shared."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith(field + ":")), 0)


def wait_for(what, condition, seconds, pause=0.05):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"bench: {what} did not come about in {seconds} s")
        time.sleep(pause)
