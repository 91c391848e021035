"""The Debian package, installed into a clean Debian 12 tree and run there.

BUILD names the build folder whose program is packaged. The tree comes from debootstrap, once, and is kept there.
Needs root, since a tree is entered by chroot; and the archive, unless the tree is there already.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

import support

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["BUILD"])
TREES = BUILD / "debian-12"
UNIT = "lib/systemd/system/walign@.service"


def sh(arguments, **options):
    return subprocess.run([str(a) for a in arguments], capture_output=True, text=True, check=False, **options)


def must(arguments, **options):
    done = sh(arguments, timeout=1800, **options)
    assert done.returncode == 0, (arguments, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


def mirror():
    """The archive that this machine installs from."""
    for path in pathlib.Path("/etc/apt").glob("sources.list.d/*.sources"):
        found = re.search(r"(?m)^URIs: *(\S+/debian/?)$", path.read_text(encoding="utf-8"))
        if found:
            return found.group(1)
    for path in pathlib.Path("/etc/apt").glob("sources.list*"):
        found = path.is_file() and re.search(r"(?m)^deb .*?(http\S+/debian/?) ", path.read_text(encoding="utf-8"))
        if found:
            return found.group(1)
    return "http://deb.debian.org/debian"


def why_not():
    """Why nothing of this can be tried here; empty if it can."""
    if os.geteuid() != 0:
        return "a Debian tree can only be entered by root"
    for program in ("debootstrap", "cpack", "dpkg-shlibdeps", "unshare"):
        if not shutil.which(program):
            return f"{program} is not installed (tools/install-deps --tests)"
    if sh(["unshare", "--mount", "true"]).returncode != 0:
        return "nothing may be mounted here"
    if 'VERSION_ID="12"' not in pathlib.Path("/etc/os-release").read_text(encoding="utf-8"):
        return "the program was not built on Debian 12"
    return ""


def clean_tree():
    """A copy of the tree that debootstrap makes; nobody has installed anything there."""
    base = TREES / "base"
    if not base.exists():
        making = TREES / "making"
        shutil.rmtree(making, ignore_errors=True)
        TREES.mkdir(parents=True, exist_ok=True)
        done = sh(["debootstrap", "--variant=minbase", "bookworm", making, mirror()], timeout=1800)
        if done.returncode != 0:
            raise unittest.SkipTest(f"no Debian tree from {mirror()}: {done.stderr[-500:] or done.stdout[-500:]}")
        making.rename(base)
    tree = TREES / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    must(["cp", "-a", base, tree])
    for path in pathlib.Path("/etc/apt/apt.conf.d").glob("*"):  # how this machine reaches the archive
        if "Proxy" in path.read_text(encoding="utf-8"):
            shutil.copy(path, tree / "etc/apt/apt.conf.d")
    if pathlib.Path("/etc/resolv.conf").exists():
        shutil.copy("/etc/resolv.conf", tree / "etc/resolv.conf")
    return tree


ENTER = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if why_not():
            raise unittest.SkipTest(why_not())
        cls.tree = clean_tree()
        out = cls.tree / "tmp/walign"
        must([ROOT / "docker/build.sh", out, BUILD], cwd=ROOT)
        cls.deb, = out.glob("walign_*.deb")
        cls.kept = TREES / cls.deb.name
        shutil.copy(cls.deb, cls.kept)
        done = cls.inside("/tmp/walign/install.sh")
        if done.returncode != 0 and re.search("Could not resolve|Unable to fetch|Failed to fetch", done.stderr):
            raise unittest.SkipTest(f"the archive cannot be reached from the tree: {done.stderr[-500:]}")
        assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-3000:])
        cls.installed = done.stdout

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.tree, ignore_errors=True)

    @classmethod
    def command(cls, *arguments):
        return ["unshare", "--mount", "sh", "-c", ENTER, str(cls.tree), *map(str, arguments)]

    @classmethod
    def inside(cls, *arguments, environment=None):
        clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        return sh(cls.command(*arguments), env={**clean, **(environment or {})}, timeout=1800)

    def ok(self, *arguments):
        done = self.inside(*arguments)
        self.assertEqual(done.returncode, 0, (arguments, done.stdout, done.stderr))
        return done.stdout

    def test_1_the_program_has_all_that_it_needs_and_the_files_are_in_their_places(self):
        self.assertRegex(self.installed, r"walign \d+\.\d+\.\d+")
        self.assertNotIn("not found", self.ok("ldd", "/usr/bin/walign"))
        files = self.ok("dpkg", "-L", "walign").splitlines()
        for path in ("/usr/bin/walign", "/" + UNIT, "/etc/default/walign", "/etc/walign", "/var/lib/walign",
                     "/usr/share/man/man1/walign.1.gz", "/usr/share/bash-completion/completions/walign",
                     "/usr/share/zsh/vendor-completions/_walign", "/usr/share/fish/vendor_completions.d/walign.fish",
                     "/usr/share/doc/walign/copyright", "/usr/share/doc/walign/docs/install.md",
                     "/usr/share/doc/walign/docs/roles.sql", "/usr/share/doc/walign/examples/README.md",
                     "/usr/share/doc/walign/docker/monitoring/walign.rules.yml"):
            self.assertIn(path, files)
        self.assertIn("/etc/default/walign", self.ok("dpkg-query", "-W", "-f=${Conffiles}", "walign"))
        depends = self.ok("dpkg-query", "-W", "-f=${Depends}", "walign")
        for library in ("libpq5", "librocksdb", "libprotobuf", "libyaml-cpp", "libc6", "adduser"):
            self.assertIn(library, depends)
        self.assertNotIn("-dev", depends)

    def test_2_the_user_is_unprivileged_and_others_read_neither_configuration_nor_state(self):
        entry = self.ok("getent", "passwd", "walign").strip().split(":")
        self.assertLess(int(entry[2]), 1000)
        self.assertEqual(entry[5:], ["/var/lib/walign", "/usr/sbin/nologin"])
        self.assertEqual(self.ok("stat", "-c", "%U:%G %a", "/etc/walign", "/var/lib/walign").split("\n")[:2],
                         ["root:walign 750", "walign:walign 750"])

    def test_3_systemd_finds_nothing_wrong_with_the_unit_and_it_is_hardened(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd is not installed")
        with tempfile.TemporaryDirectory() as folder:
            unit = pathlib.Path(folder, "walign@shop.service")
            text = (self.tree / UNIT).read_text(encoding="utf-8")
            unit.write_text(text.replace("/usr/bin/walign", "/bin/true"), encoding="utf-8")
            done = sh(["systemd-analyze", "verify", "--man=no", unit])
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            done = sh(["systemd-analyze", "security", "--offline=true", "--threshold=20", unit])
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_4_it_runs_there_as_the_unit_runs_it(self):
        unit = (self.tree / UNIT).read_text(encoding="utf-8")
        start = re.search(r"(?m)^ExecStart=(.*)$", unit).group(1).replace("%i", "shop")
        with support.Server(["wal_level = logical"]) as source, support.Server() as target:
            for server in (source, target):
                server.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
            source.sql("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 1000) AS i")
            config = self.tree / "etc/walign/shop.yaml"
            config.write_text(f"migration: shop\nsource: {source.url()}\ntarget: {target.url()}\n"
                              "state: /var/lib/walign/shop\nhttp: \"\"\ntables: [public.t]\n", encoding="utf-8")
            self.ok("chown", "root:walign", "/etc/walign/shop.yaml")
            config.chmod(0o640)
            # StateDirectory=
            self.ok("install", "-d", "-o", "walign", "-g", "walign", "-m", "700", "/var/lib/walign/shop")
            manager = support.Manager()
            words = start.replace("$WALIGN_OPTIONS", "").split()
            with subprocess.Popen(self.command("setpriv", "--reuid=walign", "--regid=walign", "--init-groups", *words),
                                  stderr=subprocess.PIPE, text=True,
                                  env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET": "@" + manager.name[1:],
                                       "WATCHDOG_USEC": "8000000"}) as walign:
                try:
                    support.until("ready", lambda: manager.has("READY=1") or walign.poll() is not None)
                    self.assertTrue(manager.has("READY=1"), walign.poll())
                    support.until("copied", lambda: target.sql("SELECT count(*) FROM t") == "1000")
                    source.sql("UPDATE t SET v = 'changed' WHERE id <= 10")
                    support.until("streamed", lambda: target.sql("SELECT count(*) FROM t WHERE v = 'changed'") == "10")
                    support.until("the watchdog is fed", lambda: manager.has("WATCHDOG=1"))
                    said = self.ok("runuser", "-u", "walign", "--", "walign", "-c", "/etc/walign/shop.yaml", "status")
                    self.assertIn("shop", said)
                finally:
                    walign.send_signal(signal.SIGTERM)
                    log = walign.communicate(timeout=60)[1]
                self.assertEqual(walign.returncode, 130, log)
                support.until("stopping", lambda: manager.has("STOPPING=1"))
        self.assertEqual(self.ok("stat", "-c", "%U", "/var/lib/walign/shop/format").strip(), "walign")

    def test_5_removing_says_what_a_slot_keeps_and_purging_keeps_state_and_configurations(self):
        with open(self.tree / "etc/default/walign", "a", encoding="utf-8") as file:
            file.write("# changed\n")
        shutil.copy(self.kept, self.tree / "tmp")
        self.ok("dpkg", "-i", f"/tmp/{self.kept.name}")  # once more, as an upgrade
        self.assertIn("# changed", (self.tree / "etc/default/walign").read_text(encoding="utf-8"))
        done = self.inside("dpkg", "--remove", "walign")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("migration shop has state in /var/lib/walign/shop/", done.stderr)
        self.assertTrue((self.tree / "etc/default/walign").exists())
        done = self.inside("dpkg", "--purge", "walign")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("/var/lib/walign is kept", done.stderr)
        self.assertTrue((self.tree / "var/lib/walign/shop/format").exists())
        self.assertTrue((self.tree / "etc/walign/shop.yaml").exists())
        self.assertFalse((self.tree / "etc/default/walign").exists())
        self.assertFalse((self.tree / "usr/bin/walign").exists())
        self.assertEqual(self.inside("getent", "passwd", "walign").returncode, 0)

    def test_6_purging_leaves_nothing_where_nothing_was_made(self):
        for path in ("etc/walign/shop.yaml", "var/lib/walign/shop"):
            full = self.tree / path
            if full.is_dir():
                shutil.rmtree(full)
            else:
                full.unlink(missing_ok=True)
        shutil.copy(self.kept, self.tree / "tmp")
        self.ok("dpkg", "-i", f"/tmp/{self.kept.name}")
        done = self.inside("dpkg", "--purge", "walign")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("walign: ", done.stderr)  # deluser may miss a crontab
        for path in ("etc/walign", "var/lib/walign", "etc/default/walign", "usr/share/doc/walign"):
            self.assertFalse((self.tree / path).exists(), path)
        self.assertNotEqual(self.inside("getent", "passwd", "walign").returncode, 0)

    def test_7_lintian_has_no_error(self):
        if not shutil.which("lintian"):
            self.skipTest("lintian is not installed")
        done = sh(["lintian", "--allow-root", "--fail-on", "error", self.kept], timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    support.main()
