"""What goes out next where several hosts serve the same tiles: whatever waits, for whichever host takes it."""

from __future__ import annotations

import math

from harvester.edges import Request, Wait
from harvester.engine.asking import MINIMUM_WAIT_SECONDS, MOST_WAITING, Asking
from harvester.engine.equals import Equals
from harvester.engine.parts import Parts
from harvester.engine.questions import HOLD


class Sharing(Asking):
    """``Asking`` of several hosts. What one of them can't take just now does not hold up what another could."""

    def __init__(self, parts: Parts, equals: Equals) -> None:
        super().__init__(parts)
        self._opinions, self._absences, self._denials = equals.opinions, equals.absences, equals.denials
        self._second_words = equals.denials.due
        self._careful = self._is_always_careful = True

    def _next_of_others(self, now: float) -> Request | Wait | None:
        feed = self._feed
        due = self._waiting_tries.next_due()
        waits = due is not None or self.at_once or self._second_words
        if not waits and feed.next_tile is None and feed.window_due is None:
            return None if feed.exhausted and not self.in_flight else HOLD
        question = self._questions.probe_of_any(now, self._due(now))
        if question is not None:
            self.in_flight += 1
            self._tally.requests += 1
            return question
        if self._has_all_wanted:
            return HOLD
        soonest = math.inf
        for step in (self._first_of_at_once, self._due_retry, self._second_word, self._window, self._tile):
            asked = step(now)
            if isinstance(asked, Request):
                self.in_flight += 1
                self._tally.requests += 1
                return asked
            soonest = min(soonest, asked)
        return HOLD if soonest == math.inf else Wait(soonest)

    # Each of these: the request, started, or seconds until it may be.

    def _first_of_at_once(self, now: float) -> Request | float:
        if not self.at_once:
            return math.inf
        again = self._sites.start(now, self._anew(self.at_once[0]))
        if isinstance(again, Request):
            self._count(self.at_once.popleft())
        return again

    def _due_retry(self, now: float) -> Request | float:
        """Asked where it was not refused, and not where it failed last, unless that host is known to be well: another
        one may do better."""
        waiting = self._waiting_tries
        due = waiting.next_due()
        if due is None:
            return math.inf
        if due > now:
            return max(due - now, MINIMUM_WAIT_SECONDS)
        if not self._may_retry:
            return math.inf if self._feed.next_tile is not None else MINIMUM_WAIT_SECONDS
        request = waiting.first()
        last = self._sites.of(request.host)
        avoid = {*self._opinions.by(request.tile), *self._absences.by(request.tile)}
        if not last.vouching.is_vouched:
            avoid.add(last)
        again = self._sites.start(now, self._anew(request), avoid)
        if isinstance(again, Request):
            self._retried = True
            waiting.pop()
            self._sites.of(again.host).pacer.budget.take()
            self._count(request)
        return again

    def _second_word(self, now: float) -> Request | float:
        """A window that one host answered, of another one."""
        if not self._second_words:
            return math.inf
        key = self._second_words[0]
        window = self._source.window(key)
        assert window is not None
        started = self._sites.start(now, window, self._denials.asked(key))
        if isinstance(started, Request):
            self._second_words.popleft()
        return started

    def _window(self, now: float) -> Request | float:
        key = self._feed.window_due
        window = None if key is None else self._source.window(key)
        if window is None:
            return math.inf
        started = self._sites.start(now, window)
        if isinstance(started, Request):
            self._feed.open_window()
        return started

    def _tile(self, now: float) -> Request | float:
        tile = self._feed.next_tile
        if tile is None or len(self._waiting_tries) >= MOST_WAITING:
            return math.inf
        started = self._sites.start(now, self._source.request(tile, 0))
        if isinstance(started, Request):
            self._retried = False
            self._feed.take()
            self._tally.tile_requests += 1
        return started

    def _count(self, request: Request) -> None:
        self._tally.retries += 1
        self._tally.tile_requests += not request.window

    @property
    def _is_well(self) -> bool:
        """True when some host is."""
        if self._questions.throttling.is_presumed:
            return True
        now = self._clock()
        return any(
            not site.is_out(now) and (site.vouching.is_vouched or not site.pacer.breaker.suspects)
            for site in self._sites.all
        )
