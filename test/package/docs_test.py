"""Runs the commands of the pages in docs/ and README.md, page by page, in the order in which they stand there.

 * Of a fenced block `sh` every line is run; of any other fenced block those that begin with `$ `. A continued line ends
   with a backslash.
 * Of a fenced block `sql`, every line, by a superuser of the source; after `<!-- on the target -->` or
   `<!-- on both -->` there.
 * `<!-- run` ... `-->` is run too, and not shown: what the page takes for granted.
 * `<!-- exit 3 -->` before a block: its last command ends so.
 * `<!-- not run: WHY -->` before a block: for what cannot be tried, each with its reason, listed by --not-run.

The servers are throw-away; `old` and `new` in a page are they. docs_prelude.sh has the functions that stand for an
operator's terminals and answers.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import support

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md")) + [ROOT / "README.md"]
MAY_NOT_RUN = 12  # blocks, in all pages together: a limit, so that their number does not creep up


class Block:
    def __init__(self, line, commands, exit_status=0, not_run=""):
        self.line, self.commands, self.exit_status, self.not_run = line, commands, exit_status, not_run


ADMINS = {"the source": ["$SOURCE_ADMIN"], "the target": ["$TARGET_ADMIN"],
          "both": ["$SOURCE_ADMIN", "$TARGET_ADMIN"]}


def commands_of(language, lines, where):
    if language == "sh":
        return "\n".join(lines)
    if language == "sql":
        text = "\n".join(lines)
        return "\n".join(f'psql -qX -v ON_ERROR_STOP=1 "{url}" <<\'SQL\'\n{text}\nSQL' for url in ADMINS[where])
    out, goes_on = [], False
    for line in lines:
        if goes_on or line.startswith("$ "):
            out.append(line if goes_on else line[2:])
            goes_on = line.endswith("\\")
    return "\n".join(out)


def blocks_of(text):
    lines = text.split("\n")
    marker, at = {}, 0
    while at < len(lines):
        line = lines[at]
        fence = re.match(r"^```(\w*)$", line)
        said = re.match(r"^<!-- (?:exit (?P<exit>\d+)|not run: (?P<why>.+)|on (?P<on>the source|the target|both)) -->$",
                        line)
        if fence or line == "<!-- run":
            end = lines.index("```" if fence else "-->", at + 1)
            language = fence.group(1) if fence else "sh"
            commands = commands_of(language, lines[at + 1:end], marker.get("on") or "the source")
            if commands:
                yield Block(at + 2, commands, int(marker.get("exit") or 0), marker.get("why") or "")
            marker, at = {}, end
        elif said:
            marker = said.groupdict()
        elif line.strip():
            assert not marker, f"line {at + 1}: a marker without a block"
        at += 1


def script_of(page, blocks):
    out = [f". {HERE}/docs_prelude.sh\n"]
    for block in blocks:
        if block.not_run:
            continue
        out.append(f"echo '== {page.name}:{block.line}' >&2\n")
        if block.exit_status:
            *before, last = re.split(r"(?<!\\)\n", block.commands.rstrip("\n"))
            out.append("\n".join(before) + "\nstatus=0\n" + last + " || status=$?\n"
                       f"[ $status = {block.exit_status} ] || "
                       f"{{ echo \"docs: exit $status, not {block.exit_status}\" >&2; exit 1; }}\n")
        else:
            out.append(block.commands + "\n")
    return "".join(out) + "stop_walign\n"


class Syntax(unittest.TestCase):
    def test_commands_are_found_in_both_kinds_of_blocks(self):
        text = "```sh\na\nb\n```\n<!-- exit 3 -->\n```console\n$ c \\\n  d\nout\n$ e\n```\n```text\nnone\n```\n"
        blocks = list(blocks_of(text))
        self.assertEqual([b.commands for b in blocks], ["a\nb", "c \\\n  d\ne"])
        self.assertEqual([b.exit_status for b in blocks], [0, 3])

    def test_a_hidden_block_is_run_and_a_marked_one_is_not(self):
        blocks = list(blocks_of("<!-- run\nset up\n-->\n\n<!-- not run: why -->\n```sh\nreboot\n```\n"))
        self.assertEqual([(b.commands, b.not_run) for b in blocks], [("set up", ""), ("reboot", "why")])
        self.assertNotIn("reboot", script_of(pathlib.Path("p"), blocks))

    def test_a_failing_command_and_a_wrong_exit_status_fail_the_page(self):
        for commands, wanted, code in (("false", 0, 1), ("true", 3, 1), ("(exit 3)", 3, 0), ("true", 0, 0)):
            done = subprocess.run(["bash", "-c", script_of(pathlib.Path("p"), [Block(1, commands, wanted)])],
                                  capture_output=True, check=False)
            self.assertEqual(done.returncode, code, (commands, wanted, done.stderr))

    def test_few_blocks_are_not_run(self):
        skipped = [(page.name, b.line, b.not_run) for page in PAGES
                   for b in blocks_of(page.read_text(encoding="utf-8")) if b.not_run]
        self.assertLessEqual(len(skipped), MAY_NOT_RUN, skipped)

    def test_every_page_is_in_the_index_and_every_link_leads_somewhere(self):
        index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
        for page in PAGES:
            text = page.read_text(encoding="utf-8")
            if page.name != "README.md":
                self.assertIn(f"({page.name})", index)
            for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text):
                self.assertTrue((page.parent / target).exists(), f"{page.name}: {target}")
            for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
                other = (page.parent / target if target else page).read_text(encoding="utf-8")
                self.assertIn(anchor, anchors(other), f"{page.name}: {target}#{anchor}")


def anchors(text):
    """Of headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"(?m)^#+ (.+)$", text)}


