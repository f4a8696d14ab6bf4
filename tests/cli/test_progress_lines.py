"""The progress line of ``--progress json`` has every figure of the event."""

from __future__ import annotations

import dataclasses
import json
import os
import sys

import pytest

from harvester.cli.progress import JsonLines, People
from harvester.events import Counts, Progress


@pytest.fixture
def terminal(monkeypatch):
    """Makes stderr a terminal of so many columns; gives what reads what is on it since the last time."""
    import fcntl
    import pty
    import struct
    import termios

    screen, line = pty.openpty()
    stream = os.fdopen(line, "w", encoding="utf-8")

    def of(columns: int):
        monkeypatch.setattr(sys, "stderr", stream)
        fcntl.ioctl(line, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        return lambda: os.read(screen, 4096).decode()

    yield of
    monkeypatch.undo()
    stream.close()
    os.close(screen)


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


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (160, "[########            ]  40.0%  4,000/10,000 tiles  12/s  9.9 MB  ETA 12:05  7 absent  2 failed"
         "  31 retries  the server is busy: paused for 9 s"),
        (100, " 40.0%  4,000/10,000 tiles  12/s  9.9 MB  ETA 12:05  7 absent  2 failed  31 retries  paused for 9 s"),
        (80, " 40.0%  4,000/10,000 tiles  paused for 9 s  7 absent  2 failed  31 retries"),
        (50, " 40.0%  4,000/10,000 tiles  paused for 9 s"),
        (30, " 40.0%  4,000/10,000 tiles"),
        (12, " 40.0%  4,0"),
    ],
)  # fmt: skip
def test_what_there_is_no_room_for_goes_as_a_whole_and_a_pause_last(terminal, columns, shown):
    event = Progress(
        counts=Counts(10_000, 3991, 0, 7, 2, 6000), ended=4000, requests=4040, retries=31, throttled=1, bytes=9_900_000,
        seconds=4.0, tiles_per_second=12.0, eta_seconds=725.0, concurrency=8, paused_seconds=8.2,
    )  # fmt: skip
    screen = terminal(columns)
    People(moving=True, progress=True, quiet=False, summary=True)(event)
    assert screen() == "\r" + shown


def test_a_line_is_wiped_no_further_than_a_terminal_that_became_narrower_reaches(terminal):
    people = People(moving=True, progress=True, quiet=False, summary=True)
    screen = terminal(120)
    people(dataclasses.replace(WHOLE, asking="asking three tiles whether the tilemap is right"))
    screen()
    screen = terminal(40)
    people(WHOLE)
    assert len(screen()) == 40


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
