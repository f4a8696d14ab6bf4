"""What every walker of a tile's bytes gives: its end and its pixel size, or why it isn't whole."""

from __future__ import annotations

from typing import TypeAlias


class Unwhole(Exception):
    """These bytes are no whole tile. ``reason`` is the stable word of a Verdict; it never leaves this package."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


Found: TypeAlias = tuple[int, int, int]
"""A tile that was walked to its own end: width and height in pixels, and how many bytes belong to it. A plain tuple:
one is made of every tile that comes."""
