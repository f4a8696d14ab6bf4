"""What comes first after a pause: a host that was left alone and serves nothing then is not asked too fast."""

from __future__ import annotations

import math


class Waking:
    """Tells which refusals say nothing of the pace: those of what was asked after a pause (``rest``), before anything
    of that was answered well. The pause that they ask for is all that follows.

    Refusals come sooner than good answers: where requests of one time were refused and served, the first that is served
    says so (``good``), and what was let pass is to be obeyed after all. Times in monotonic seconds.
    """

    __slots__ = ("_asleep", "_counted", "_doubtful", "_since", "in_vain")

    def __init__(self) -> None:
        self.in_vain = 0
        """Pauses in a row after which such came."""
        self._asleep = False  # nothing that was asked since the last pause was answered well
        self._since = -math.inf  # while it is: what was started before is of another time
        self._counted = -math.inf  # when the first of these refusals came after the last pause
        self._doubtful: float | None = None  # when the last of them was started

    @property
    def is_over(self) -> bool:
        """True unless there was a pause, and nothing was answered well since."""
        return not self._asleep

    def rest(self, started: float, until: float) -> None:
        """What was started then was refused, and nothing is asked until a moment."""
        if not self._asleep or started < self._since:
            self._asleep, self._since = True, until

    def refused(self, now: float, started: float, *, is_sign: bool = True) -> bool:
        """What was started then is refused: True when that says nothing. ``is_sign``: it may, once another of the same
        time is served."""
        if not self._asleep or started < self._since:
            return False
        if started >= self._counted:
            self.in_vain += 1
            self._counted, self._doubtful = now, None
        if is_sign:
            self._doubtful = started
        return True

    def good(self, now: float, started: float, until: float) -> float | None:
        """What was started then is answered well; the last pause ends or ended at ``until``. Gives the start of a
        request of the same time whose refusal is to be obeyed now."""
        if not self._asleep or started < self._since:
            return None
        again = self._doubtful if self.in_vain and started < until else None
        self._asleep, self._since = now < until, until
        self.in_vain, self._doubtful = 0, None
        return again

    def __repr__(self) -> str:
        return f"Waking({'nothing served yet' if self._asleep else 'over'}, {self.in_vain} in vain)"
