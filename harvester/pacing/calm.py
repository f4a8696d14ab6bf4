"""What a host's latency is without queueing, and whether its answers wait in line now: the latency gradient that slows
the pace down before the first refusal comes."""

from __future__ import annotations

import math

SURE_ANSWERS = 12
"""Fewest answers whose mean latency tells queueing: of four that vary by half, one mean in ten is 1.5 times another."""

QUEUEING = 1.5
"""Latency over the calm one from which answers are taken to wait in line. Noise of a factor two stays below."""

QUIET_SECONDS = 0.02
"""A host that answers within this isn't slowed down for its latency, whatever it was before."""


class Calm:
    """The least mean latency of a window, in seconds: ``math.inf`` until one was seen."""

    __slots__ = ("_few", "_few_seconds", "seconds")

    def __init__(self) -> None:
        self.seconds = math.inf
        self._few = 0  # answers of the windows that were too short to tell it each by itself
        self._few_seconds = 0.0

    def queues(self, latency: float) -> bool:
        """True when answers that take so long in the mean are taken to wait in line."""
        return latency > QUEUEING * self.seconds and latency > QUIET_SECONDS

    def clean(self, answers: int, whole: int, seconds: float) -> None:
        """A clean window of so many answers, of which the whole ones took so long in all."""
        if answers < SURE_ANSWERS:  # until there are enough: the mean of all
            self._few += whole
            self._few_seconds += seconds
            self.seconds = self._few_seconds / self._few
        else:
            self.seconds = min(self.seconds, seconds / whole)

    def holding(self, answers: int, latency: float) -> None:
        """A window of so many answers while nothing was changed."""
        if answers >= SURE_ANSWERS:
            self.seconds = min(self.seconds, latency)

    def slower(self, latency: float) -> None:
        """The host has become slower by itself: this is its calm now."""
        self.seconds = latency

    def forget(self) -> None:
        """The host may have become another."""
        self.seconds = math.inf

    def __repr__(self) -> str:
        return f"Calm({self.seconds:.3f} s)"
