"""The rate that a host was found to bear, where it counts requests a second instead of requests in flight.

It exists only once a host has refused what the requests in flight don't explain, or bore more than they allow when it
was asked evenly. Starts are spaced, the bearable rate is enclosed between one that went well and one that was refused,
held just below, and probed rarely.
"""

from __future__ import annotations

import math
from enum import StrEnum

LEAST = 0.5
"""Starts a second that are always tried: slower hosts ask for pauses."""

GROWTH = 2.0
"""Step upwards while no rate was refused: from 4 to 512 a second in seven steps."""

STEP_SECONDS = 1.1
"""Shortest time at a rate before it counts as borne: hosts that count whole seconds object within one."""

NEAR_STEP_SECONDS = 2.05
"""The same near a rate that was refused: so long holds one whole second of the host's, wherever that begins."""

STEP_STARTS = 4
"""And fewest starts in it."""

USED = 0.75
"""Share of a rate that must really have been started: a rate that was not used up says nothing."""

NEAR = 1.07
"""A rate that was borne this near to one that was refused is near enough: their middle is 3 % off."""

WAVE_SECONDS = 1.05
"""Refusals within this time of the first are one wave: a host that counts whole seconds refuses until the second ends,
however slowly it is asked."""

LOOK_SECONDS = 0.25
LOOK_ANSWERS = 4
"""Within it, once so many were answered in so long, what was answered tells."""

DROP = 0.93
"""What is left of a rate that is refused, at most: the host bears less than before."""

DEEP_DROP = 0.1
"""And at least, where less was answered in the last wave."""

FIRST_PROBE_SECONDS = 8.0
LAST_PROBE_SECONDS = 64.0
"""Interval between probes: doubled by each that fails."""

PROBE_STEP = 1.06
PROBE_STEP_MOST = 1.5
"""First step of a probe; the excess is doubled by each that succeeds, so a tenfold rate is found in eight."""

NEAR_PROBE = 1.2
"""The same after a probe: to be refused again in between would cost more than it brings."""

MEASURED = 1.12
"""First step above what a host answered while it refused the rest: it is hardly more than that."""

MARGIN = 0.96
"""Share of the rate that was borne for a second or two which is held: what is borne for good is a little less."""

REST_SECONDS = 0.025
REST_STARTS = 1.5
REST_FACTOR = 3.0
REST_MOST_SECONDS = 0.8
"""Nothing is started for so long (or for so many starts' time) after a refusal, three times as long after each further
one until an answer is good: a window that is used up costs four refusals, not one for each start until its end."""

SLACK_SECONDS = 0.02
SLACK_RATE = 50.0
"""How late the loop may come back without losing rate, and below which rate it is less: what is caught up at once is
refused by a host that allows no burst."""

RESTS = 7
"""Refusals in a row after which the host is silent, not fast: what follows is a pause."""


GAP_SECONDS = 0.5
GAP_STARTS = 4.0
"""Without a start for so long (or for so many starts' time) the host was left alone: what it allows has come back, and
what was counted before tells nothing."""

RESTED_SECONDS = 1.0
RESTED_DROP = 0.4
"""Refused sooner after that, it may have been a second's requests: hosts that count seconds answer just these. It may
have been a short burst as well, so what is left is so much at least."""

RESTED_DROP_LEAST = 0.8
"""And so much at most: it may have been two seconds' requests, and each further refusal costs a pause."""


class Stage(StrEnum):
    """What the rate is doing."""

    SEEK = "seek"
    HOLD = "hold"
    PROBE = "probe"


