"""Two answers to refusals that the pace alone doesn't end: a rate that is tried below a refused level, and pauses that
grow while the host refuses whatever it is asked."""

from __future__ import annotations

import math
from collections.abc import Callable

from harvester.pacing.retry import backoff

SOON_SECONDS = 0.5
FIRST_TRIAL_SECONDS = 4.0
TRIAL_FACTOR = 4.0
LAST_TRIAL_SECONDS = 256.0
"""The first trial comes as soon as a level is held, each further one after four times the time: one costs a refusal or
two."""


class Trials:
    """When a rate is tried in the place of a level of requests in flight. ``level``: the one to go back to while it is
    only tried; ``at``: when the trial began, or when the next one is due."""

    __slots__ = ("_every", "at", "level")

    def __init__(self) -> None:
        self.level: int | None = None
        self.at = math.inf
        self._every = FIRST_TRIAL_SECONDS

    @property
    def any_failed(self) -> bool:
        """True once a rate above what a level brings was refused: the level brings hardly less than is allowed."""
        return self._every > FIRST_TRIAL_SECONDS

    def on_refused_level(self, now: float) -> None:
        """A level was refused: the first trial comes soon."""
        if self.at == math.inf:
            self.at = now + SOON_SECONDS

    def begin(self, now: float, level: int) -> None:
        """A rate is tried from now on."""
        self.level, self.at = level, now

    def is_of(self, started: float) -> bool:
        """True for a request that was started in the trial that is on."""
        return self.level is not None and started >= self.at

    def fail(self, now: float) -> int:
        """It was refused: gives the level to go back to."""
        level, self.level = self.level, None
        assert level is not None
        self.at = now + self._every
        self._every = min(self._every * TRIAL_FACTOR, LAST_TRIAL_SECONDS)
        return level

    def __repr__(self) -> str:
        return "Trials()" if self.level is None else f"Trials(from {self.level})"


class Silence:
    """Pauses in a row for refusals where the pace can't be less. ``number``: how many there were."""

    __slots__ = ("_since", "number")

    def __init__(self) -> None:
        self.number = 0
        self._since = -math.inf  # when the last of them began: what was started before is no further one

    def seconds(self, now: float, started: float, draw: Callable[[], float]) -> float:
        """How long to pause for the refusal of a request; 0.0 where it is part of the last pause's. ``draw`` gives
        random numbers in [0, 1)."""
        if started < self._since:
            return 0.0
        self._since = now
        self.number += 1
        return backoff(self.number, draw(), throttled=True)

    def end(self) -> None:
        """The host answered."""
        self.number = 0
