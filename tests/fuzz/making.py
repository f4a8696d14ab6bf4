"""JSON of any shape, and sound files with a few bytes changed."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st

NUMBERS = st.one_of(
    st.integers(-3, 30),
    st.sampled_from([1e308, -1e308, 1e-300, float("nan"), float("inf"), 2**63, -(2**70), 0.0, -0.0]),
    st.floats(allow_nan=True),
)

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)

CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=6)
"""Where, as a share of the file, and what is changed there (xor)."""


def changed(data: bytes, changes: list[tuple[float, int]], cut: float) -> bytes:
    """The same bytes with some bits flipped and, below 1, the end cut off."""
    found = bytearray(data[: int(len(data) * cut)] if cut < 1 else data)
    for place, bits in changes:
        if found:
            found[int(place * len(found))] ^= bits
    return bytes(found)
