"""A tile's address, the block it lives in, and the other ways in which formats write the same address."""

from __future__ import annotations

from typing import NamedTuple

BLOCK = 128
"""Rows and columns of one bundle block (Esri compact cache, packet size 128); also the unit of plan order and
ledger."""

BLOCK_TILES = BLOCK * BLOCK


class Tile(NamedTuple):
    """One tile of a tiling scheme. ``level`` is the scheme's own number; row 0 is at the origin (top), growing
    downwards."""

    level: int
    row: int
    col: int

    def __str__(self) -> str:
        return f"{self.level}/{self.row}/{self.col}"


class BlockKey(NamedTuple):
    """The 128 x 128 block that a tile lives in: its level and the row and column of its first tile (multiples of
    128)."""

    level: int
    row: int
    col: int

    def position(self, tile: Tile) -> int:
        """Row-major position of a tile in this block, 0..16383."""
        return (tile.row - self.row) * BLOCK + (tile.col - self.col)

    def tile(self, index: int) -> Tile:
        """The tile at a row-major position, 0..16383."""
        return Tile(self.level, self.row + index // BLOCK, self.col + index % BLOCK)


def block_of(tile: Tile) -> BlockKey:
    """The block that a tile lives in."""
    return BlockKey(tile.level, tile.row & ~127, tile.col & ~127)


def tms_row(zoom: int, row: int) -> int:
    """Row counted from the bottom, as TMS and MBTiles 1.3 write it; its own inverse. ``zoom`` is a Google zoom,
    2**zoom rows."""
    return (1 << zoom) - 1 - row
