"""Runs against plain sets of tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.errors import UsageError
from harvester.tiling import runs as room
from harvester.tiling.runs import Runs

side = st.integers(0, 12)
boxes = st.lists(
    st.tuples(side, side, side, side).map(lambda b: (b[0], b[0] + b[1] // 3, b[2], b[2] + b[3] // 2)), max_size=8
)


def of(rectangles: list[tuple[int, int, int, int]]) -> Runs:
    if not rectangles:
        return Runs.empty()
    return Runs.from_bands(*(np.array(side, np.int64) for side in zip(*rectangles, strict=True)))


def tiles(rectangles: list[tuple[int, int, int, int]]) -> set[tuple[int, int]]:
    return {(r, c) for a, b, left, right in rectangles for r in range(a, b + 1) for c in range(left, right + 1)}


@settings(max_examples=150, deadline=None)
@given(boxes, boxes, st.tuples(side, side, side, side))
def test_runs_are_the_set_of_their_tiles(
    one: list[tuple[int, int, int, int]], two: list[tuple[int, int, int, int]], box: tuple[int, int, int, int]
) -> None:
    runs, want = of(one), tiles(one)
    assert list(runs) == sorted(want)
    assert runs.count == len(want)
    rows, cols = runs.arrays()
    assert list(zip(rows.tolist(), cols.tolist(), strict=True)) == sorted(want)
    assert set(runs.union(of(two))) == want | tiles(two)
    assert set(runs.clip(*box)) == want & tiles([box])
    assert all(runs.contains(r, c) == ((r, c) in want) for r in range(-1, 14) for c in range(-1, 14))
    assert [runs.tiles_before_row(r) for r in range(15)] == [sum(a < r for a, _ in want) for r in range(15)]
    assert [runs.row_of(k) for k in range(len(want))] == [r for r, _ in sorted(want)]


@settings(max_examples=100, deadline=None)
@given(boxes, st.randoms())
def test_equal_sets_have_equal_arrays_however_they_were_made(
    boxes: list[tuple[int, int, int, int]], random: object
) -> None:
    single = [(r, r, c, c) for r, c in tiles(boxes)]
    random.shuffle(single)  # type: ignore[attr-defined]
    assert of(single) == of(boxes)
    assert of(boxes).union(*(of([box]) for box in boxes)) == of(boxes)


def test_rows_with_the_same_columns_are_one_band() -> None:
    assert of([(0, 4, 1, 3), (5, 9, 1, 3)]).top.tolist() == [0]
    assert of([(0, 4, 1, 3), (6, 9, 1, 3)]).top.tolist() == [0, 6]


def test_columns_that_touch_are_one_run_and_rows_never_flow_into_each_other() -> None:
    runs = of([(0, 0, 0, 3), (0, 0, 4, 9), (1, 1, 0, 9), (2, 2, 0, 0)])
    assert [field.tolist() for field in runs.fields] == [[0, 2], [1, 2], [0, 0], [9, 0]]


def test_the_largest_set_is_counted_exactly() -> None:
    half = 1 << 30
    assert Runs.box(0, 2 * half - 1, 0, 2 * half - 1).count == 1 << 62
    runs = of([(0, half - 1, 0, half), (half, 2 * half - 1, 5, 2 * half - 1), (7, 7, 3 * half // 2, 2 * half - 1)])
    assert runs.count == half * (half + 1) + half * (2 * half - 5) + half // 2


def test_a_wide_row_is_iterated_without_being_expanded() -> None:
    steps = iter(Runs.box(3, 4, 0, 1 << 40))
    assert [next(steps) for _ in range(3)] == [(3, 0), (3, 1), (3, 2)]


def test_a_union_that_would_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_PIECES", 10)
    with pytest.raises(UsageError, match="cross each other"):
        of([(0, 100, 0, 5), *((r, r, 9, 9) for r in range(0, 60, 2))])
