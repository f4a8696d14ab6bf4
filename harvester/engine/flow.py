"""The hot path: which request goes out next, and what each answer does to its tile. No task, future or timer per
tile."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from xxhash import xxh3_64_intdigest

from harvester.edges import Answer, Outcome, Request, Source, State, Stored, Verdict, Wait
from harvester.engine.access import Access, Denied
from harvester.engine.doubt import Doubt, Ended
from harvester.engine.feed import Feed
from harvester.engine.repeats import Repeats
from harvester.engine.stop import StopReason
from harvester.engine.suspicion import SUSPECTS
from harvester.engine.tally import Tally
from harvester.engine.throttling import Throttling
from harvester.engine.vouching import CROWD, Vouching
from harvester.engine.windows import Windows
from harvester.engine.witness import AGAIN, Elsewhere, Witness
from harvester.engine.writer import Writer
from harvester.job import Limits
from harvester.pacing import Pacer, RetryHeap
from harvester.tiling.tile import Tile, block_of

MINIMUM_WAIT_SECONDS = 0.05
"""A retry that is due but over the budget is looked at again this often."""

PICTURES = frozenset({"png", "jpg", "webp", "gif"})

TYPES_LOOKED_AT = 64
"""First tiles whose Content-Type is looked at: a server that is set up wrongly is so from the start."""

HOLD = Wait(None)
"""Nothing to ask before an answer comes or something wakes the lanes."""

NO_ANSWER = Answer(0, {}, b"", 0.0)

WHOLE = Outcome.WHOLE
STORED = State.STORED
"""An enum's member costs as much to look up as a call does (Python 3.11); this one is asked for with every tile."""

_new = tuple.__new__
"""Makes a NamedTuple in half the time (benchmarks/bench_engine.py)."""


