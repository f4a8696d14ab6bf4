"""``python -m benchmarks [NAME ...]``: run groups, print medians and spread; keep them with ``--save``."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Sequence

from benchmarks.keep import keep, number, tell
from benchmarks.measure import Line
from benchmarks.rounds import at_least_one, chosen, run_groups, writable
from benchmarks.suite import GROUPS

RUNS = 5


def table(lines: Iterable[Line]) -> str:
    """One line each: name, median, least and most, unit, rounds."""
    rows = [("", "median", "min", "max", "unit", "n")]
    rows += [
        (line.name, number(line.median), number(line.low), number(line.high), line.unit, str(len(line.values)))
        for line in lines
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at in (0, 4) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def as_json(lines: Iterable[Line]) -> dict[str, object]:
    """Everything measured, and on what kind of machine."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "lines": [line.as_json() for line in lines],
    }


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time the hot paths.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(group.name for group in GROUPS))
    parser.add_argument("--runs", type=at_least_one, default=RUNS, help=f"rounds of each group (default {RUNS})")
    parser.add_argument("--json", type=writable, metavar="FILE", help="write what was measured there")
    parser.add_argument("--save", action="store_true", help="keep it in results/ and in the table of README.md")
    options = parser.parse_args(argv)
    try:
        groups = chosen(options.names)
    except KeyError as error:
        parser.error(f"no group is named {error}; there are {', '.join(group.name for group in GROUPS)}")
    lines: list[Line] = []
    try:
        for group in groups:
            found = list(run_groups([group], options.runs).values())
            lines += found
            if options.save:
                keep(group.name, as_json(found))
    finally:
        print(table(lines))
    if options.json:
        options.json.write_text(json.dumps(as_json(lines), indent=1) + "\n")
    if options.save:
        tell([group.name for group in GROUPS])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