class Pages(unittest.TestCase):
    """A test for each page; made below."""

    @classmethod
    def setUpClass(cls):
        cls.source = support.Server(["wal_level = logical", "max_prepared_transactions = 5"])
        cls.target = support.Server(["wal_level = logical", "max_prepared_transactions = 5"])

    @classmethod
    def tearDownClass(cls):
        cls.source.__exit__()
        cls.target.__exit__()

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="walign-docs-"))
        (self.folder / "bin").mkdir()
        (self.folder / "bin/walign").symlink_to(os.environ["WALIGN"])
        shutil.copy(ROOT / "docs/roles.sql", self.folder)
        for server in (self.source, self.target):
            support.until("no slot is read", lambda its=server: its.sql(
                "SELECT count(*) FROM pg_replication_slots WHERE active") == "0")
            server.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
            server.sql("DROP DATABASE IF EXISTS app WITH (FORCE)")
            for role in ("walign", "app_owner"):
                if server.sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'"):
                    server.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")
            server.sql("CREATE DATABASE app")
            server.sql("CREATE ROLE walign SUPERUSER LOGIN; CREATE ROLE app_owner LOGIN")

    def tearDown(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def here(self, text, port):
        """The commands with this machine's servers and folders."""
        for side, server in (("old", self.source), ("new", self.target)):
            text = text.replace(f"@{side}/app", f"@127.0.0.1:{server.port}/app")
            text = text.replace(f"host={side} ", f"host=127.0.0.1 port={server.port} user=walign ")
        text = text.replace("127.0.0.1:8642", f"127.0.0.1:{port}")
        return text.replace("/var/lib/walign/", f"{self.folder}/var/")

    def run_page(self, page):
        blocks = list(blocks_of(page.read_text(encoding="utf-8")))
        port = support.free_port()
        script = self.folder / "page.sh"
        script.write_text(self.here(script_of(page, blocks), port), encoding="utf-8")
        path = f"{self.folder}/bin:{support.server_programs()}:{os.environ['PATH']}"
        done = subprocess.run(["bash", str(script)], cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=600,
                              env={"PATH": path, "HOME": str(self.folder), "LC_ALL": "C.UTF-8",
                                   "WALIGN": os.environ["WALIGN"], "DOCS": str(ROOT / "docs"),
                                   "SOURCE": self.source.url("app", "walign"),
                                   "TARGET": self.target.url("app", "walign"),
                                   "SOURCE_ADMIN": self.source.url("app"), "TARGET_ADMIN": self.target.url("app"),
                                   "HTTP_PORT": str(port)})
        self.assertEqual(done.returncode, 0, f"{page.name}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")


def add_tests():
    for page in PAGES:
        if any(not block.not_run for block in blocks_of(page.read_text(encoding="utf-8"))):
            def test(self, page=page):
                self.run_page(page)
            setattr(Pages, "test_" + re.sub(r"\W", "_", str(page.relative_to(ROOT))), test)


add_tests()

if __name__ == "__main__":
    if "--not-run" in sys.argv:
        for one in PAGES:
            for its in blocks_of(one.read_text(encoding="utf-8")):
                if its.not_run:
                    print(f"{one.relative_to(ROOT)}:{its.line}: {its.not_run}")
    else:
        unittest.main()
