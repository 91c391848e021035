"""What tools/record-wire records from the server that is installed is what lies in test/data/wire for its version,
message by message, but for what is another in each run: positions, times and transaction numbers."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "test" / "data" / "wire"
# The minor versions that recorded what is streamed: where a running transaction is cut, and so what of a subtransaction
# that is rolled back is sent at all, goes by what the server reckons its memory to be: minor versions changed that.
STREAMED_BY = {"15": "15.20", "17": "17.11", "18": "18.6"}
# How many bytes behind the tag are of this run alone; what follows (a gid, an origin's name) is not.
OWN = {b"B": 20, b"C": 25, b"O": 8, b"S": 4, b"c": 29, b"A": 24, b"b": 28, b"P": 29, b"p": 29, b"K": 29, b"r": 37}


def messages(path):
    """Tag, length and what must be equal."""
    block = False
    for line in path.read_text(encoding="ascii").splitlines():
        payload = bytes.fromhex(line.split(" ")[1])
        tag, body = payload[:1], payload[1:]
        own = OWN.get(tag, 0)
        if block and tag in b"RYIUDTM":
            own = 4  # the transaction's number
        kept = body[own:]
        if tag == b"M":
            kept = kept[:1] + kept[9:]  # flags, a position, then prefix and content
        block = tag == b"S" or block and tag != b"E"
        yield tag, len(payload), kept


class Recorded(unittest.TestCase):
    def test_what_is_recorded_now_is_what_was_recorded(self):
        with tempfile.TemporaryDirectory() as folder:
            fresh = pathlib.Path(folder)
            for script in DATA.glob("*.sql"):
                shutil.copy(script, fresh)
            done = subprocess.run([str(ROOT / "tools" / "record-wire"), str(fresh)], capture_output=True, text=True,
                                  env={**os.environ, **server()}, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            recorded = sorted(fresh.glob("*.frames"))
            self.assertTrue(recorded, done.stdout)
            for path in recorded:
                if not (DATA / path.name).exists():
                    print(f"{path.name}: none is kept of this version", file=sys.stderr)
                    continue
                with self.subTest(path.name):
                    now, then = list(messages(path)), list(messages(DATA / path.name))
                    if "-v1-" in path.name or cuts_alike():
                        self.assertEqual(now, then)
                    else:
                        print(f"{path.name}: recorded by another minor version, so only kinds of messages are compared",
                              file=sys.stderr)
                        self.assertEqual({tag for tag, _, _ in now}, {tag for tag, _, _ in then})


def cuts_alike():
    folder = server().get("PG_BIN") or os.environ["PG_BIN"]
    said = subprocess.run([f"{folder}/postgres", "--version"], capture_output=True, text=True, check=True).stdout
    version = said.split()[2]
    return STREAMED_BY.get(version.split(".")[0]) == version


def server():
    if "PG_BIN" in os.environ:
        return {}
    installed = map(str, pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
    found = os.environ.get("WALIGN_PG_BIN") or max(installed, default="")
    return {"PG_BIN": found} if found else {}


if __name__ == "__main__":
    unittest.main()
