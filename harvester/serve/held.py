"""Answers held in memory up to a number of bytes, the least recently asked dropped first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple


class Held(NamedTuple):
    """One answer, ready to send."""

    body: bytes
    etag: str
    content_type: str


ENTRY_OVERHEAD_BYTES = 400
"""Python's own bytes for one entry (key, strings, links), so that a million tiny tiles count too."""


class HeldAnswers:
    """Answers by key; ``None`` is held too: a tile known to be absent. Not thread-safe."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._bytes = 0
        self._held: OrderedDict[Hashable, Held | None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<HeldAnswers {len(self._held)} answers, {self._bytes} of {self._limit} bytes>"

    def __contains__(self, key: Hashable) -> bool:
        return key in self._held

    @property
    def bytes(self) -> int:
        """Bytes counted now; never more than the limit."""
        return self._bytes

    def get(self, key: Hashable) -> Held | None:
        """The answer under a key that is held; KeyError otherwise."""
        held = self._held[key]
        self._held.move_to_end(key)
        return held

    def put(self, key: Hashable, held: Held | None) -> None:
        """Hold an answer, dropping old ones until it fits; one larger than the limit isn't held."""
        size = _size(held)
        if key in self._held:
            self._bytes -= _size(self._held.pop(key))
        if size > self._limit:
            return
        while self._held and self._bytes + size > self._limit:
            self._bytes -= _size(self._held.popitem(last=False)[1])
        self._held[key] = held
        self._bytes += size


def _size(held: Held | None) -> int:
    return ENTRY_OVERHEAD_BYTES + (len(held.body) if held else 0)