class Flow:
    """Decides, and acts only on what it was given: feed, writer, pacer, tally. ``wake``, ``stop`` and ``renew`` never
    block. What is not a whole tile goes to those who know about it: ``access`` (refused), ``Throttling`` (too busy),
    ``Vouching`` (nothing but failures), ``Windows``."""

    def __init__(
        self,
        *,
        source: Source,
        feed: Feed,
        writer: Writer,
        pacer: Pacer,
        tally: Tally,
        limits: Limits,
        clock: Callable[[], float],
        wake: Callable[[], None],
        stop: Callable[[StopReason], None],
        renew: Callable[[], None],
        draw: Callable[[], float],
        repeats: Repeats,
        stored_body: Callable[[Tile], bytes | None] = lambda tile: None,
        elsewhere: Elsewhere = lambda share: None,
    ) -> None:
        self._source = source
        self._feed = feed
        self._writer = writer
        self._pacer = pacer
        self._tally = tally
        self._retries = limits.retries
        self._max_tiles = limits.max_tiles
        self._max_bytes = limits.max_bytes
        self._clock = clock
        self._wake = wake
        self._stop = stop
        self._waiting_tries: RetryHeap[Request] = RetryHeap(draw, pacer.budget)
        self._retry_heap = self._waiting_tries.waiting
        self._at_once: deque[Request] = deque()
        self._doubt = Doubt(writer, tally)
        self._recent = self._doubt.recent
        self._repeats = repeats
        self._placeholders = bool(repeats.placeholders)
        self._whole = 0
        self._witness = Witness(source, tally.one_kept, elsewhere)
        self._vouching = Vouching(pacer, self._witness, stop)
        self._suspects = self._vouching.suspects
        self._throttling = Throttling(
            source=source, pacer=pacer, witness=self._witness, waiting=self._waiting_tries, tally=tally, limits=limits,
            draw=draw, stop=stop, fail=self._fail, opened=self._look_twice,
        )  # fmt: skip
        self._refused_tiles = self._throttling.refused_tiles
        self.access = Access(
            source=source, doubt=self._doubt, witness=self._witness, again=self._at_once.append, fail=self._fail_denied,
            uncount=self._uncount, stop=stop, renew=renew, opened=self._look_twice, stored_body=stored_body,
        )  # fmt: skip
        self._guarded = self.access.guarded
        self._windows = Windows(
            source=source, feed=feed, writer=writer, pacer=pacer, tally=tally, doubt=self._doubt,
            waiting=self._waiting_tries, denied=self.access.denied, ended=self._ended,
        )  # fmt: skip
        self._asker: Access | Throttling | None = None
        """Whose question is under way; None: Vouching's."""
        self._ask_fresh = False
        self._careful = self._max_tiles is not None
        """True while there is more to look at than the limit before a tile is asked."""
        self.stopping = False
        self.in_flight = 0
        self.any_ended = False
        self.last_answer = clock()
        self.last_trouble = ""

    def __repr__(self) -> str:
        return (
            f"Flow(in_flight={self.in_flight}, at_once={len(self._at_once)}, retries={len(self._waiting_tries)}, "
            f"{self.access}, {self._throttling}, {self._vouching}, stopping={self.stopping})"
        )

    # ------------------------------------------------------------------------------------------ what to ask

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
            or self._at_once
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

    def _look_twice(self) -> None:
        """Something is open that goes before the next tile."""
        self._careful = True

    def _next_of_all(self) -> Request | Wait | None:
        """The same, whatever waits or holds back."""
        now = self._clock()
        access, throttling = self.access, self._throttling
        if access.renewing:
            return HOLD
        if access.is_open:
            return self._ask_alone(now, access)
        if throttling.is_open:
            return self._ask_alone(now, throttling)
        self._careful = self._max_tiles is not None
        retries, feed = self._waiting_tries, self._feed
        due = retries.next_due()
        retry = due is not None and due <= now and (feed.exhausted or not self._pacer.retries_wait or self._is_crowded)
        some_left = due is not None or feed.next_tile is not None or self._at_once or feed.window_due is not None
        known = some_left and self._vouching.is_next(now)
        if not known and feed.next_tile is None and not retry and feed.window_due is None and not self._at_once:
            if due is not None:
                return Wait(max(due - now, MINIMUM_WAIT_SECONDS))
            return None if feed.exhausted and not self.in_flight else HOLD
        if not known and self._max_tiles is not None and self._whole + self.in_flight >= self._max_tiles:
            return HOLD
        seconds = self._pacer.may_start(now, self.in_flight)
        if seconds > 0.0:
            return HOLD if seconds == math.inf else Wait(seconds)
        self.in_flight += 1
        self._tally.requests += 1
        if known and (question := self._vouching.ask()) is not None:
            return self._question(question, None)
        if self._at_once:
            return self._repeat(self._at_once.popleft())
        if retry:
            return self._repeat(retries.pop())
        if feed.window_due is not None:
            window = self._source.window(feed.open_window())
            assert window is not None
            return window
        self._tally.tile_requests += 1
        return self._source.request(feed.take(), 0)

    def _ask_alone(self, now: float, asker: Access | Throttling) -> Request | Wait:
        """The next step of a question that wants nothing else to be under way."""
        if self.in_flight:
            return HOLD
        seconds = asker.ready_in(now)
        if seconds <= 0.0:
            seconds = self._pacer.may_start(now, 0)
        if seconds > 0.0:
            return HOLD if seconds == math.inf else Wait(seconds)
        self.in_flight += 1
        self._tally.requests += 1
        request = asker.step()
        return self._question(request, asker) if request.attempt == AGAIN else self._repeat(request)

    def _question(self, request: Request, asker: Access | Throttling | None) -> Request:
        self._asker = asker
        self._tally.tile_requests += 1
        self._tally.questions += 1
        return request._replace(fresh=True) if self._ask_fresh else request

    @property
    def _is_crowded(self) -> bool:
        """True when the tiles that failed are to end before more are tried: the host is well, and they are many."""
        return len(self._waiting_tries) >= CROWD and (self._vouching.is_vouched or self._throttling.is_presumed)

    def _repeat(self, request: Request) -> Request:
        """The same thing asked anew, with the credential of now."""
        self._tally.retries += 1
        if request.window:
            window = self._source.window(block_of(request.tile))
            assert window is not None
            return window._replace(attempt=request.attempt, fresh=request.fresh)
        self._tally.tile_requests += 1
        again = self._source.request(request.tile, request.attempt)
        return again._replace(fresh=True) if request.fresh else again

    # ------------------------------------------------------------------------------------------ what came

    def done(self, request: Request, answer: Answer) -> None:
        """Judge an answer into the batch, the retries or a final state. The transport then asks again by itself."""
        now = self._clock()
        tally = self._tally
        self.in_flight -= 1
        self.last_answer = now
        tally.bytes += len(answer.body)
        if answer.stale:
            self._ask_afresh(request)
        elif request.window:
            self._windows.done(now, request, answer)
        else:
            verdict = self._source.judge(request, answer)
            body = verdict.body
            first = request.attempt == 0
            if first:
                self._suspects.append(verdict.reason)
            elif request.attempt == AGAIN:
                self._question_done(now, request, answer, verdict)
                return
            credential = request.credential
            if verdict.outcome is not WHOLE:
                self._otherwise(now, request, answer, verdict)
                return
            self._pacer.ended(now, WHOLE, answer.seconds, first_try=first)
            if self._refused_tiles:
                self._throttling.heard(request, well=True)
            if credential <= self.access.refused:
                self._at_once.append(request)  # asked with a token that has ended: whatever this is, it is no answer
            elif self._placeholders and self._repeats.is_placeholder(body):
                self._not_whole(now, request, answer, Verdict(Outcome.ABSENT, "placeholder"))
            else:
                self._whole += 1
                if self._whole <= TYPES_LOOKED_AT:
                    self._look_at_type(answer, verdict.kind)
                self._repeats.saw(request.tile, body)
                self._witness.served = request.tile
                self.any_ended = True
                tally.last_ended = now
                if self._guarded:
                    sent, digest = now - answer.seconds, xxh3_64_intdigest(body)
                    self._recent.append(_new(Ended, (credential, request.tile, STORED, sent, now, digest, "", 0, ())))
                self._writer.store(_new(Stored, (request.tile, body, verdict.kind)))
                if self._max_tiles is not None and self._whole >= self._max_tiles and not self._finished():
                    self._stop(StopReason.budget("--max-tiles", str(self._max_tiles)))
        if self._max_bytes is not None:
            self._look_at_bytes(self._max_bytes)

    def _look_at_bytes(self, most: int) -> None:
        if self._tally.bytes >= most and not self._finished():
            self._stop(StopReason.budget("--max-bytes", str(most)))

    def _otherwise(self, now: float, request: Request, answer: Answer, verdict: Verdict) -> None:
        """Any answer to a tile's own request that is no whole tile."""
        outcome = verdict.outcome
        is_answer = outcome is Outcome.DENIED or request.credential > self.access.refused
        if is_answer and outcome is Outcome.THROTTLED:
            self.last_trouble = verdict.reason
            self._throttling.refused(
                now, request, answer, verdict, self._whole, only_one=self._finished(), ended=self.any_ended
            )
        else:
            self._pacer.ended(
                now, outcome, answer.seconds, first_try=request.attempt == 0, retry_after=verdict.retry_after
            )
            self._throttling.heard(request, well=outcome in (Outcome.ABSENT, Outcome.UNCHANGED))
            if is_answer:
                self._not_whole(now, request, answer, verdict)
            else:
                self._at_once.append(request)  # asked with a token that has ended: whatever this is, it is no answer
        if self._max_bytes is not None:
            self._look_at_bytes(self._max_bytes)

    def _question_done(self, now: float, request: Request, answer: Answer, verdict: Verdict) -> None:
        """A tile was asked only to see whether it is served."""
        breaker, outcome, asker = self._pacer.breaker, verdict.outcome, self._asker
        breaker.asking = self._ask_fresh = False
        was_open = breaker.open_since is not None
        if request.credential <= self.access.refused and outcome is not Outcome.DENIED:
            self._pacer.unheard()
            return
        self._pacer.ended(now, outcome, answer.seconds, first_try=False, retry_after=verdict.retry_after)
        if outcome is not WHOLE and outcome is not Outcome.UNCHANGED:
            self.last_trouble = verdict.reason
        if asker is not None:
            asker.answered(now, request, verdict)
        else:
            self._tally.throttled += outcome is Outcome.THROTTLED
            self._vouching.answered(now, request, verdict, was_open=was_open)
        if self._max_bytes is not None:
            self._look_at_bytes(self._max_bytes)

    def _ask_afresh(self, request: Request) -> None:
        """An old connection was closed while the request was on its way: a race that no tile has to pay for with one of
        its tries. It goes again at once, and from now on over new connections, so this happens once at most."""
        self._pacer.unheard()
        if request.attempt == AGAIN:
            self._pacer.breaker.asking = False
            self._ask_fresh = True
        else:
            self._at_once.append(request._replace(fresh=True))

    def _look_at_type(self, answer: Answer, kind: str) -> None:
        """Bytes decide what a tile is; that a server calls pictures something else is worth a word."""
        stated = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if stated and kind in PICTURES and not stated.startswith(("image/", "application/octet-stream")):
            self._tally.odd_types[stated[:60]] += 1

    def _finished(self) -> bool:
        return (
            self._feed.exhausted
            and not self.in_flight
            and not self._retry_heap
            and not self._at_once
            and not self._throttling.is_open
            and not self.access.is_open
        )

    def _ended(self, now: float) -> None:
        self._tally.last_ended = now
        self.any_ended = True

    def _not_whole(self, now: float, request: Request, answer: Answer, verdict: Verdict) -> None:
        outcome, tile = verdict.outcome, request.tile
        if outcome is Outcome.ABSENT:
            if answer.status == 404:
                self._tally.answered_404 += 1
            self._tally.absences[tile.level, verdict.reason] += 1
            self._ended(now)
            self._doubt.remember(now, request, answer, State.ABSENT, verdict.reason)
            self._writer.mark(tile, State.ABSENT)
            return
        if outcome is Outcome.UNCHANGED:
            self._ended(now)
            self._witness.served = tile
            self._writer.mark(tile, State.UNCHANGED)
            return
        self.last_trouble = verdict.reason
        if outcome is Outcome.DENIED:
            self.access.denied(request, verdict)
        elif outcome is Outcome.RETRY and request.attempt < self._retries:
            again = request._replace(attempt=request.attempt + 1)
            self._waiting_tries.push(again, now, tries=again.attempt, throttled=False)
        else:
            self._fail(now, request, answer, verdict.reason)
        if verdict.reason in SUSPECTS:
            self._vouching.suspect(now, verdict, answer)

    # ------------------------------------------------------------------------------------------ ends without a tile

    def _fail(self, now: float, request: Request, answer: Answer, reason: str) -> None:
        """It is wrong after all tries, or for its own sake."""
        if self._pacer.breaker.open_since is None:  # else it was a probe: one more failure is no progress
            self._ended(now)
        self._doubt.remember(now, request, answer, State.FAILED, reason)
        self._writer.mark(request.tile, State.FAILED, reason)

    def _fail_denied(self, denied: Denied) -> None:
        """Refused again while the credential holds: a tile is failed, the tiles of a window are asked."""
        request = denied.request
        if request.window:
            self._feed.window_failed(block_of(request.tile))
        else:
            self._fail(self._clock(), request, NO_ANSWER, denied.verdict.reason)

    def give_up(self) -> bool:
        """No tile ended for a long time: those that are busy for their own sake are failed. True when that helped."""
        now, waiting = self._clock(), self._waiting_tries.drain()
        others = self._throttling.give_up(now, waiting)
        for request in others:
            self._waiting_tries.push_at(request, now)
        self._wake()
        return len(others) < len(waiting) or self._finished()

    def renewed(self) -> None:
        """A new credential is there: go on."""
        self.access.renewed()
        self._wake()

    def _uncount(self, tiles: int) -> None:
        self._whole -= tiles

    @property
    def whole(self) -> int:
        """Whole tiles that came and were not taken back."""
        return self._whole
