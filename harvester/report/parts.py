"""What reports are made of: tiles by state, a LOD, a failed tile, what the time went for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from harvester.events import Counts

EXIT_ORDER = (143, 130, 4, 3, 2, 1, 0)
"""When several hold, the first of these wins."""


class ByState:
    """Tiles by state under the names that the JSON has; each gives ``counts`` of its own."""

    __slots__ = ()

    def _by_state(self) -> Counts:
        raise NotImplementedError

    @property
    def planned(self) -> int:
        """Tiles of this job's plan: the sum of the following five."""
        return self._by_state().planned

    @property
    def stored(self) -> int:
        """Tiles in the cache, by this run or before it."""
        return self._by_state().stored

    @property
    def unchanged(self) -> int:
        """Tiles that a refresh found to be current."""
        return self._by_state().unchanged

    @property
    def absent(self) -> int:
        """Tiles that the source says are not there."""
        return self._by_state().absent

    @property
    def failed(self) -> int:
        """Tiles that were wrong after all tries."""
        return self._by_state().failed

    @property
    def pending(self) -> int:
        """Tiles without an end yet."""
        return self._by_state().pending


@dataclass(frozen=True, slots=True, kw_only=True)
class LodReport(ByState):
    """One LOD of a job: its number, its scale denominator, its tiles by state (``planned``, ``stored`` ...)."""

    level: int
    scale: float
    counts: Counts

    def _by_state(self) -> Counts:
        return self.counts


def summed(parts: Iterable[Counts]) -> Counts:
    """Tiles by state, of several parts together."""
    return Counts(*(sum(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTile:
    """A tile that failed, and why."""

    level: int
    row: int
    col: int
    reason: str
    """A stable word."""
    detail: str = ""
    """What came, for a person; with the host where there was no connection."""


class Took(NamedTuple):
    """Seconds of a run by what it did: opening and planning, asking for tiles and writing them, and describing,
    sealing or swapping the cache."""

    preparing: float = 0.0
    fetching: float = 0.0
    finishing: float = 0.0
