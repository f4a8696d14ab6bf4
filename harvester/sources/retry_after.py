"""How long a server asks to wait: ``Retry-After`` as seconds or as a date (RFC 9110, 10.2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_SECONDS = 30 * 86400.0
"""A longer wait is a mistake or a refusal, and is ignored."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, 0 or more; None when the header is missing, garbage, negative or beyond MAX_SECONDS.

    A date is counted from the answer's own ``Date``, not from our clock, which may be wrong; without one it is ignored.
    ``headers`` has lower-case names.
    """
    value = headers.get("retry-after", "").strip()
    if not value or not value.isascii():
        return None
    if value.isdigit():
        return float(value) if len(value) <= 9 and float(value) <= MAX_SECONDS else None
    until, now = _date(value), _date(headers.get("date", ""))
    if until is None or now is None:
        return None
    seconds = max(0.0, (until - now).total_seconds())
    return seconds if seconds <= MAX_SECONDS else None


def _date(text: str) -> datetime | None:
    """An HTTP date in any of its three spellings; None for anything else. asctime has no zone and means UTC."""
    try:
        date = parsedate_to_datetime(text.strip())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        return date.replace(tzinfo=UTC)
    return date
