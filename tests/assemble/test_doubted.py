"""Of which LODs a tilemap denied tiles in a run."""

from __future__ import annotations

from harvester.assemble.doubted import denied_levels
from harvester.edges import State
from harvester.engine import Tally
from harvester.tiling.tile import Tile


def test_lods_where_more_is_absent_than_answers_said_were_denied():
    tally = Tally()
    for level, absent in ((3, 10), (4, 10), (5, 10)):
        tally.add(level, State.ABSENT, absent)
    tally.absences.update({(3, "http_404"): 10, (4, "http_404"): 4, (4, "blank_tile"): 1})
    assert denied_levels(tally, {5: 10}) == [4]


def test_tiles_that_failed_before_and_are_denied_again_are_no_word_on_others():
    tally = Tally()
    tally.add(4, State.ABSENT, 12)
    failed = [Tile(4, 0, col) for col in range(3)]
    assert denied_levels(tally, {4: 9}, failed) == []
    assert denied_levels(tally, {4: 8}, failed) == [4]
    tally.absences[4, "http_404"] = 2  # perhaps of these
    assert denied_levels(tally, {4: 9}, failed) == [4]
