"""Groups of benchmarks by their names, and every line of them measured."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.measure import Group, Line, collect
from benchmarks.suite import GROUPS


def chosen(names: Sequence[str], groups: Sequence[Group] = GROUPS) -> list[Group]:
    """The groups of these names; all that don't take long when none is named. Raises KeyError with a wrong name."""
    known = {group.name: group for group in groups}
    return [known[name] for name in names] if names else [group for group in groups if not group.long]


def at_least_one(text: str) -> int:
    """A number of rounds or tiles, as an argument's type."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is none: at least 1")
    return number


def writable(text: str) -> Path:
    """A file that can be written when all has been measured, as an argument's type: found out before."""
    path = Path(text)
    is_new = not path.exists()
    try:
        path.open("a").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be written ({error.strerror})") from error
    if is_new:
        path.unlink()
    return path


def run_groups(groups: Iterable[Group], runs: int, *, progress: bool = True) -> dict[str, Line]:
    """Every line of these groups, by name."""
    lines: dict[str, Line] = {}
    for group in groups:
        began = time.perf_counter()
        if progress:
            print(f"{group.name}: {group.about}", file=sys.stderr, flush=True)
        collect(group, runs, lines)
        if progress:
            print(f"  {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return lines
