"""Tests of --help, the manual page and the completions, each in the program that reads it.

WALIGN names the program, WRITTEN the folder with the files that the build has made of it.
"""
import functools
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import tempfile
import time
import unittest

import support

WALIGN = os.environ["WALIGN"]
WRITTEN = pathlib.Path(os.environ["WRITTEN"])
README = pathlib.Path(__file__).resolve().parents[2] / "README.md"
SHELLS = {"bash": "walign.bash", "zsh": "_walign", "fish": "walign.fish"}
LEVELS = {"trace", "debug", "info", "warn", "error", "off"}


def output(arguments, **options):
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120, **options)
    assert done.returncode == 0, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout


class Help:
    """What --help of one command says, read from its text alone."""

    def __init__(self, path):
        self.path = path
        self.text = output([WALIGN, *path, "--help"])
        self.options, self.commands = set(), []
        section = ""
        for line in self.text.splitlines():
            if re.match(r"^[A-Z][A-Za-z ]*:$", line):
                section = line
            found = re.match(r"^  (\S+)", line)
            if found and section == "Options:":
                self.options.update(found.group(1).split(","))
            elif found and section == "Subcommands:":
                self.commands.append(found.group(1))


@functools.lru_cache(maxsize=None)
def all_help():
    out, left = [], [()]
    while left:
        its = Help(left.pop(0))
        out.append(its)
        left += [(*its.path, name) for name in its.commands]
    return out


