"""Has the share of refusals become higher than usual? Sequential tests that need a step per refusal, none per good
answer."""

from __future__ import annotations

import math


class Odds:
    """A sum of log-likelihood ratios of a higher share against the usual one, held above a floor.

    With a floor of 0 it is Page's cumulative sum (Page 1954, "Continuous inspection schemes"): by chance it reaches
    ``h`` less than once in e^h answers. With one below 0 it is Wald's test as well (Wald 1945, "Sequential tests of
    statistical hypotheses"): at the floor the usual share is accepted.
    """

    __slots__ = ("_floor", "_gain", "_loss", "_value")

    def __init__(self) -> None:
        self._value = 0.0
        self._floor = self._gain = self._loss = 0.0

    def weigh(self, usual: float, higher: float, floor: float = 0.0) -> None:
        """From now on these shares, both in (0, 1), are held against each other."""
        self._gain = math.log(higher / usual)
        self._loss = math.log((1.0 - usual) / (1.0 - higher))
        self._floor = floor

    def refused(self, good: int) -> float:
        """So many good answers came, then a refusal; gives the logarithm of the odds."""
        self._value = self.after(good) + self._gain
        return self._value

    def good(self, number: int) -> None:
        """So many good answers came."""
        self._value = self.after(number)

    def after(self, good: int) -> float:
        """The logarithm of the odds after so many good answers more."""
        return max(self._floor, self._value - good * self._loss)

    def clear(self) -> None:
        """Nothing is known of the share of now."""
        self._value = 0.0

    def __repr__(self) -> str:
        return f"Odds({self._value:.1f})"
