"""May the next request start? All that holds a host back, joined for the engine."""

from __future__ import annotations

import math
from collections.abc import Callable

from harvester.edges import Outcome
from harvester.pacing.breaker import Breaker, HostPause
from harvester.pacing.chance import Chance
from harvester.pacing.concurrency import Concurrency
from harvester.pacing.faults import Faults
from harvester.pacing.learned import LearnedRate
from harvester.pacing.rate import RateLimit
from harvester.pacing.refusals import Refusals
from harvester.pacing.retry import RETRY_COST, RetryBudget
from harvester.pacing.trials import Silence

_WHOLE, _ABSENT, _UNCHANGED = Outcome.WHOLE, Outcome.ABSENT, Outcome.UNCHANGED
"""Looked up once, compared by identity: an enum's member costs 80 ns to look up and as much to hash (Python 3.11)."""


class Pacer:
    """One host's (or one source's) pace: pause, breaker, concurrency, rate, in this order.

    ``learned`` is the rate that it was found to bear, where it counts requests a second: what is refused says which
    (harvester/pacing/refusals.py).

    ``limit_max`` bounds the requests in flight; ``rate`` may be shared by several pacers (tile servers of one source);
    ``draw`` gives random numbers in [0, 1). The clock is the caller's: ``now`` in monotonic seconds, never going back.
    """

    __slots__ = (
        "_draw",
        "_enough",
        "_refusals",
        "_silence",
        "_smooth",
        "_until",
        "_well",
        "_well_seconds",
        "breaker",
        "budget",
        "concurrency",
        "faults",
        "free",
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
        self.faults = Faults(now)
        self._refusals = Refusals(self.concurrency, self.pause, now)
        self._draw = draw
        self._silence = Silence()
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
        hardly more requests than there were tiles to try. Where asking again helps, a retry is as good as any.
        """
        if self.is_silent or self.in_vain > 0:
            return True
        return not self.faults.retries_help and (self.budget.tokens < RETRY_COST or self.breaker.suspects)

    @property
    def is_silent(self) -> bool:
        """True while nothing that is asked is answered well, and little is asked for that."""
        return self.breaker.open_since is not None or self._silence.number > 0

    @property
    def in_vain(self) -> int:
        """Pauses in a row after which what was asked was refused, and nothing answered well."""
        return self._refusals.waking.in_vain

    @property
    def learned(self) -> LearnedRate | None:
        """The rate that is learned, where refusals speak of one."""
        return self._refusals.learned

    @property
    def chance(self) -> Chance:
        """What is known of refusals by chance."""
        return self._refusals.chance

    def may_start(self, now: float, in_flight: int) -> float:
        """0.0: go now, it is counted as started. Above: seconds to wait, ``math.inf`` until an answer comes."""
        if in_flight >= self.concurrency.limit:
            self.concurrency.on_full()
            return math.inf
        if now < self.pause.until:
            return self.pause.until - now
        breaker, rate, refusals = self.breaker, self.rate, self._refusals
        learned, vain = refusals.learned, refusals.waking.in_vain
        is_open = breaker.open_since is not None
        is_trying = self.faults.is_trying and not is_open
        self.free = rate is None and learned is None and not is_open and not vain and not is_trying
        if self.free:
            return 0.0
        if vain and in_flight >= max(1, self.concurrency.limit >> vain):
            return math.inf  # the pace is not lowered, but a host that serves nothing is not asked as much for it
        if is_open:
            wait = breaker.ready_in(now)
        else:
            wait = 0.0 if learned is None else learned.ready_in(now)
        if is_trying:
            wait = max(wait, self.faults.ready_in(now))
        if wait:
            return wait
        if rate is not None and not rate.take(now):
            return rate.ready_in(now)
        if is_open:
            breaker.allow(now)
        elif learned is not None:
            learned.take(now)
        if is_trying:
            self.faults.take(now)
        return 0.0

    def may_ask_apart(self, now: float) -> float:
        """The same for a request that goes while nothing is in flight, evenly spaced by who asks: what was learned of
        the pace does not hold it back."""
        if now < self.pause.until:
            return self.pause.until - now
        if self.breaker.open_since is not None:
            return self.may_start(now, 0)
        rate = self.rate
        return 0.0 if rate is None or rate.take(now) else rate.ready_in(now)

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
            self._refused(now, seconds, first_try=first_try, asked=retry_after)
        elif outcome is Outcome.DENIED:
            # The host is well, the credential isn't: no word about the pace.
            self.breaker.cancel_probe()
        elif outcome is Outcome.FAILED:
            # The host answered as it meant to (403, 400 ...): it is well, and nothing says that it bears more.
            self._silence.end()
            self.breaker.on_result(now, ok=True, first_try=first_try)
        else:
            self._failed(now, seconds, first_try=first_try)

    def _refused(self, now: float, seconds: float, *, first_try: bool, asked: float | None) -> None:
        silent = self._refusals.refused(now, seconds, rests=bool(asked))
        self.breaker.on_result(now, ok=False, first_try=first_try, throttled=True)
        if asked:  # 0 is no pause
            self._refusals.rest(now, now - seconds, asked)
        elif silent and (pause := self._silence.seconds(now, now - seconds, self._draw)):
            self.pause.pause(now, pause)

    def _failed(self, now: float, seconds: float, *, first_try: bool) -> None:
        faults, pace = self.faults, self.concurrency
        if faults.failed(now, now - seconds):
            self._refusals.learned = None
            pace.release(now)
        if faults.are_refusals:
            self._refused(now, seconds, first_try=first_try, asked=None)
            return
        pace.on_error(now)
        self.breaker.on_result(now, ok=False, first_try=first_try, throttled=faults.is_trying)

    def refused_again(self, now: float, seconds: float, *, first_try: bool, asked: float) -> None:
        """A tile that was refused before is refused again, and a pause of so many seconds asked for. That is kept; for
        the pace nothing follows, since it may be the tile's own trouble: those that are refused for the first time
        tell."""
        self._tell(now)
        self._smooth = self.free = False
        self._refusals.waking.refused(now, now - seconds, is_sign=False)
        self.breaker.on_result(now, ok=False, first_try=first_try, throttled=True)
        self._refusals.rest(now, now - seconds, asked)

    def unheard(self) -> None:
        """A request ended without a word of the host: nothing follows for the pace, and a probe may go again."""
        self.breaker.cancel_probe()

    def begin_again(self, now: float) -> None:
        """What was concluded for the pace came of requests that say nothing of it."""
        self._refusals.learned = None
        self.concurrency.restart(now)

    def _tell(self, now: float) -> None:
        """The good answers of a row that was smooth, to those who decide by them."""
        if self._well:
            self.concurrency.on_success(now, self._well_seconds, self._well)
            self.breaker.on_good(self._well)
            self.budget.on_success(self._well)
            self._refusals.served(now, self._well)
            self.faults.served(self._well_seconds, self._well)
            self._well = 0
            self._well_seconds = 0.0
            if self._refusals.learned is not None:
                self._smooth = self.free = False
        self._enough = self.concurrency.awaited
        self._until = self.breaker.slot_until

    def _good_amid_bad(self, now: float, seconds: float, *, first_try: bool) -> None:
        self._tell(now)
        self._silence.end()
        self.budget.on_success()
        self.faults.served(seconds)
        if self.faults.is_trying and self.faults.served_in_trial(now, now - seconds):
            self._refusals.refused(now, 0.0, rests=False)
        self._refusals.served_amid_bad(now, now - seconds)
        if self.breaker.open_since is not None:
            self.concurrency.restart(now)
        else:
            self.concurrency.on_success(now, seconds)
        self.breaker.on_result(now, ok=True, first_try=first_try or self.faults.retries_help)
        counts = self._refusals.learned is not None
        if counts:
            self.free = False
        self._smooth = (
            not counts
            and not self.faults.is_trying
            and self._refusals.waking.is_over
            and self.breaker.calm
            and self.budget.is_full
        )
        self._tell(now)

    def __repr__(self) -> str:
        return f"Pacer({self.concurrency}, {self.learned or self.rate}, {self.breaker}, {self.pause}, {self.budget})"
