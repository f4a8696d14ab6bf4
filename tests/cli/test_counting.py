"""The line that says how many tiles a copy has gone through."""

from __future__ import annotations

import io

from harvester.cli.counting import Counting, counting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_a_second_is_shown_over_the_one_before_and_nothing_stays():
    stream, now = Terminal(), [0.0]
    line = Counting(stream, lambda: now[0])
    for seconds, tiles in ((0.2, 10), (0.9, 50), (1.5, 3000), (1.8, 4000), (4.0, 12_000)):
        now[0] = seconds
        line(tiles)
    first, second = "3,000 tiles  2,000/s", "12,000 tiles  3,000/s"
    assert stream.getvalue() == f"\r{first}\r{second}"
    line.clear()
    assert stream.getvalue() == f"\r{first}\r{second}\r{' ' * len(second)}\r"
    line.clear()
    assert stream.getvalue().endswith(f"\r{' ' * len(second)}\r")


def test_a_copy_that_is_done_at_once_shows_nothing():
    stream = Terminal()
    with counting(quiet=False, stream=stream, clock=lambda: 5.0) as step:
        step(5)
    assert stream.getvalue() == ""


def test_nothing_moves_in_a_log_nor_where_nobody_wants_to_hear():
    now = iter(range(0, 1000, 5))
    for stream, quiet, moves in ((io.StringIO(), False, False), (Terminal(), True, False), (Terminal(), False, True)):
        with counting(quiet=quiet, stream=stream, clock=lambda: float(next(now))) as step:
            step(7)
        assert ("7 tiles" in stream.getvalue()) is moves


def test_a_terminal_that_is_gone_stops_nothing():
    now = iter(range(100))
    stream = Terminal()
    line = Counting(stream, lambda: float(next(now)))
    stream.close()
    line(1)
    line(2)
    line.clear()
