"""One tile that is always busy among good ones is that tile's own trouble; a host that is busy for all is not."""

from __future__ import annotations

from harvester.engine.busy import REMEMBERED, Busy
from harvester.tiling.tile import Tile

A, B = Tile(1, 0, 0), Tile(1, 0, 1)


def test_the_third_time_amid_good_answers_is_the_tiles_own() -> None:
    busy = Busy({})
    assert [busy.saw(A, good) for good in (0, 5, 6, 7)] == [(1, False), (2, False), (3, True), (4, True)]


def test_a_host_that_answers_nobody_well_in_between_is_busy_itself() -> None:
    busy = Busy({})
    assert [busy.saw(A, 3) for _ in range(9)] == [(1, False)] * 9
    busy.saw(A, 4)
    assert busy.saw(A, 5) == (3, True)
    assert busy.saw(A, 5) == (3, False), "and nobody was answered since"


def test_a_host_that_refuses_others_more_than_it_answers_is_busy_itself() -> None:
    busy = Busy({})
    for good in range(20):
        for col in range(2, 5):
            busy.saw(Tile(9, good, col), good)
        assert not busy.saw(A, good)[1]


def test_two_busy_tiles_are_both_told_from_the_host() -> None:
    busy = Busy({})
    own = [(busy.saw(A, good)[1], busy.saw(B, good)[1]) for good in range(0, 50, 10)]
    assert own == [(False, False)] * 2 + [(True, True)] * 3


def test_what_is_remembered_is_bounded() -> None:
    busy = Busy({})
    for col in range(REMEMBERED + 10):
        busy.saw(Tile(20, 0, col), 0)
    assert repr(busy) == f"Busy({REMEMBERED} tiles)"
