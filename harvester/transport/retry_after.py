"""How long a server asks to wait: ``Retry-After`` as seconds or as a date (RFC 9110, 10.2.3)."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

MAX_SECONDS = 30 * 86400.0
"""A longer wait is a mistake or a refusal, and is ignored."""

MOST_VALUES = 16
"""Headers of one answer that are read: a server sends one, a server behind a proxy two."""

_VALUE = re.compile(r"\s*(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,[^,]*|[^,]+", re.IGNORECASE)
"""One of several values that are joined by commas; a date holds one of its own, after the day of the week."""

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?")
"""Seconds; some servers write a fraction, which the RFC does not know."""


def retry_after(headers: Mapping[str, str], clock: Callable[[], float] = time.time) -> float | None:
    """Whole seconds to wait, 0 or more; None when the header is missing, garbage, negative or beyond MAX_SECONDS.

    Of several (joined by commas, as any repeated header is) the longest that is none of these counts. A date is counted
    from the answer's own ``Date``; only without one from our clock (seconds since 1970), which may be wrong.
    ``headers`` has lower-case names.
    """
    value = headers.get("retry-after", "")
    if not value or not value.isascii():
        return None
    waits = (_seconds(text.strip(), headers, clock) for text in _values(value))
    return max((wait for wait in waits if wait is not None and wait <= MAX_SECONDS), default=None)


def _values(text: str) -> Iterator[str]:
    for number, found in enumerate(_VALUE.finditer(text)):
        if number == MOST_VALUES:
            return
        yield found[0]


def _seconds(text: str, headers: Mapping[str, str], clock: Callable[[], float]) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(math.ceil(float(text)))
    until = _date(text) if text else None
    if until is None:
        return None
    now = _date(headers.get("date", "")) or datetime.fromtimestamp(clock(), UTC)
    return max(0.0, (until - now).total_seconds())


def _date(text: str) -> datetime | None:
    """An HTTP date in any of its three spellings; None for anything else. asctime has no zone and means UTC."""
    from email.utils import parsedate_to_datetime  # a fifth of what importing the transport costs, and rarely needed

    try:
        date = parsedate_to_datetime(text.strip())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        return date.replace(tzinfo=UTC)
    return date
