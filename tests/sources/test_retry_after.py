"""Retry-After in both of its forms, and what it must not be believed."""

from __future__ import annotations

import pytest

from harvester.sources.retry_after import retry_after

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
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("1e9", None),
        ("999999999", None),
        ("9" * 400, None),
        ("٣", None),
        ("Sun, 22 Nov 2099 12:00:00 GMT", None),
        ("Sun, 99 Nov 2026 12:00:00 GMT", None),
        ("120, 240", None),
    ],
)
def test_each_spelling_gives_seconds_or_is_ignored(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value, "date": NOW}) == seconds


def test_a_date_is_counted_by_the_clock_of_the_server() -> None:
    wrong_clock = {"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT", "date": "Thu, 01 Jan 1970 00:00:00 GMT"}
    assert retry_after(wrong_clock) == 60.0


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_a_date_without_the_servers_own_time_is_ignored(date: str) -> None:
    assert retry_after({"retry-after": "Sun, 22 Nov 2026 12:01:30 GMT", "date": date}) is None


def test_no_header_is_no_wait() -> None:
    assert retry_after({}) is None
