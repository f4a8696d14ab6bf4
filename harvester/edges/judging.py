"""What an answer means: for a tile (Verdict), and for a whole tilemap window."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from harvester.edges.states import Mask


class Outcome(Enum):
    """What a verdict means for the tile; the engine acts on nothing else."""

    WHOLE = "whole"
    """``body`` is a whole tile: store it."""
    ABSENT = "absent"
    """The source says that there is no such tile."""
    UNCHANGED = "unchanged"
    """304 to a conditional request (``Request.headers``): what the cache holds is current. To any other it is RETRY."""
    RETRY = "retry"
    """The tile's own fault: try again, up to the retry limit, then FAILED with this reason."""
    THROTTLED = "throttled"
    """The host is busy (429, 503): wait and try again without using up the tile's tries."""
    DENIED = "denied"
    """401, 498, 499: renew the credential and ask once more."""
    FAILED = "failed"
    """Wrong in a way that asking again won't mend (403, 400, placeholder of another size ...)."""


PASSING = frozenset({408, 409, 421, 423, 425})
"""Client errors by status that say nothing lasting of what was asked for, and are tried again like a 5xx: a connection
that was too slow or not the right one, a conflict with the state of now (RFC 9110, 15.5.9, 15.5.10 and 15.5.20), a lock
(RFC 4918, 11.3), too early (RFC 8470, 5.2)."""


class Verdict(NamedTuple):
    """What an answer means. ``reason`` is a stable word such as ``http_500``, ``not_an_image``, ``truncated``."""

    outcome: Outcome
    reason: str = ""
    body: bytes = b""
    kind: str = ""
    """Of a whole tile: ``png``, ``jpg``, ``webp``, ``gif``, ``lerc``, ``pbf``."""
    retry_after: float | None = None
    """Seconds that the server asked to wait, already made sane."""


class WindowAnswer(NamedTuple):
    """What a tilemap window says: ``present[i, j]`` for tile (top + i, left + j). Tiles outside it were not
    answered."""

    level: int
    top: int
    left: int
    present: Mask
