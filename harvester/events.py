"""What happened in a run, as frozen records; the progress bar, the JSON lines, the report and ``on_event`` all read
these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from harvester.tiling.tile import Tile


class Counts(NamedTuple):
    """Tiles by state; ``planned`` is always the sum of the others."""

    planned: int = 0
    stored: int = 0
    unchanged: int = 0
    absent: int = 0
    failed: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that a person should know and that stops nothing."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The plan is known and the ledger agrees with the cache; tiles are asked from now on."""

    source: str
    output: str
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is, once a second; counts speak of recorded tiles only."""

    counts: Counts
    ended: int
    """Tiles of the plan that have an end, those included that wait to be written: what moves from line to line."""
    requests: int
    retries: int
    throttled: int
    bytes: int
    seconds: float
    tiles_per_second: float
    """Tiles that ended, over the last half minute."""
    eta_seconds: float | None
    """To the end of the plan or of a budget, whichever is nearer; None while nothing honest can be said."""
    concurrency: int
    paused_seconds: float = 0.0
    """How long the host has asked us to wait still."""
    asking: str = ""
    """What is asked though every tile has an end, since the answers may take some of these back; empty while tiles are
    fetched."""
    is_last: bool = False
    """True in the last one, after which nothing changes: none before it says that a run is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileFailed:
    """A tile ended as failed, after it was recorded."""

    tile: Tile
    reason: str
    detail: str = ""
    """What came, for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The run ended; the report says how."""

    report: object


Event = Notice | Started | Progress | TileFailed | Finished
