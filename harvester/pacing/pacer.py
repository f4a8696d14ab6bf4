"""May the next request start? All that holds a host back, joined for the engine."""

from __future__ import annotations

import math
from collections.abc import Callable

from harvester.edges import Outcome
from harvester.pacing.breaker import Breaker, HostPause
from harvester.pacing.chance import Chance
from harvester.pacing.concurrency import Concurrency
from harvester.pacing.learned import GROWTH, MEASURED, RESTS, LearnedRate
from harvester.pacing.rate import RateLimit
from harvester.pacing.retry import RETRY_COST, RetryBudget
from harvester.pacing.trials import Silence, Trials
from harvester.pacing.waking import Waking
from harvester.pacing.windows import LONG_SECONDS, Mode

_WHOLE, _ABSENT, _UNCHANGED = Outcome.WHOLE, Outcome.ABSENT, Outcome.UNCHANGED
"""Looked up once, compared by identity: an enum's member costs 80 ns to look up and as much to hash (Python 3.11)."""


MEASURED_SECONDS = 0.1
"""Shortest time for which good answers make a rate."""

TRIAL = 1.15
"""Share of the throughput below a refused level that is tried evenly spaced: above what that level can bring."""

TRIAL_ROUNDS = 1.5
"""Latencies until the requests in flight are as many as the rate tried makes them."""

DOUBT_SECONDS = 60.0
"""A level that was held and is refused may have become too high; two within this time are another matter."""


