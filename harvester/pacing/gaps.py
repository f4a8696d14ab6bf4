"""Do refusals come after about as many requests each time? Those of a limit that is forgotten in every pause do; by
chance they come after as many as that and after many more."""

from __future__ import annotations

import math

VARIES = 3.0
"""The most over the least from which they vary: a host that counts its own whole seconds serves one or two of them."""

TIMES = 5
"""Times within that from which they are even: by chance once in 23 (of so many waits with no memory)."""


class Gaps:
    """Told how many requests went well after each pause until one was refused (``after``)."""

    __slots__ = ("_least", "_most", "_times")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Nothing is known."""
        self._times = 0
        self._least, self._most = math.inf, 0.0

    def after(self, requests: float) -> None:
        """One was refused after so many."""
        self._times += 1
        self._least = min(self._least, requests)
        self._most = max(self._most, requests)

    def vary(self, requests: float) -> bool:
        """True when they vary, where so many have gone well by now; also when there were none."""
        return max(self._most, requests) >= VARIES * self._least or not self._times

    @property
    def are_even(self) -> bool:
        """True once they have been alike too often."""
        return self._times >= TIMES and self._most < VARIES * self._least

    def __repr__(self) -> str:
        return f"Gaps({self._times} between {self._least:.0f} and {self._most:.0f})"
