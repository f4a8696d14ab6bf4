"""What the parts of one run work with, handed from one to the next as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harvester.edges import Request, Source
from harvester.engine.doubt import Doubt
from harvester.engine.feed import Feed
from harvester.engine.repeats import Repeats
from harvester.engine.sites import Sites
from harvester.engine.stop import StopReason
from harvester.engine.tally import Tally
from harvester.engine.witness import Witness
from harvester.engine.writer import Writer
from harvester.job import Limits
from harvester.pacing import RetryHeap
from harvester.tiling.tile import Tile


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """``wake``, ``stop`` and ``renew`` never block. ``clock`` in monotonic seconds, ``draw`` in [0, 1)."""

    source: Source
    feed: Feed
    writer: Writer
    sites: Sites
    witness: Witness
    tally: Tally
    doubt: Doubt
    repeats: Repeats
    waiting: RetryHeap[Request]
    """What is tried again later. Its host is the one where it failed last."""
    limits: Limits
    clock: Callable[[], float]
    draw: Callable[[], float]
    wake: Callable[[], None]
    stop: Callable[[StopReason], None]
    renew: Callable[[], None]
    stored_body: Callable[[Tile], bytes | None]