class LearnedRate:
    """Grants starts like ``RateLimit``; the caller reports what came of them (``on_good``, ``on_refused``).

    ``rate``: starts a second that are believed to be borne when it begins; ``settle_seconds``: how long what comes is
    still an echo of what was started before. Failed answers never raise the rate.
    """

    __slots__ = (
        "_asked",
        "_denied",
        "_echo",
        "_from",
        "_granted",
        "_high",
        "_low",
        "_next_probe",
        "_paused",
        "_probe_every",
        "_reach",
        "_rested",
        "_since",
        "_started",
        "_step",
        "_sure",
        "_wave",
        "rate",
        "refused",
        "stage",
    )

    def __init__(
        self, rate: float, now: float, settle_seconds: float = WAVE_SECONDS, *, growth: float = GROWTH
    ) -> None:
        self.rate = max(rate, LEAST)
        self.stage = Stage.SEEK
        self.refused = 0
        """Refusals since the last good answer."""
        self._low = 0.0  # highest rate that was borne
        self._high = math.inf  # lowest rate that was refused
        self._from = now + REST_SECONDS
        self._rested = now  # when it was last refused: what was started before tells nothing new
        self._echo = 0.0  # how long a refusal takes to come
        self._wave = now  # start of the last wave, or of the asking after a pause
        self._paused = False  # whether the host was left alone before that
        self._asked = now  # when the last request was started
        self._granted = self._denied = 0  # starts since then, and how many of them were refused
        self._since = now + settle_seconds  # since when this rate is on trial: when the wave is over
        self._started = 0  # starts since then
        self._reach = growth
        self._step = PROBE_STEP
        self._probe_every = FIRST_PROBE_SECONDS
        self._next_probe = math.inf
        self._sure = 0.0  # the highest that was borne, but for probes: those may have used up a burst

    # ------------------------------------------------------------------------------------------ starts

    def take(self, now: float) -> bool:
        """True when a request may start now; it is then counted."""
        since = self._from
        if now < since:
            return False
        idle = now - SLACK_SECONDS * min(1.0, self.rate / SLACK_RATE)
        self._from = (since if since > idle else idle) + 1.0 / self.rate
        if now - self._asked > max(GAP_SECONDS, GAP_STARTS / self.rate):
            self._wave, self._paused = now, True
            self._granted = self._denied = 0
        self._asked = now
        self._granted += 1
        if now >= self._since:
            self._started += 1
        return True

    def ready_in(self, now: float) -> float:
        """Seconds until ``take`` can be true; 0.0 when it is."""
        return self._from - now if now < self._from else 0.0

    # ------------------------------------------------------------------------------------------ reports

    def on_good(self, now: float, *, may_rise: bool = True) -> None:
        """A whole answer came; without ``may_rise`` there is doubt whether the rate is borne."""
        self.refused = 0
        if not may_rise:
            return
        elapsed = now - self._since
        least = STEP_SECONDS if self._high == math.inf else NEAR_STEP_SECONDS
        if elapsed < least + 2 * self._echo or self._started < STEP_STARTS:
            return
        if self._started >= USED * self.rate * elapsed:
            self._borne(now)
        self._begin(now)

    def on_chance(self, now: float, seconds: float) -> None:
        """A request that was started ``seconds`` ago was refused, which says nothing of the rate."""
        self._echo = max(0.9 * self._echo, min(seconds, 1.0))
        self._denied += now - seconds >= self._wave

    def on_refused(self, now: float, seconds: float) -> None:
        """The host refused a request that was started ``seconds`` ago. A wave of refusals counts once."""
        self.on_chance(now, seconds)
        started = now - seconds
        if started < self._rested:
            return
        self.refused += 1
        self._rested = now
        if started >= self._since:
            self._drop(now)
            self._wave, self._paused = now, False
            self._granted = self._denied = 0
            self._begin(now + WAVE_SECONDS)
        else:
            self._look_at_wave(now)
        rest = max(REST_SECONDS, REST_STARTS / self.rate) * REST_FACTOR ** min(self.refused - 1, 8)
        self._from = max(self._from, now + min(rest, max(REST_MOST_SECONDS, 1.0 / self.rate)))

    def pause(self, start: float, until: float) -> None:
        """Nothing is asked from ``start`` to ``until``: that is no time in which the rate is not used."""
        self._since = max(self._since, until - max(0.0, start - self._since))

    def resume(self, now: float) -> None:
        """Another rate was tried meanwhile, and refused."""
        self._wave, self._paused = now, False
        self._granted = self._denied = 0
        self._rested = self._asked = now
        self._begin(now + WAVE_SECONDS)
        self._from = max(self._from, now + max(REST_SECONDS, REST_STARTS / self.rate))

    # ------------------------------------------------------------------------------------------ decisions

    @property
    def borne(self) -> float:
        """The highest rate that was used and not refused; 0.0 until there is one."""
        return self._low

    def is_fresh(self, started: float) -> bool:
        """True when a request of then was started at the rate of now, and not in the wake of a refusal."""
        return started >= self._since

    def _borne(self, now: float) -> None:
        self._low = self.rate
        if self.stage is not Stage.PROBE:
            self._sure = self.rate
        if self.stage is Stage.PROBE:
            self._high = math.inf
            if self._step > PROBE_STEP:  # the first step may be within the margin
                self._probe_every = FIRST_PROBE_SECONDS
            self._step = min(1.0 + 2 * (self._step - 1.0), PROBE_STEP_MOST)
            self.rate *= self._step
        elif self.stage is Stage.HOLD:
            if now >= self._next_probe:
                self.stage = Stage.PROBE
                self.rate *= self._step
        elif self._high == math.inf:
            self.rate *= self._reach
            self._reach = min(1.0 + 2 * (self._reach - 1.0), GROWTH)
        else:
            self._narrow(now)

    def _narrow(self, now: float) -> None:
        """Between a rate that was borne and one that was refused: the middle, until they are near."""
        if self._high <= self._low * (NEAR_PROBE if self.stage is Stage.PROBE else NEAR):
            self.rate = self._low if self.stage is Stage.HOLD else MARGIN * self._low
            self._low = self.rate
            self._step = PROBE_STEP
            self._next_probe = now + self._probe_every
            self.stage = Stage.HOLD
        else:
            self.rate = min((self._low + self._high) / 2, self._low * self._reach)
            self._reach = min(1.0 + 2 * (self._reach - 1.0), GROWTH)
            self.stage = Stage.SEEK

    def _drop(self, now: float) -> None:
        self._high = self.rate
        if self.stage is Stage.PROBE:
            self._probe_every = min(self._probe_every * 2, LAST_PROBE_SECONDS)
            if self._step == PROBE_STEP:
                self.stage = Stage.HOLD
        if 0.0 < self._low < self.rate:
            self._narrow(now)
            return
        answered = (self._granted - self._denied) / max(now - self._wave, RESTED_SECONDS if self._paused else 0.0)
        if self._paused:
            answered = max(answered, RESTED_DROP * self.rate)
        self._low = self._sure = 0.0
        self._reach = MEASURED
        most = RESTED_DROP_LEAST if self._paused else DROP
        self.rate = max(LEAST, min(most * self.rate, max(DEEP_DROP * self.rate, answered)))
        self.stage = Stage.SEEK

    def _look_at_wave(self, now: float) -> None:
        """A probe went on with what a host had saved up until that was gone: what is answered of what is asked in the
        wave is all that it bears then, or what it bore before."""
        seconds, answered = now - self._wave, self._granted - self._denied
        if not self._sure or self._paused or seconds < LOOK_SECONDS or answered < LOOK_ANSWERS:
            return
        bears = max((answered + 1) / seconds, self._sure)
        if bears >= DROP * self.rate:
            return
        self._high = min(self._high, self.rate)
        self.rate = bears
        self._low = min(self._low, self._sure)
        self._reach = MEASURED
        self.stage = Stage.SEEK

    def _begin(self, now: float) -> None:
        self._since = now
        self._started = 0

    def __repr__(self) -> str:
        return f"LearnedRate({self.rate:.3g}/s, {self.stage}, between {self._low:.3g} and {self._high:.3g})"
