"""Errors that ArcGIS states in a body, most often under HTTP 200: ``{"error": {"code": 498, "message": ...}}``."""

from __future__ import annotations

import json
from typing import NamedTuple

MAX_ERROR_BYTES = 64 << 10
"""Larger JSON is no error message and isn't parsed to look for one."""

_SPACE = b"\xef\xbb\xbf \t\r\n"


class StatedError(NamedTuple):
    """An ArcGIS error. ``code`` is 0 where the body gives none that reads as a number."""

    code: int
    message: str


def stated_error(body: bytes) -> StatedError | None:
    """The error that a body states, None when it is something else. Never raises."""
    if len(body) > MAX_ERROR_BYTES or body[:16].lstrip(_SPACE)[:1] != b"{":
        return None
    try:
        document = json.loads(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or "error" not in document:
        return None
    error = document["error"]
    if not isinstance(error, dict):
        return StatedError(0, error if isinstance(error, str) else "")
    message = error.get("message")
    return StatedError(_code(error.get("code")), message if isinstance(message, str) else "")


def status_in(body: bytes) -> int:
    """The status that a body stands for in spite of its 200: 0 for none, 400 for an error without a usable code."""
    error = stated_error(body)
    if error is None:
        return 0
    return error.code if 400 <= error.code < 600 else 400


def _code(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 10:
        return int(value)
    return 0
