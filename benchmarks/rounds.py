"""Groups of benchmarks by their names, and every line of them measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence

from benchmarks.measure import Group, Line, collect
from benchmarks.suite import GROUPS


def chosen(names: Sequence[str], groups: Sequence[Group] = GROUPS) -> list[Group]:
    """The groups of these names; all that don't take long when none is named. Raises KeyError with a wrong name."""
    known = {group.name: group for group in groups}
    return [known[name] for name in names] if names else [group for group in groups if not group.long]


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
