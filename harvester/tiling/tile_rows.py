"""What the tiles of one LOD can be asked, however they are held: as row runs, or as bands that are scanned again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from harvester.tiling.intervals import Ints
    from harvester.tiling.runs import Runs


class Band(NamedTuple):
    """What is remembered of some rows: ``low`` to ``high``, inclusive, whole block rows where they can be."""

    low: int
    high: int
    tiles: int = 0
    runs: int = 0
    bounds: tuple[int, int, int, int] | None = None
    """``row_min, row_max, col_min, col_max`` of its tiles, inclusive; None when it has none."""


class TileRows(Protocol):
    """A set of tiles of one LOD. Rows and columns ascend wherever tiles come out; bounds are inclusive.

    Promises: the same question has the same answer, however often it is asked; what is asked row after row costs memory
    by the tallest band, not by the set.
    """

    @property
    def count(self) -> int:
        """How many tiles."""

    @property
    def run_count(self) -> int:
        """How many row runs, where a run that goes on in the next band counts once in each."""

    @property
    def bounds(self) -> tuple[int, int, int, int] | None:
        """``row_min, row_max, col_min, col_max``; None when empty."""

    def __bool__(self) -> bool: ...

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Every tile as (row, col), row by row, in flat memory."""

    def parts(self) -> Iterator[Runs]:
        """The canonical runs of the whole set in pieces, from top to bottom."""

    def bands(self) -> Iterator[tuple[int, int]]:
        """First and last row of groups of rows that hold the same columns."""

    def cuts(self) -> list[int]:
        """Rows at which work on this set is best cut, ascending; none where it is small enough to be done at once."""

    def known(self, low: int, high: int) -> Band | None:
        """What lies in some rows, where that is told without scanning; else None."""

    def between(self, row_min: int, row_max: int) -> Runs:
        """The runs in some rows, at once."""

    def rows_between(self, row_min: int, row_max: int) -> tuple[Ints, Ints, Ints]:
        """Runs of each single row between two rows: ``rows, first, last``. Allocates per row."""

    def contains(self, row: int, col: int) -> bool:
        """Whether a tile is in the set."""

    def tiles_before_row(self, row: int) -> int:
        """How many tiles lie above a row."""

    def row_of(self, k: int) -> int:
        """The row of the k-th tile, counted from 0 row by row."""

    def clip(self, row_min: int, row_max: int, col_min: int, col_max: int) -> TileRows:
        """The tiles within a rectangle."""
