"""The log's bookkeeping: windows of time, concurrency, tries."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.testing import RequestLog
from harvester.testing.log import Asked, Place
from harvester.tiling.tile import Tile

TILE = Tile(1, 0, 0)


def note(log: RequestLog, at: float, *, kind: str = "tile", tile: Tile | None = TILE, target: str = "/") -> Asked:
    place = Place(kind, tile)
    return log.add(at=at, connection=1, nth=1, method="GET", target=target, raw=b"", body=b"", place=place)


# Eighths of a second, so that sums and differences are exact.
times = st.lists(st.integers(0, 160).map(lambda eighths: eighths / 8), max_size=40)


@given(times, st.sampled_from([0.5, 1.0, 3.0]))
@settings(max_examples=100, deadline=None)
def test_the_fullest_window_is_found_wherever_it_starts(starts: list[float], seconds: float) -> None:
    log = RequestLog()
    for at in starts:
        note(log, at)
    brute = max((sum(first <= at < first + seconds for at in starts) for first in starts), default=0)
    assert log.max_in_window(seconds) == brute


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=30))
@settings(max_examples=100, deadline=None)
def test_the_most_at_one_time_is_found(spans: list[tuple[int, int]]) -> None:
    log = RequestLog()
    for start, length in spans:
        log.end(note(log, start), start + length)
    brute = max((sum(a <= moment < a + n for a, n in spans) for moment in range(45)), default=0)
    assert log.max_concurrency() == brute
    assert log.in_progress == 0


def test_tries_and_serials_count_what_is_alike() -> None:
    log = RequestLog()
    one, two = Tile(3, 1, 1), Tile(3, 1, 2)
    for tile in (one, two, one):
        note(log, 0.0, tile=tile)
    note(log, 0.0, kind="tilemap", tile=one)
    for _ in range(2):
        note(log, 0.0, kind="document", tile=None, target="/a?f=json")
    assert [asked.try_number for asked in log] == [1, 1, 2, 1, 1, 2]
    assert [asked.serial for asked in log] == [1, 2, 3, 4, 5, 6]
    assert [asked.serial_of_kind for asked in log] == [1, 2, 3, 1, 1, 2]
    assert [asked.concurrency for asked in log] == [1, 2, 3, 4, 5, 6]
    assert [asked.serial for asked in log.requests_of(one)] == [1, 3]
    assert log.tiles() == {one: 2, two: 1}
    assert (log.count(), log.count("tile"), log.count("token")) == (6, 3, 0)
    log.clear()
    assert (len(log), log.count("tile"), log.tiles()) == (0, 0, {})


def test_a_request_ends_once() -> None:
    log = RequestLog()
    asked = note(log, 1.0)
    log.end(asked, 2.0)
    log.end(asked, 3.0)
    assert (log.in_progress, asked.ended) == (0, 2.0)


def test_a_bounded_log_forgets_the_oldest_and_goes_on_counting() -> None:
    log = RequestLog(keep=10)
    for at in range(95):
        note(log, float(at))
    assert 10 <= len(log) <= 20
    assert (log.count(), log[-1].serial, log[-1].try_number) == (95, 95, 95)


def test_a_request_that_has_no_end_still_counts() -> None:
    log = RequestLog()
    for at in range(4):
        note(log, float(at))
    assert log.max_concurrency() == 4
    assert [asked.serial for asked in log.between(1.0, 3.0)] == [2, 3]


def test_headers_query_and_form_are_read_from_what_came() -> None:
    log = RequestLog()
    raw = b"POST /a%20b?x=1&y=a+b HTTP/1.1\r\nHost: here\r\nX-One: 1\r\nx-one: 2\r\n"
    asked = log.add(
        at=0,
        connection=1,
        nth=1,
        method="POST",
        target="/a%20b?x=1&y=a+b",
        raw=raw,
        body=b"username=j%C3%B6&empty=",
        place=Place("other"),
    )
    assert asked.headers == {"host": "here", "x-one": "1, 2"}
    assert asked.query == {"x": "1", "y": "a b"}
    assert asked.form == {"username": "jö", "empty": ""}
    assert asked.path == "/a%20b"
