"""Where a planned tile stands, and the tiles of a block as arrays."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    """A block's tiles: shape (128, 128), row-major, True where it holds."""

    States = NDArray[np.uint8]
    """A block's states: shape (128, 128), row-major, values of ``State``."""


class State(IntEnum):
    """Where a planned tile stands. Every planned tile ends in exactly one of STORED, UNCHANGED, ABSENT, FAILED."""

    UNPLANNED = 0
    PENDING = 1
    STORED = 2
    ABSENT = 3
    FAILED = 4
    UNCHANGED = 5