class Pacer:
    """One host's (or one source's) pace: pause, breaker, concurrency, rate, in this order.

    ``learned`` is there while refusals have another cause than the requests in flight: then the host counts requests
    a second, and refusals speak of that rate, no longer of the concurrency. ``chance`` knows whether they say anything.

    ``limit_max`` bounds the requests in flight; ``rate`` may be shared by several pacers (tile servers of one source);
    ``draw`` gives random numbers in [0, 1). The clock is the caller's: ``now`` in monotonic seconds, never going back.
    """

    __slots__ = (
        "_back",
        "_begun",
        "_doubted",
        "_draw",
        "_enough",
        "_goods",
        "_silence",
        "_smooth",
        "_trials",
        "_until",
        "_waking",
        "_well",
        "_well_seconds",
        "breaker",
        "budget",
        "chance",
        "concurrency",
        "free",
        "learned",
        "pause",
        "rate",
    )

    def __init__(
        self,
        *,
        limit_max: int,
        now: float,
        draw: Callable[[], float],
        rate: RateLimit | None = None,
    ) -> None:
        self.concurrency = Concurrency(limit_max)
        self.rate = rate
        self.breaker = Breaker(now)
        self.pause = HostPause()
        self.budget = RetryBudget()
        self.learned: LearnedRate | None = None
        self.chance = Chance(now)
        self._back: tuple[LearnedRate | None, int] | None = None
        """The rate and the level to go back to if refusals turn out to be no chance."""
        self._begun = now
        self._goods = 0
        self._doubted = -math.inf
        self._trials = Trials()
        self._draw = draw
        self._silence = Silence()
        self._waking = Waking()
        self.free = rate is None
        """True: nothing but ``limit`` holds a request back. False: ``may_start`` knows."""
        # Good answers in a row that no state machine was told of yet: nothing follows from them (bench_pacing.py).
        self._smooth = False
        self._well = 0
        self._well_seconds = 0.0
        self._enough = 1
        self._until = now

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return self.concurrency.limit

    @property
    def retries_wait(self) -> bool:
        """True when first tries, where any are left, go before retries that are due.

        That is with the budget used up, and while the host itself is in doubt: a host that fails everything then gets
        hardly more requests than there were tiles to try.
        """
        return self.budget.tokens < RETRY_COST or self.breaker.suspects or self._silence.number > 0 or self.in_vain > 0

    @property
    def in_vain(self) -> int:
        """Pauses in a row after which what was asked was refused, and nothing answered well."""
        return self._waking.in_vain

    def may_start(self, now: float, in_flight: int) -> float:
        """0.0: go now, it is counted as started. Above: seconds to wait, ``math.inf`` until an answer comes."""
        if in_flight >= self.concurrency.limit:
            self.concurrency.on_full()
            return math.inf
        if now < self.pause.until:
            return self.pause.until - now
        breaker, rate, learned = self.breaker, self.rate, self.learned
        is_open = breaker.open_since is not None
        vain = self._waking.in_vain
        self.free = rate is None and learned is None and not is_open and not vain
        if self.free:
            return 0.0
        if vain and in_flight >= max(1, self.concurrency.limit >> vain):
            return math.inf  # the pace is not lowered, but a host that serves nothing is not asked as much for it
        if is_open:
            wait = breaker.ready_in(now)
        else:
            wait = 0.0 if learned is None else learned.ready_in(now)
        if wait:
            return wait
        if rate is not None and not rate.take(now):
            return rate.ready_in(now)
        if is_open:
            breaker.allow(now)
        elif learned is not None:
            learned.take(now)
        return 0.0

    def ended(
        self, now: float, outcome: Outcome, seconds: float, *, first_try: bool, retry_after: float | None = None
    ) -> None:
        """A request that was started has ended with this meaning, ``seconds`` after its start."""
        if outcome is _WHOLE or outcome is _ABSENT or outcome is _UNCHANGED:
            if self._smooth and first_try:
                self._well += 1
                self._well_seconds += seconds
                if self._well >= self._enough or now >= self._until:
                    self._tell(now)
                    self.breaker.forget(now)
                    self._until = self.breaker.slot_until
            else:
                self._good_amid_bad(now, seconds, first_try=first_try)
            return
        self._tell(now)
        self._smooth = self.free = False
        if outcome is Outcome.THROTTLED:
            silent = self._is_meant(now, seconds) and self._refused(now, seconds, rests=bool(retry_after))
            self.breaker.on_result(now, ok=False, first_try=first_try, throttled=True)
            if retry_after:  # 0 is no pause
                self._rest(now, now - seconds, retry_after)
            elif silent and (pause := self._silence.seconds(now, now - seconds, self._draw)):
                self.pause.pause(now, pause)
        elif outcome is Outcome.DENIED:
            # The host is well, the credential isn't: no word about the pace.
            self.breaker.cancel_probe()
        elif outcome is Outcome.FAILED:
            # The host answered as it meant to (403, 400 ...): it is well, and nothing says that it bears more.
            self._silence.end()
            self.breaker.on_result(now, ok=True, first_try=first_try)
        else:
            self.concurrency.on_error(now)
            self.breaker.on_result(now, ok=False, first_try=first_try)

    def refused_again(self, now: float, seconds: float, *, first_try: bool, asked: float) -> None:
        """A tile that was refused before is refused again, and a pause of so many seconds asked for. That is kept; for
        the pace nothing follows, since it may be the tile's own trouble: those that are refused for the first time
        tell."""
        self._tell(now)
        self._smooth = self.free = False
        self._waking.refused(now, now - seconds, is_sign=False)
        self.breaker.on_result(now, ok=False, first_try=first_try, throttled=True)
        self._rest(now, now - seconds, asked)

    def _rest(self, now: float, started: float, seconds: float) -> None:
        """The host asked for a pause: whatever its refusal means for the pace, that is kept."""
        pause = self.pause
        start = max(now, pause.until)
        pause.pause(now, seconds)
        if pause.until > start:
            self._waking.rest(started, pause.until)
            if self.in_vain:
                self._begun += pause.until - start  # no time in which little was served
            if not self.chance.is_on:
                self.concurrency.rest(start, pause.until)
            if self.learned is not None:
                self.learned.pause(start, pause.until)

    def _is_meant(self, now: float, seconds: float) -> bool:
        """A request was refused: is that to be obeyed, or chance?"""
        learned, chance, rested = self.learned, self.chance, self.pause.rested(now)
        if learned is None:
            is_fresh = self.concurrency.is_fresh
            return chance.on_refused(now, self._goods, 0.0, 0.0, is_fresh=is_fresh, rested=rested)
        is_fresh = learned.is_fresh(now - seconds)
        after = learned.rate * (now - seconds - self.pause.until) if rested else 0.0
        if chance.on_refused(
            now, self._goods, learned.rate, learned.borne, is_fresh=is_fresh, rested=rested, after=after
        ):
            return True
        learned.on_chance(now, seconds)
        return False

    def _try_chance(self, now: float) -> None:
        """What was borne once is asked again, though less was refused since."""
        self._back = (self.learned, self.concurrency.limit)
        if self.learned is None:
            self.concurrency.release(now)
        self.chance.begin(now, self._goods, self.pause.rested(now))
        self.learned = LearnedRate(self.chance.pace, now, growth=1.0)
        self._trials.level = None
        self._smooth = self.free = False

    def _go_back(self, now: float, back: tuple[LearnedRate | None, int]) -> None:
        """It was no chance: the pace of before."""
        self._back = None
        self.learned, level = back
        if self.learned is None:
            self.concurrency.hold(level, now)
        else:
            self.learned.resume(now)

    def _refused(self, now: float, seconds: float, *, rests: bool) -> bool:
        """The host asks for less: in flight or a second? True when neither can be less: what is left is a pause.
        ``rests``: it asked for one."""
        pace = self.concurrency
        if self._back is not None and not self.chance.is_on:
            self._go_back(now, self._back)
            return False
        if rests and self._waking.refused(now, now - seconds):
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
        pace = self.concurrency
        self._trials.begin(now, pace.limit)
        self.learned = LearnedRate(TRIAL * pace.throughput, now, TRIAL_ROUNDS * pace.latency)
        pace.release(now)
        self._smooth = self.free = False

    def unheard(self) -> None:
        """A request ended without a word of the host: nothing follows for the pace, and a probe may go again."""
        self.breaker.cancel_probe()

    def _tell(self, now: float) -> None:
        """The good answers of a row that was smooth, to those who decide by them."""
        if self._well:
            self.concurrency.on_success(now, self._well_seconds, self._well)
            self.breaker.on_good(self._well)
            self.budget.on_success(self._well)
            self._goods += self._well
            self._well = 0
            self._well_seconds = 0.0
            if now >= self._trials.at and self.learned is None and self.concurrency.below_refusal:
                self._try_rate(now)
        self._enough = self.concurrency.awaited
        self._until = self.breaker.slot_until

    def _good_amid_bad(self, now: float, seconds: float, *, first_try: bool) -> None:
        self._tell(now)
        self._silence.end()
        self._goods += 1
        self._wake(now, now - seconds)
        self.budget.on_success()
        self._look_at_chance(now)
        learned = self.learned
        if learned is not None:
            chance = self.chance
            may_rise = not chance.is_on or chance.is_borne(self._goods, learned.rate, learned.borne)
            learned.on_good(now, may_rise=may_rise)
            if learned.borne:
                self._trials.level = None
        if self.breaker.open_since is not None:
            self.concurrency.restart(now)
        else:
            self.concurrency.on_success(now, seconds)
        self.breaker.on_result(now, ok=True, first_try=first_try)
        self._smooth = self._waking.is_over and self.learned is None and self.breaker.calm and self.budget.is_full
        self._tell(now)

    def _wake(self, now: float, started: float) -> None:
        refused = self._waking.good(now, started, self.pause.until)
        if refused is None:
            return
        self._refused(now, now - refused, rests=True)
        if now < self.pause.until and not self.chance.is_on:
            self.concurrency.rest(now, self.pause.until)

    def _look_at_chance(self, now: float) -> None:
        """Only good answers raise the pace, though it is refusals that speak for it."""
        if self.chance.is_due:
            self._try_chance(now)
        elif self._back is not None and self.chance.is_proven(now, self._goods, self.pause.rested(now)):
            self._back = None
            self.learned = LearnedRate(self.chance.pace, now, 0.0, growth=GROWTH)

    def __repr__(self) -> str:
        return f"Pacer({self.concurrency}, {self.learned or self.rate}, {self.breaker}, {self.pause}, {self.budget})"
