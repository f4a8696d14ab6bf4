"""What goes out next: the asking half of the hot path."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from harvester.edges import Request, Wait
from harvester.engine.parts import Parts
from harvester.engine.questions import HOLD, Questions
from harvester.engine.vouching import CROWD
from harvester.engine.witness import AGAIN
from harvester.tiling.tile import block_of

MINIMUM_WAIT_SECONDS = 0.05
"""A retry that is due but over the budget is looked at again this often."""

MOST_WAITING = 65_536
"""Tiles that wait for another try: so many, and no more are begun. 38 MB where paths hold a token."""


class Asking:
    """Gives the next request. ``came``: whole tiles there are so far; what ``Sharing`` adds goes for several hosts."""

    def __init__(self, parts: Parts) -> None:
        self.stopping = False
        self.in_flight = 0
        self.at_once: deque[Request] = deque()
        """What is to be repeated before anything else."""
        self._source = parts.source
        self._feed = parts.feed
        self._writer = parts.writer
        self._sites = parts.sites
        self._pacer = parts.sites.first.pacer
        self._tally = parts.tally
        self._max_tiles = parts.limits.max_tiles
        self._clock = parts.clock
        self._waiting_tries = parts.waiting
        self._retry_heap = parts.waiting.waiting
        self._questions: Questions
        self._came: Callable[[], int]
        self._retried = False  # the last one; while no host answers well, such and untried ones are asked in turn
        self._careful = self._is_always_careful = self._max_tiles is not None
        """True while there is more to look at than the limit before a tile is asked."""

    def begin(self, questions: Questions, came: Callable[[], int]) -> None:
        """Whom to ask for questions, and for the number of whole tiles that came."""
        self._questions, self._came = questions, came

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(in_flight={self.in_flight}, at_once={len(self.at_once)}, "
            f"retries={len(self._waiting_tries)}, stopping={self.stopping})"
        )

    def next_request(self) -> Request | Wait | None:
        """The next request: a question that goes before all others, one to repeat at once, a due retry, a tilemap
        window, the next tile; else a Wait, or None at the end."""
        if self.stopping:
            return None
        if not self._writer.has_room:
            return HOLD
        pacer, feed = self._pacer, self._feed
        if (
            not pacer.free
            or self._retry_heap
            or self.at_once
            or feed.next_tile is None
            or feed.window_due is not None
            or self._careful
        ):
            return self._next_of_all()
        # Nearly always: a tile for the first time, and nothing that holds it back but the limit.
        if self.in_flight >= pacer.concurrency.limit:
            pacer.concurrency.on_full()
            return HOLD
        self.in_flight += 1
        tally = self._tally
        tally.requests += 1
        tally.tile_requests += 1
        return self._source.request(feed.take(), 0)

    def look_twice(self) -> None:
        """Something is open that goes before the next tile."""
        self._careful = True

    def _next_of_all(self) -> Request | Wait | None:
        """The same, whatever waits or holds back."""
        now = self._clock()
        if self._questions.is_open:
            return self._alone(now)
        self._careful = self._is_always_careful
        return self._next_of_others(now)

    def _alone(self, now: float) -> Request | Wait:
        questions = self._questions
        step = questions.alone(now, self.in_flight)
        if isinstance(step, Wait):
            return step
        self.in_flight += 1
        self._tally.requests += 1
        if step.attempt == AGAIN:
            return step
        if questions.demand.is_open and questions.demand.is_first:
            self._tally.tile_requests += 1
            return step
        return self._sites.at(self._repeat(step), self._sites.of(step.host))

    def _next_of_others(self, now: float) -> Request | Wait | None:
        questions, retries, feed = self._questions, self._waiting_tries, self._feed
        due = retries.next_due()
        retry = due is not None and due <= now and self._may_retry
        some_left = due is not None or feed.next_tile is not None or self.at_once or feed.window_due is not None
        known = some_left and questions.is_probe(now, self._due(now))
        begins = feed.next_tile is not None and len(retries) < MOST_WAITING
        if not known and not begins and not retry and feed.window_due is None and not self.at_once:
            if due is not None:
                return Wait(max(due - now, MINIMUM_WAIT_SECONDS))
            return None if feed.exhausted and not self.in_flight else HOLD
        if not known and self._has_all_wanted:
            return HOLD
        seconds = self._pacer.may_start(now, self.in_flight)
        if seconds > 0.0:
            return HOLD if seconds == math.inf else Wait(seconds)
        self.in_flight += 1
        self._tally.requests += 1
        if known and (question := questions.probe()) is not None:
            return question
        if self.at_once:
            return self._repeat(self.at_once.popleft())
        if retry:
            self._retried = True
            return self._repeat(retries.pop())
        if feed.window_due is not None:
            window = self._source.window(feed.open_window())
            assert window is not None
            return window
        self._retried = False
        self._tally.tile_requests += 1
        return self._source.request(feed.take(), 0)

    @property
    def _has_all_wanted(self) -> bool:
        """True when no more tiles may be asked before an answer comes."""
        return self._max_tiles is not None and self._came() + self.in_flight >= self._max_tiles

    @property
    def _may_retry(self) -> bool:
        """True when what is due goes before what was not tried yet, or nothing of that may begin; only where something
        is due."""
        if self._feed.exhausted or not self._sites.retries_wait:
            return True
        if self._sites.are_silent and (not self._retried or self._questions.is_followed(self._waiting_tries.first())):
            return True
        waiting = len(self._waiting_tries)
        return waiting >= MOST_WAITING or (waiting >= CROWD and self._is_well)

    def _due(self, now: float) -> Request | None:
        """What waits, and need not any longer."""
        due = self._waiting_tries.next_due()
        return None if due is None or due > now else self._waiting_tries.first()

    @property
    def _is_well(self) -> bool:
        """True when the host is known to be well though tiles fail: those are to end before more are tried."""
        return self._sites.first.vouching.is_vouched or self._questions.throttling.is_presumed

    def _repeat(self, request: Request) -> Request:
        """The same thing asked anew, and counted."""
        self._tally.retries += 1
        self._tally.tile_requests += not request.window
        return self._anew(request)

    def _anew(self, request: Request) -> Request:
        """With the credential of now."""
        if request.window:
            window = self._source.window(block_of(request.tile))
            assert window is not None
            return window._replace(attempt=request.attempt, fresh=request.fresh)
        again = self._source.request(request.tile, request.attempt)
        return again._replace(fresh=True) if request.fresh else again

    @property
    def others(self) -> float:
        """Requests that wait or are under way, besides the one that was just answered; infinite until all tiles were
        asked."""
        if not self._feed.exhausted:
            return math.inf
        return float(self.in_flight + len(self._waiting_tries) + len(self.at_once))

    @property
    def is_finished(self) -> bool:
        """True when nothing is left to ask and nothing under way."""
        return (
            self._feed.exhausted
            and not self.in_flight
            and not self._retry_heap
            and not self.at_once
            and not self._questions.is_open
        )