class TheHelp(unittest.TestCase):
    def test_the_readme_names_every_command(self):
        rows = re.findall(r"(?m)^\| (`.*?) \|", README.read_text(encoding="utf-8"))
        self.assertEqual({name for row in rows for name in re.findall("`([a-z-]+)`", row)},
                         {its.path[0] for its in all_help() if its.path})

    def test_every_command_has_an_example_of_its_own(self):
        for its in all_help():
            with self.subTest(command=its.path):
                self.assertRegex(self.example_of(its.text), " ".join(("  walign( -c [^ ]+)?", *its.path[:1])))

    @staticmethod
    def example_of(text):
        assert "Example:\n" in text, text
        return text.split("Example:\n", 1)[1]

    def test_help_says_what_minus_minus_help_says(self):
        self.assertEqual(output([WALIGN, "help"]), output([WALIGN, "--help"]))
        self.assertEqual(output([WALIGN, "help", "config", "check"]), output([WALIGN, "config", "check", "--help"]))
        done = subprocess.run([WALIGN, "help", "config", "nothing"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn('there is no command "config nothing"', done.stderr)


@support.needs("man", "man-db")
class TheManualPage(unittest.TestCase):
    def test_man_reads_it_without_a_warning(self):
        page = WRITTEN / "walign.1"
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)],
                              capture_output=True, text=True, check=False,
                              env={**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"})
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_every_command_and_option_is_in_it(self):
        text = output(["man", "-l", "-P", "cat", str(WRITTEN / "walign.1")],
                      env={**os.environ, "LC_ALL": "C", "MANWIDTH": "300", "MAN_KEEP_FORMATTING": ""})
        sections, title = {}, "OPTIONS"
        for line in text.splitlines():
            heading = re.match(r"^   (walign .*)$", line)
            if heading:
                title = re.sub(r" (COMMAND|\[?[A-Z]{2,}|\[OPTIONS\]).*", "", heading.group(1))
            elif re.match(r"^[A-Z]", line):
                title = line.strip()
            sections[title] = sections.get(title, "") + line + "\n"
        for its in all_help():
            here = sections.get(" ".join(("walign", *its.path)) if its.path else "OPTIONS")
            self.assertIsNotNone(here, f"{its.path} has no section: {sorted(sections)}")
            for option in its.options - ({"-h", "--help"} if its.path else set()):
                self.assertRegex(here, rf"(?m)^ +.*(?<![-\w]){re.escape(option)}(?![-\w])", f"{its.path} {option}")
            if its.path:
                self.assertIn("Example:", here, its.path)

    def test_it_is_what_the_program_prints(self):
        self.assertEqual((WRITTEN / "walign.1").read_text(encoding="utf-8"), output([WALIGN, "help", "--man"]))


def typed(path, more=()):
    return ["walign", *path, *more]


class Bash(unittest.TestCase):
    SCRIPT = """
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _walign
        printf '%s\\n' "${COMPREPLY[@]}"
    """

    def offered(self, words, directory=None):
        out = output(["bash", "--norc", "-c", self.SCRIPT, "bash", str(WRITTEN / SHELLS["bash"]), *words],
                     cwd=directory)
        return set(out.split())

    def test_commands_and_options_of_every_command_are_offered(self):
        for its in all_help():
            with self.subTest(command=its.path):
                self.assertEqual(self.offered(typed(its.path, ["--"])) - {"--config", "--log-level", "--log-format"},
                                 {o for o in its.options if o.startswith("--")}
                                 - {"--config", "--log-level", "--log-format"})
                self.assertLessEqual({"--config", "--log-level", "--log-format", "--help"},
                                     self.offered(typed(its.path, ["--"])))
                if its.commands:
                    self.assertEqual(self.offered(typed(its.path, [""])), set(its.commands))

    def test_values_are_offered(self):
        self.assertEqual(self.offered(["walign", "--log-level", ""]), LEVELS)
        self.assertEqual(self.offered(["walign", "run", "--log-level", "=", "de"]), {"debug"})
        self.assertEqual(self.offered(["walign", "--log-level", "debug", "pause", ""]), {"apply", "backfill"})
        self.assertEqual(self.offered(["walign", "completion", "f"]), {"fish"})
        self.assertEqual(self.offered(["walign", "run", "--until-lsn", ""]), set())

    def test_files_are_offered_for_the_configuration(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "shop.yaml").touch()
            self.assertEqual(self.offered(["walign", "-c", "sh"], folder), {"shop.yaml"})

    def test_a_key_press_completes_in_an_interactive_shell(self):
        with Terminal(["bash", "--norc", "--noprofile", "-i"]) as shell:
            shell.type(f"PS1='>'; bind 'set show-all-if-ambiguous on'; source {WRITTEN}/walign.bash; echo so'urced'\n")
            shell.wait_for("sourced")
            shell.type("walign --log-level \t")
            shell.wait_for(*LEVELS)
            shell.type("\x15walign cuto\t")
            shell.wait_for("walign cutover ")


@support.needs("fish", "fish")
class Fish(unittest.TestCase):
    def offered_of_all(self, lines):
        """For each command line, what fish offers."""
        script = f"source {WRITTEN}/walign.fish\n"
        script += "".join(f"echo '== {line}'; complete -C '{line}'\n" for line in lines)
        with tempfile.TemporaryDirectory() as home:
            out = output(["fish", "--no-config", "-c", script], env={**os.environ, "HOME": home, "LC_ALL": "C.UTF-8"})
        result = {}
        for line in out.splitlines():
            if line.startswith("== "):
                words = result[line[3:]] = set()
            else:
                words.add(line.split("\t")[0])
        return result

    def test_commands_options_and_values_are_offered(self):
        lines = [" ".join(typed(its.path, ["--"])) for its in all_help()]
        lines += [" ".join(typed(its.path, [""])) for its in all_help()]
        values = ["walign --log-level ", "walign run --log-level=de", "walign pause ", "walign completion f"]
        offered = self.offered_of_all(lines + values)
        for its in all_help():
            with self.subTest(command=its.path):
                self.assertLessEqual({o for o in its.options if o.startswith("--")},
                                     offered[" ".join(typed(its.path, ["--"]))])
                self.assertIn("--log-level", offered[" ".join(typed(its.path, ["--"]))])
                if its.commands:
                    self.assertEqual(offered[" ".join(typed(its.path, [""]))], set(its.commands))
        self.assertEqual(offered["walign --log-level "], LEVELS)
        self.assertEqual(offered["walign run --log-level=de"], {"--log-level=debug"})
        self.assertEqual(offered["walign pause "], {"apply", "backfill"})
        self.assertEqual(offered["walign completion f"], {"fish"})

    def test_it_offers_no_option_of_another_command(self):
        offered = self.offered_of_all(["walign status --"])["walign status --"]
        self.assertNotIn("--until-lsn", offered)


@support.needs("zsh", "zsh")
class Zsh(unittest.TestCase):
    SET_UP = ("PS1='>' LISTMAX=10000; stty rows 400 cols 200; fpath=({0} $fpath); autoload -Uz compinit; "
              "compinit -u -D; unsetopt auto_menu; echo so'urced'\n")

    def test_commands_options_and_values_are_offered(self):
        with Terminal(["zsh", "-f", "-i"]) as shell:
            shell.type(self.SET_UP.format(WRITTEN))
            shell.wait_for("sourced")
            for its in all_help():
                shell.type("\x15" + " ".join(typed(its.path, ["--"])) + "\t")
                shell.wait_for(*(o for o in its.options if o.startswith("--")), "--log-level")
                if its.commands:
                    shell.type("\x15" + " ".join(typed(its.path, [""])) + "\t")
                    shell.wait_for(*its.commands)
            shell.type("\x15walign --log-level \t")
            shell.wait_for(*LEVELS)
            shell.type("\x15walign pause \t")
            shell.wait_for("apply", "backfill")
            shell.type("\x15walign run --log-level=de\t")
            shell.wait_for("walign run --log-level=debug")

    def test_it_can_be_sourced_as_well_as_autoloaded(self):
        with Terminal(["zsh", "-f", "-i"]) as shell:
            shell.type("PS1='>'; autoload -Uz compinit; compinit -u -D; "
                       f"source <({WALIGN} completion zsh); echo so'urced'\n")
            shell.wait_for("sourced")
            shell.type("walign cuto\t")
            shell.wait_for("walign cutover ")


class Terminal:
    """An interactive program on a terminal of its own."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.seen = ""

    def __enter__(self):
        self.home = tempfile.mkdtemp()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(self.home)
            os.execvpe(self.arguments[0], self.arguments,
                       {"PATH": os.environ["PATH"], "HOME": self.home, "TERM": "vt100", "LC_ALL": "C.UTF-8"})
        return self

    def __exit__(self, *_):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.fd)
        shutil.rmtree(self.home)

    def type(self, text):
        self.seen = ""
        os.write(self.fd, text.encode())

    def wait_for(self, *words):
        """Until each word stands on the screen by itself, whatever was typed before it."""
        end = time.monotonic() + 60
        while True:
            plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r", " ", self.seen)
            left = [w for w in words if not re.search(rf"(?<![-\w]){re.escape(w)}(?![-\w])", plain)]
            if not left:
                return
            if time.monotonic() > end:
                raise AssertionError(f"not seen: {left}, in: {self.seen!r}")
            if select.select([self.fd], [], [], 0.2)[0]:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")


if __name__ == "__main__":
    support.main()
