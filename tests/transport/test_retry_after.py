"""Retry-After in both of its forms, and what it must not be believed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from harvester.transport.retry_after import MOST_VALUES, retry_after

NOW = "Sun, 22 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("86400", 86400.0),
        ("Sun, 22 Nov 2026 12:01:30 GMT", 90.0),
        ("Sunday, 22-Nov-26 12:00:05 GMT", 5.0),
        ("Sun Nov 22 12:00:10 2026", 10.0),
        ("Sun, 22 Nov 2026 14:00:00 +0200", 0.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("-5", None),
        ("1.5", 2.0),
        ("0.2", 1.0),
        ("7.", 7.0),
        ("\t9 ", 9.0),
        ("soon", None),
        ("", None),
        ("1e9", None),
        ("999999999", None),
        ("9" * 400, None),
        ("٣", None),
        ("Sun, 22 Nov 2099 12:00:00 GMT", None),
        ("Sun, 99 Nov 2026 12:00:00 GMT", None),
        ("120, 240", 240.0),
        ("240, 120", 240.0),
        ("soon, 3", 3.0),
        ("-5, 3,", 3.0),
        (", ,", None),
        ("99999999999, 4", 4.0),
        ("Sun, 22 Nov 2026 12:01:30 GMT, 100", 100.0),
        ("5, Sun, 22 Nov 2026 12:01:30 GMT, soon", 90.0),
        ("Sun, 22 Nov 2026 12:01:30 GMT, Sunday, 22-Nov-26 12:02:30 GMT", 150.0),
        ("Sun Nov 22 12:00:10 2026, Sun Nov 22 12:00:20 2026", 20.0),
        ("+5", None),
        ("0x10", None),
        ("inf", None),
        ("nan", None),
        ("1,5", 5.0),
        ("5;x", None),
    ],
)
def test_each_spelling_gives_seconds_or_is_ignored(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value, "date": NOW}) == seconds


def test_a_date_is_counted_by_the_clock_of_the_server() -> None:
    wrong_clock = {"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT", "date": "Thu, 01 Jan 1970 00:00:00 GMT"}
    assert retry_after(wrong_clock) == 60.0


@pytest.mark.parametrize("date", ["", "yesterday"])
@pytest.mark.parametrize(("now", "seconds"), [(0, 90.0), (60, 30.0), (3600, 0.0), (-90 * 86400, None)])
def test_a_date_without_the_servers_own_time_is_counted_by_ours(date: str, now: float, seconds: float | None) -> None:
    clock = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp() + now
    headers = {"retry-after": "Sun, 22 Nov 2026 12:01:30 GMT", "date": date}
    assert retry_after(headers, lambda: clock) == seconds


def test_a_header_of_many_values_is_not_read_to_its_end() -> None:
    assert retry_after({"retry-after": "1, " * MOST_VALUES + "9"}) == 1.0


def test_no_header_is_no_wait() -> None:
    assert retry_after({}) is None
