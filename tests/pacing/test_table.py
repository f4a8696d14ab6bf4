"""The table of simulated hosts runs, and tells a good pace from a bad one."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.pace_table import Cell, cells, outcome

FAMILIES = {cell.family: cell for cell in sorted(cells(), key=lambda cell: -cell.best)}
"""The slowest host of each, which is the quickest to run."""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_host_of_each_family_answers(family: str) -> None:
    share, refused, _ = outcome(FAMILIES[family], 0)
    assert 0.0 < share < 1.3
    assert 0.0 <= refused < 0.6


def test_a_pace_that_is_held_low_is_told_from_one_that_settles() -> None:
    cell = next(cell for cell in cells() if (cell.family, cell.name) == ("seats", "20 seats, 0.05 s"))
    share, refused, settled = outcome(cell, 0)
    assert share >= 0.85 and refused < 0.01 and settled is not None and settled <= 10
    share, _, settled = outcome(dataclasses.replace(cell, limit=5), 0)
    assert share < 0.3 and settled is None


def test_no_two_cells_have_one_name() -> None:
    names: list[Cell] = list(cells())
    assert len({(cell.family, cell.name) for cell in names}) == len(names)
