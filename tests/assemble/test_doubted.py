"""Of which LODs a tilemap denied tiles in a run."""

from __future__ import annotations

from harvester.assemble.doubted import denied_levels
from harvester.edges import State
from harvester.engine import Tally


def test_lods_where_more_is_absent_than_answers_said_were_denied():
    tally = Tally()
    for level, absent in ((3, 10), (4, 10), (5, 10)):
        tally.add(level, State.ABSENT, absent)
    tally.absences.update({(3, "http_404"): 10, (4, "http_404"): 4, (4, "blank_tile"): 1})
    assert denied_levels(tally, {5: 10}) == [4]
