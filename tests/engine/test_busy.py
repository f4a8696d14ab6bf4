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


def test_tiles_that_are_refused_each_time_amid_good_ones_are_their_own_trouble_from_the_first_time_on() -> None:
    """Every second tile is, so a majority can't tell; that none of those asked again is ever served does."""
    busy = Busy({})
    good = 0
    for _ in range(3):
        for col in range(8):
            good += 1
            busy.saw(Tile(9, 0, col), good)
    assert busy.wants_trial and not busy.is_presumed, "a limit does as much to what is in flight: a trial tells"
    busy.presume()
    assert busy.saw(Tile(9, 5, 5), good) == (1, True)
    assert busy.is_bad(10) and not busy.is_bad(9)


def test_a_tile_that_is_served_after_all_speaks_for_a_busy_host() -> None:
    busy = Busy({})
    busy.presume()
    busy.saw(A, 3)
    busy.served(A)
    assert not busy.is_presumed
    assert busy.saw(B, 3) == (1, False)
    assert A not in busy.seen


def test_one_such_tile_amid_many_that_never_are_does_not() -> None:
    busy = Busy({})
    busy.presume()
    for good in range(0, 60, 2):
        busy.saw(A, good)
    busy.saw(B, 60)
    busy.served(B)
    assert busy.is_presumed
    for col in range(12):
        busy.saw(tile := Tile(9, 9, col), 61)
        busy.served(tile)
    assert not busy.is_presumed


def test_the_more_a_host_refuses_the_more_often_one_of_its_tiles_must_be_refused_to_be_bad() -> None:
    calm, rough = Busy({}), Busy({})
    for good in range(0, 40, 2):
        calm.saw(A, good)
    for good in range(40):
        for col in range(1 + good % 2):
            rough.saw(Tile(9, good, col), good)
    assert calm.is_bad(10)
    assert not rough.is_bad(10)


def test_a_row_without_a_good_answer_wants_a_known_tile_asked_ever_more_seldom() -> None:
    busy = Busy({})
    busy.presume()
    asked = []
    for number in range(300):
        busy.saw(Tile(9, 1, number), 5)
        if busy.wants_check:
            asked.append(number)
            busy.check()
    assert asked == [31, 95, 223]
