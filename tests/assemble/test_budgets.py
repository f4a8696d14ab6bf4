"""What is left of a run's budgets for its second part."""

from __future__ import annotations

import pytest

from harvester.assemble.budgets import limits_left
from harvester.engine import StopReason, Tally
from harvester.job import Limits


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        (Limits(), Limits()),
        (Limits(max_tiles=100, max_bytes=5000, max_duration_seconds=60.0), (60, 4000, 50.0)),
        (Limits(max_tiles=40), "--max-tiles 40 "),
        (Limits(max_bytes=1000), "--max-bytes 1000 "),
        (Limits(max_duration_seconds=10.0), "--max-duration 10 s "),
    ],
)
def test_budgets_hold_for_a_run_in_two_parts(limits, left):
    tally = Tally(fetched=40, bytes=1000)
    found = limits_left(limits, tally, 10.0)
    if isinstance(left, str):
        assert isinstance(found, StopReason) and left in found.message
    elif isinstance(left, tuple):
        assert (found.max_tiles, found.max_bytes, found.max_duration_seconds) == left
    else:
        assert found == left
