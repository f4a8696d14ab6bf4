"""What a host's refusals say of its pace: too many requests in flight, too many a second, or nothing."""

from __future__ import annotations

import math

from harvester.pacing.breaker import HostPause
from harvester.pacing.chance import Chance
from harvester.pacing.concurrency import Concurrency
from harvester.pacing.learned import GROWTH, MEASURED, RESTS, LearnedRate
from harvester.pacing.trials import Trials
from harvester.pacing.waking import Waking
from harvester.pacing.windows import LONG_SECONDS, Mode

MEASURED_SECONDS = 0.1
"""Shortest time for which good answers make a rate."""

TRIAL = 1.15
"""Share of the throughput below a refused level that is tried evenly spaced: above what that level can bring."""

TRIAL_ROUNDS = 1.5
"""Latencies until the requests in flight are as many as the rate tried makes them."""

DOUBT_SECONDS = 60.0
"""A level that was held and is refused may have become too high; two within this time are another matter."""


class Refusals:
    """Lowers ``concurrency`` or the ``learned`` rate by what was refused, and says when a rate is the one to obey.

    ``learned`` is there while refusals have another cause than the requests in flight: then the host counts requests
    a second, and refusals speak of that rate, no longer of the concurrency. ``chance`` knows whether they say anything,
    ``waking`` which of those say nothing that come after a ``pause``. Times in monotonic seconds, never going back.
    """

    __slots__ = (
        "_back",
        "_begun",
        "_concurrency",
        "_doubted",
        "_goods",
        "_pause",
        "_trials",
        "chance",
        "learned",
        "waking",
    )

    def __init__(self, concurrency: Concurrency, pause: HostPause, now: float) -> None:
        self.learned: LearnedRate | None = None
        self.chance = Chance(now)
        self.waking = Waking()
        self._concurrency = concurrency
        self._pause = pause
        self._back: tuple[LearnedRate | None, int] | None = None
        """The rate and the level to go back to if refusals turn out to be no chance."""
        self._begun = now
        self._goods = 0
        self._doubted = -math.inf
        self._trials = Trials()

    # ------------------------------------------------------------------------------------------ reports

    def served(self, now: float, number: int) -> None:
        """So many good answers came in a row, after those that ``concurrency`` was told of."""
        self._goods += number
        if now >= self._trials.at and self.learned is None and self._concurrency.below_refusal:
            self._try_rate(now)

    def served_amid_bad(self, now: float, started: float) -> None:
        """One good answer came, to a request of then, after others that were not."""
        self._goods += 1
        self._wake(now, started)
        self._look_at_chance(now)
        learned = self.learned
        if learned is not None:
            chance = self.chance
            may_rise = not chance.is_on or chance.is_borne(self._goods, learned.rate, learned.borne)
            learned.on_good(now, may_rise=may_rise)
            if learned.borne:
                self._trials.level = None

    def refused(self, now: float, seconds: float, *, rests: bool) -> bool:
        """A request was refused ``seconds`` after its start. True when nothing can be asked for less, in flight or a
        second: what is left is a pause. ``rests``: the host asked for one."""
        return self._is_meant(now, seconds) and self._obey(now, seconds, rests=rests)

    def rest(self, now: float, started: float, seconds: float) -> None:
        """The host asked for a pause of so many seconds, by refusing a request of then: whatever its refusal means for
        the pace, that is kept."""
        pause = self._pause
        start = max(now, pause.until)
        pause.pause(now, seconds)
        if pause.until > start:
            self.waking.rest(started, pause.until)
            if self.waking.in_vain:
                self._begun += pause.until - start  # no time in which little was served
            if not self.chance.is_on:
                self._concurrency.rest(start, pause.until)
            if self.learned is not None:
                self.learned.pause(start, pause.until)

    # ------------------------------------------------------------------------------------------ in flight or a second

    def _obey(self, now: float, seconds: float, *, rests: bool) -> bool:
        pace = self._concurrency
        if self._back is not None and not self.chance.is_on:
            self._go_back(now, self._back)
            return False
        if rests and self.waking.refused(now, now - seconds):
            return False
        if self.learned is not None:
            if self._trials.is_of(now - seconds):
                pace.hold(self._trials.fail(now), now)
                self.learned = None
                return False
            self.learned.on_refused(now, seconds)
            return self.learned.refused >= RESTS
        alone = pace.limit == 1
        pace.on_throttle(now)
        self._trials.on_refused_level(now)
        if not self._goods:
            return alone
        if not alone:
            if pace.contradicted is None:
                return False
            sure = pace.contradicted is Mode.SEEK or pace.latency >= LONG_SECONDS
            if not sure and now - self._doubted > DOUBT_SECONDS:
                self._doubted = now
                pace.contradicted = None
                return False
        rate = pace.throughput or self._goods / max(now - self._begun, MEASURED_SECONDS)
        is_near = self._trials.any_failed  # what is allowed is hardly more
        self.learned = LearnedRate(rate, now, growth=MEASURED) if is_near else LearnedRate(rate, now)
        pace.release(now)
        return False

    def _try_rate(self, now: float) -> None:
        """Below a level that was refused: would more be borne if it came evenly? Then it is a rate that is counted."""
        pace = self._concurrency
        self._trials.begin(now, pace.limit)
        self.learned = LearnedRate(TRIAL * pace.throughput, now, TRIAL_ROUNDS * pace.latency)
        pace.release(now)

    def _wake(self, now: float, started: float) -> None:
        refused = self.waking.good(now, started, self._pause.until)
        if refused is None:
            return
        self._obey(now, now - refused, rests=True)
        if now < self._pause.until and not self.chance.is_on:
            self._concurrency.rest(now, self._pause.until)

    # ------------------------------------------------------------------------------------------ or nothing

    def _is_meant(self, now: float, seconds: float) -> bool:
        """A request was refused: is that to be obeyed, or chance?"""
        learned, chance, rested = self.learned, self.chance, self._pause.rested(now)
        if learned is None:
            is_fresh = self._concurrency.is_fresh
            return chance.on_refused(now, self._goods, 0.0, 0.0, is_fresh=is_fresh, rested=rested)
        is_fresh = learned.is_fresh(now - seconds)
        after = learned.rate * (now - seconds - self._pause.until) if rested else 0.0
        if chance.on_refused(
            now, self._goods, learned.rate, learned.borne, is_fresh=is_fresh, rested=rested, after=after
        ):
            return True
        learned.on_chance(now, seconds)
        return False

    def _look_at_chance(self, now: float) -> None:
        """Only good answers raise the pace, though it is refusals that speak for it."""
        if self.chance.is_due:
            self._try_chance(now)
        elif self._back is not None and self.chance.is_proven(now, self._goods, self._pause.rested(now)):
            self._back = None
            self.learned = LearnedRate(self.chance.pace, now, 0.0, growth=GROWTH)

    def _try_chance(self, now: float) -> None:
        """What was borne once is asked again, though less was refused since."""
        self._back = (self.learned, self._concurrency.limit)
        if self.learned is None:
            self._concurrency.release(now)
        self.chance.begin(now, self._goods, self._pause.rested(now))
        self.learned = LearnedRate(self.chance.pace, now, growth=1.0)
        self._trials.level = None

    def _go_back(self, now: float, back: tuple[LearnedRate | None, int]) -> None:
        """It was no chance: the pace of before."""
        self._back = None
        self.learned, level = back
        if self.learned is None:
            self._concurrency.hold(level, now)
        else:
            self.learned.resume(now)

    def __repr__(self) -> str:
        return f"Refusals({self.learned}, {self.chance}, {self.waking})"
