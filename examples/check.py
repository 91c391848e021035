#!/usr/bin/env python3
# Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
"""./check [source|target]: what must hold when the application (./load) has stopped; without walign's help.

Both sides hold the same rows, as COMPARED in application.py says it; every write that was acknowledged is there once,
on either side; nothing is there that was refused; and HOLDS is true. With a side's name, only that side is looked at.
The stream is given a minute to catch up.
"""
import collections
import json
import pathlib
import sys
import time

from sides import client_of, code_of

PATIENCE = 60  # seconds


def numbers_in(name):
    return [int(line.split()[0]) for line in pathlib.Path(name).read_text(encoding="utf-8").splitlines()]


def rows(side, query):
    client = client_of(side)
    found = client.sql(f"SELECT row_to_json(q)::text FROM ({query}) AS q")
    client.close()
    # As pairs: columns of expressions may all be called the same.
    pairs = (json.loads(row, object_pairs_hook=list) for row in found)
    return collections.Counter(json.dumps([value for _, value in row]) for row in pairs)


def compare(what, on_source, on_target):
    """What differs, in words; nothing where nothing does."""
    source, target = rows("source", on_source), rows("target", on_target)
    print(f"{what:20} source {source.total():6} rows, target {target.total():6} rows:",
          "equal" if source == target else "DIFFERENT")
    only = [f"only on the source: {row}" for row in (source - target).elements()][:5]
    return only + [f"only on the target: {row}" for row in (target - source).elements()][:5]


def check_numbers(side, query):
    client = client_of(side)
    there = collections.Counter(int(number) for number in client.sql(query))
    client.close()
    acknowledged, in_doubt = set(numbers_in("acknowledged")), set(numbers_in("in_doubt"))
    lost = sorted(acknowledged - there.keys())
    strange = sorted(there.keys() - acknowledged - in_doubt)
    twice = sorted(number for number, times in there.items() if times > 1)
    print(f"{side:20} {len(acknowledged)} writes were acknowledged, {len(lost)} of them missing, {len(twice)} there "
          f"twice, {len(strange)} there that were not acknowledged")
    return [f"on the {side}, {name}: {found[:10]}"
            for name, found in (("missing", lost), ("twice", twice), ("not acknowledged", strange)) if found]


def check_holds(side, query):
    client = client_of(side)
    held = client.sql(query)[0] == "t"
    client.close()
    return [] if held else [f"on the {side} this does not hold: {query}"]


def look(code, sides):
    wrong = []
    if len(sides) == 2:
        for what, on_source, on_target in code.COMPARED:
            wrong += compare(what, on_source, on_target)
    for side in sides:
        wrong += check_numbers(side, code.NUMBERS[side]) + check_holds(side, code.HOLDS[side])
    return wrong


def main():
    code = code_of()
    sides = sys.argv[1:] or ["source", "target"]
    end = time.monotonic() + PATIENCE
    while (wrong := look(code, sides)) and time.monotonic() < end:
        print("... not yet")
        time.sleep(2)
    wrong += [f"the application met: {line}"
              for line in pathlib.Path("unexpected").read_text(encoding="utf-8").splitlines()[:5]]
    written = collections.Counter(line.split()[1] for line in pathlib.Path("acknowledged").read_text(
        encoding="utf-8").splitlines())
    wrong += [f"nothing was written on the {side}: this shows nothing" for side in ("source", "target")
              if not written[side]]
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
