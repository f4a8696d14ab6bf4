"""The progress line of ``--progress json`` has every figure of the event."""

from __future__ import annotations

import dataclasses
import json

import pytest

from harvester.cli.progress import JsonLines, People
from harvester.events import Counts, Progress


def test_a_progress_line_has_every_figure(capsys):
    event = Progress(
        counts=Counts(100, 40, 0, 5, 1, 54), ended=58, requests=70, retries=3, throttled=2, bytes=9999, seconds=4.5678,
        tiles_per_second=12.34, eta_seconds=3.6, concurrency=8, paused_seconds=1.24,
    )  # fmt: skip
    JsonLines()(event)
    line = json.loads(capsys.readouterr().err)
    fields = {field.name for field in dataclasses.fields(Progress)} - {"counts"}
    assert set(line) == fields | set(Counts._fields) | {"type"}
    assert (line["ended"], line["pending"], line["tiles_per_second"], line["eta_seconds"]) == (58, 54, 12.3, 4)


@pytest.mark.parametrize(("left", "shown"), [(0.0, None), (0.04, "1 s"), (0.5, "1 s"), (1.0, "1 s"), (1.2, "2 s")])
def test_a_pause_is_told_in_seconds_that_are_left_and_none_is_not(capsys, left, shown):
    event = Progress(
        counts=Counts(100, 40, 0, 0, 0, 60), ended=40, requests=40, retries=0, throttled=1, bytes=9999, seconds=4.0,
        tiles_per_second=10.0, eta_seconds=6.0, concurrency=8, paused_seconds=left,
    )  # fmt: skip
    people = People(moving=False, progress=True, quiet=False, summary=True)
    people(event)
    people(dataclasses.replace(event, is_last=True))
    line = capsys.readouterr().err
    assert ("paused" in line) is (shown is not None)
    assert shown is None or line.rstrip().endswith(f"the server is busy: paused for {shown}")


WHOLE = Progress(
    counts=Counts(100, 60, 0, 40), ended=100, requests=70, retries=0, throttled=0, bytes=9999, seconds=4.0,
    tiles_per_second=10.0, eta_seconds=0.0, concurrency=8,
)  # fmt: skip
"""Every tile has an end."""


@pytest.mark.parametrize("moving", [False, True])
def test_nothing_is_done_before_the_last_word(capsys, moving):
    people = People(moving=moving, progress=True, quiet=False, summary=True)
    for event in (WHOLE, dataclasses.replace(WHOLE, asking="asking 3 tiles"), WHOLE):
        people(event)
    before = capsys.readouterr().err
    assert "done" not in before and "100.0%" not in before
    assert "asking 3 tiles" in before
    people(dataclasses.replace(WHOLE, is_last=True))
    last = capsys.readouterr().err
    assert "100.0%" in last and "done" in last


def test_a_last_word_with_tiles_left_is_no_end_of_all(capsys):
    left = dataclasses.replace(WHOLE, counts=Counts(9999, 9998, 0, 0, 0, 1), ended=9998, eta_seconds=None)
    People(moving=False, progress=True, quiet=False, summary=True)(dataclasses.replace(left, is_last=True))
    line = capsys.readouterr().err
    assert "done" not in line and "100.0%" not in line


def test_where_there_is_no_terminal_it_is_told_at_once_that_something_is_asked_and_once(capsys):
    people = People(moving=False, progress=True, quiet=False, summary=True)
    for number in range(3):
        people(dataclasses.replace(WHOLE, asking=f"asking, {number} answered"))
    assert capsys.readouterr().err.count("asking") == 1
