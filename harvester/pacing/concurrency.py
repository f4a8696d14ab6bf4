"""How many requests a host bears at once: doubled until it throttles or queues, held just below, and probed rarely.

A window is a run of answers at one level, measured after the answers of the level before have drained. By Little's law
throughput = level / latency: where doubling the level doubles the latency, the host only queues.
"""

from __future__ import annotations

import math

from harvester.pacing.calm import SURE_ANSWERS, Calm
from harvester.pacing.probes import Probes
from harvester.pacing.windows import Mode, Window, answers_needed

START = 4
"""Requests in flight at first; doubled per clean window, so 512 is reached after seven."""

GAIN = 1.25
"""Throughput that doubling must bring at least; without queueing it brings 2."""

CLOSE = 0.9
"""A clean level this near to one that failed is near enough."""

HEADROOM = 1.25
"""In-flight requests over throughput x calm latency that are kept where a host queues instead of throttling."""

DIP = 0.8
"""Share of the level that is tried to see whether latency is of our own making."""

HELD = 0.93
"""Share of the throughput that must survive a dip for the lower level to be kept."""

FAULTY_SHARE = 0.1
"""Share of failed answers above which a window doesn't count as clean."""


class Concurrency:
    """The level (``limit``) that a host is given; the caller keeps at most that many requests in flight.

    The caller reports every answer once (``on_success``, ``on_throttle``, ``on_error``), and ``on_full`` when it wanted
    to start one more than the limit: a level that was never used up says nothing, and isn't raised.
    Failed answers never raise the level.
    """

    __slots__ = (
        "_bad",
        "_calm",
        "_good",
        "_max",
        "_probes",
        "_suspicious",
        "_top",
        "_window",
        "contradicted",
        "latency",
        "limit",
        "mode",
        "throughput",
    )

    def __init__(self, limit_max: int) -> None:
        if limit_max < 1:
            raise ValueError(f"at least one request must be allowed in flight, not {limit_max!r}")
        self._max = limit_max
        self.limit = min(START, limit_max)
        self.mode = Mode.RAMP
        self._good = 0  # highest level with a clean window; 0: none known
        self._bad = math.inf  # lowest level that was throttled
        self._calm = Calm()
        self.throughput = 0.0
        """Answers a second of the last clean window."""
        self.contradicted: Mode | None = None
        """What it was doing when a level was refused that had been borne before; None when it was another level."""
        self.latency = 0.0
        """Seconds that answers took in the mean when they were looked at last."""
        self._top = self.limit  # the level whose refusal ended the last calm
        self._suspicious = 0  # windows in a row that queued
        self._probes = Probes()
        self._window = Window()

    # ------------------------------------------------------------------------------------------ reports

    def on_full(self) -> None:
        """A request was held back because the limit was reached."""
        self._window.full = True

    @property
    def awaited(self) -> int:
        """Answers until the next decision, at least 1: so many may be told together."""
        return max(1, self._window.need - self._window.answers)

    def on_success(self, now: float, seconds: float, number: int = 1) -> None:
        """A whole answer came after ``seconds``; or so many of them, after these seconds in all."""
        window = self._window
        window.answers += number
        window.seconds += seconds
        if window.answers >= window.need:
            self._turn(now)

    def on_error(self, now: float) -> None:
        """An answer failed for another reason than throttling (reset, timeout, 500): it can only slow the host down."""
        window = self._window
        window.answers += 1
        window.faults += 1
        if window.answers >= window.need:
            self._turn(now)

    def on_throttle(self, now: float) -> None:
        """The host said that it is asked too much (429, 503 ...)."""
        if self.is_fresh:
            self._throttled(now)
        else:
            self.on_error(now)

    def restart(self, now: float) -> None:
        """The host came back from an outage: ramp up from the start again, since it may come back with less."""
        self._good = 0
        self._bad = math.inf
        self._calm.forget()
        self._suspicious = 0
        self._probes.restart()
        self._move(min(START, self._max), Mode.RAMP, now)

    def rest(self, now: float, until: float) -> None:
        """Nothing is asked until then: what is measured begins after it, once a whole round was answered."""
        self._probes.rest(now, until)
        self._window.rest(now, until, self.limit)

    @property
    def is_fresh(self) -> bool:
        """True unless what comes may have been started at a higher level than this."""
        return not (self._window.settling and self._window.down)

    @property
    def below_refusal(self) -> bool:
        """True while a level is held because a higher one was refused."""
        return self.mode is Mode.HOLD and self._bad < math.inf

    def release(self, now: float) -> None:
        """The refusals are not for the requests in flight: back to where they began, and on from there when used up."""
        top = max(self._top, self.limit)
        self._good = 0
        self._bad = math.inf
        self._calm.forget()
        self._suspicious = 0
        self.contradicted = None
        self._move(top, Mode.RAMP, now)

    def hold(self, level: int, now: float) -> None:
        """The refusals are for the requests in flight after all: back to a level, with the one above refused."""
        self._good, self._bad = level, level + 1
        self._probes.later(now)
        self._move(level, Mode.HOLD, now)

    # ------------------------------------------------------------------------------------------ decisions

    def _throttled(self, now: float) -> None:
        failed = self.limit
        self._bad = failed
        if self.mode is not Mode.SEEK:
            self._top = failed
        self.contradicted = None
        if self._good >= failed:
            self.contradicted = self.mode
            self._good = 0
        if self.mode is Mode.PROBE and self._good:
            self._probes.failed(now)
            self._move(self._good, Mode.SEEK if self._good < int(CLOSE * failed) else Mode.HOLD, now)
        elif self.mode is Mode.SEEK and self._good:
            self._move(self._good, Mode.SEEK, now)
        else:
            if self.mode is not Mode.SEEK:
                self._probes.often()
            self._move(failed // 2, Mode.SEEK, now)

    def _turn(self, now: float) -> None:
        """Enough answers for a decision."""
        window = self._window
        whole = window.answers - window.faults
        if whole:
            self.latency = window.seconds / whole
        if window.settling:
            window.settled(now, self.limit, self._needed)
            return
        if missing := window.missing(now, self.mode, self.limit, self.latency):
            window.need += missing
            return
        if window.faults > FAULTY_SHARE * window.answers:
            self._faulty(now, whole)
            return
        throughput = whole / window.lasted(now, self.mode, self.limit, self.latency)
        if self.mode is Mode.RAMP:
            self._ramp(now, throughput)
        elif self.mode is Mode.SEEK:
            self._seek(now, throughput)
        elif self.mode is Mode.HOLD:
            self._hold(now, throughput)
        elif self.mode is Mode.PROBE:
            self._probed(now, throughput)
        else:
            self._dipped(now, throughput)

    def _faulty(self, now: float, whole: int) -> None:
        if self.mode in (Mode.PROBE, Mode.DIP):
            self._probes.failed(now)
            self._move(self._good or self.limit, Mode.HOLD, now)
        elif whole < self._window.faults and self.mode is Mode.HOLD:
            self._good = max(1, int(self.limit * DIP))
            self._move(self._good, Mode.HOLD, now)
        else:
            self._begin(now)

    def _ramp(self, now: float, throughput: float) -> None:
        sure = self._window.answers >= SURE_ANSWERS
        if sure and self._good and self._calm.queues(self.latency) and throughput < GAIN * self.throughput:
            self._suspicious += 1
            if self._suspicious < 2:  # twice, since one slow window may be chance
                self._begin(now)
                return
            self._suspicious = 0
            knee = math.ceil(HEADROOM * throughput * self._calm.seconds)
            self._good = min(max(self._good, knee), self.limit)
            self.throughput = throughput
            self._probes.later(now)
            self._move(self._good, Mode.HOLD, now)
            return
        self._suspicious = 0
        if self.limit < self._max and not self._window.full:
            self._begin(now)
            return
        self._note(throughput)
        self._move(self.limit * 2, Mode.RAMP if self.limit < self._max else Mode.HOLD, now)

    def _seek(self, now: float, throughput: float) -> None:
        """Between a level that is clean and one that failed: first close to the failed one, then halving the gap."""
        if not self._window.full:
            self._begin(now)
            return
        first = not self._good
        self._note(throughput)
        near = int(CLOSE * self._bad)
        if self.limit >= min(near, self._max) or self._bad - self.limit <= 1:
            self._probes.later(now)
            self._move(self.limit, Mode.HOLD, now)
        elif first:
            self._move(near, Mode.SEEK, now)
        else:
            self._move(max(self.limit + 1, int(self.limit + self._bad) // 2), Mode.SEEK, now)

    def _hold(self, now: float, throughput: float) -> None:
        self._calm.holding(self._window.answers, self.latency)
        self._good = self.limit
        self.throughput = throughput
        may_move = self._probes.is_due(now) and self._window.full
        if may_move and self._calm.queues(self.latency):
            self._suspicious += 1
            if self._suspicious < 2 or self.limit == 1:
                self._begin(now)
            else:
                self._suspicious = 0
                self._move(max(1, int(self.limit * DIP)), Mode.DIP, now)
        elif may_move and self.limit < self._max:
            self._move(self.limit + self._probes.step, Mode.PROBE, now)
        else:
            self._suspicious = 0
            self._begin(now)

    def _probed(self, now: float, throughput: float) -> None:
        if self._calm.queues(self.latency):
            self._probes.failed(now)
            self._move(self._good, Mode.HOLD, now)
            return
        self._note(throughput)
        self._bad = math.inf
        self._probes.borne()
        if self.limit < self._max and self._window.full:
            self._move(self.limit + self._probes.step, Mode.PROBE, now)
        else:
            self._probes.later(now)
            self._move(self.limit, Mode.HOLD, now)

    def _dipped(self, now: float, throughput: float) -> None:
        if throughput >= HELD * self.throughput:
            self._good = self.limit
            self._probes.soon(now)
        else:  # the lower level only cost throughput
            self._calm.slower(self.latency)
            self._probes.failed(now)
        self._move(self._good, Mode.HOLD, now)

    # ------------------------------------------------------------------------------------------ windows

    def _note(self, throughput: float) -> None:
        self._good = self.limit
        self.throughput = throughput
        window = self._window
        whole = window.answers - window.faults
        # The quick answers come first: by Little's law so many were under way for so long.
        self._calm.clean(window.answers, whole, max(window.seconds, whole * self.limit / throughput))

    def _move(self, level: int, mode: Mode, now: float) -> None:
        """Go to a level; its window begins once all that was in flight at the one before has been answered."""
        before = self.limit
        self.limit = min(max(level, 1), self._max)
        self.mode = mode
        self._window.down = self.limit < before
        self._begin(now)
        if self.limit != before:
            self._window.settle(before)

    @property
    def _needed(self) -> int:
        return answers_needed(self.mode, self.limit, self.latency)

    def _begin(self, now: float) -> None:
        self._window.begin(now, self._needed)

    def __repr__(self) -> str:
        bad = "" if self._bad == math.inf else f", throttled at {self._bad}"
        return f"Concurrency({self.limit} of {self._max}, {self.mode}{bad})"
