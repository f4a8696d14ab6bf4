"""Policies in words ("LODs 0-9, state.geojson"), brought into one form, whichever jobs they came with.

The LODs of one area, named by several jobs, are one policy: ``LODs 0-5`` and then ``LODs 6-8`` of a box are its
``LODs 0-8``, for a job's tiles are the union of its policies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LEVELS, ALL_LEVELS = "LODs ", "all LODs"

_NAMED = re.compile(r"LODs (\d{1,9}(?:-\d{1,9})?(?:,\d{1,9}(?:-\d{1,9})?)*), (.+)", re.DOTALL)

Range = tuple[int, int]


def range_words(ranges: Iterable[Range]) -> str:
    """Inclusive ranges as they are typed: ``0-4,7``."""
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def canonical(policies: Iterable[str]) -> tuple[str, ...]:
    """Every policy once: the LODs of one area joined, the coarsest first, those that name no levels before all."""
    named: dict[str, list[Range]] = {}
    others: set[str] = set()
    for words in policies:
        found = _NAMED.fullmatch(words)
        if found is None:
            others.add(words)
            continue
        pairs = (part.partition("-") for part in found[1].split(","))
        named.setdefault(found[2], []).extend((int(low), int(high or low)) for low, _, high in pairs)
    joined = {area: _union(ranges) for area, ranges in named.items() if f"{ALL_LEVELS}, {area}" not in others}
    ordered = sorted((ranges, area) for area, ranges in joined.items())
    return (*sorted(others), *(f"{LEVELS}{range_words(ranges)}, {area}" for ranges, area in ordered))


def _union(ranges: Iterable[Range]) -> list[Range]:
    """The same numbers in as few ranges as can be, ascending."""
    union: list[Range] = []
    for low, high in sorted(ranges):
        if union and low <= union[-1][1] + 1:
            union[-1] = union[-1][0], max(high, union[-1][1])
        else:
            union.append((low, high))
    return union
