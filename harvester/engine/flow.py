"""The hot path: which request goes out next, and what each answer does to its tile. No task, future or timer per
tile."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

from xxhash import xxh3_64_intdigest

from harvester.edges import Answer, Outcome, Request, Source, State, Stored, Verdict, Wait
from harvester.engine.doubt import Doubt, Ended
from harvester.engine.ends import Ends
from harvester.engine.feed import Feed
from harvester.engine.questions import HOLD, Questions
from harvester.engine.repeats import Repeats
from harvester.engine.stop import StopReason
from harvester.engine.suspicion import SUSPECTS
from harvester.engine.tally import TYPES_LOOKED_AT, Tally
from harvester.engine.vouching import CROWD
from harvester.engine.windows import Windows
from harvester.engine.witness import AGAIN, Elsewhere
from harvester.engine.writer import Writer
from harvester.job import Limits
from harvester.pacing import Pacer, RetryHeap
from harvester.tiling.tile import Tile, block_of

MINIMUM_WAIT_SECONDS = 0.05
"""A retry that is due but over the budget is looked at again this often."""

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
        self.doubt = self._doubt = Doubt(writer, tally)
        self._recent = self._doubt.recent
        self._repeats = repeats
        self._placeholders = bool(repeats.placeholders)
        self.whole = 0
        """Whole tiles that came and were not taken back."""
        self._taken_back = 0
        self.ends = Ends(feed=feed, writer=writer, tally=tally, doubt=self._doubt, breaker=pacer.breaker)
        self._questions = questions = Questions(
            source=source, pacer=pacer, tally=tally, limits=limits, doubt=self._doubt, ends=self.ends,
            waiting=self._waiting_tries, clock=clock, draw=draw, stop=stop, renew=renew, again=self._at_once.append,
            uncount=self._uncount, opened=self._look_twice, stored_body=stored_body, elsewhere=elsewhere,
        )  # fmt: skip
        self._witness, self.access = questions.witness, questions.access
        self._vouching, self._throttling = questions.vouching, questions.throttling
        self._suspects = self._vouching.suspects
        self._refused_tiles = self._throttling.refused_tiles
        self._guarded = self.access.guarded
        self._windows = Windows(
            source=source, feed=feed, writer=writer, pacer=pacer, tally=tally, doubt=self._doubt,
            waiting=self._waiting_tries, denied=self.access.denied, ended=self.ends.ended,
        )  # fmt: skip
        self._careful = self._max_tiles is not None
        """True while there is more to look at than the limit before a tile is asked."""
        self.stopping = False
        self.in_flight = 0
        self.last_answer = clock()

    def __repr__(self) -> str:
        return (
            f"Flow(in_flight={self.in_flight}, at_once={len(self._at_once)}, retries={len(self._waiting_tries)}, "
            f"{self._questions}, stopping={self.stopping})"
        )

    @property
    def any_ended(self) -> bool:
        """True once any tile had an end in this run."""
        return self.whole > 0 or self.ends.any

    def _uncount(self, tiles: int) -> None:
        self.ends.any = self.any_ended
        self.whole -= tiles
        self._taken_back += tiles

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
        questions = self._questions
        if questions.is_open:
            step = questions.alone(now, self.in_flight)
            if isinstance(step, Wait):
                return step
            self.in_flight += 1
            self._tally.requests += 1
            return step if step.attempt == AGAIN else self._repeat(step)
        self._careful = self._max_tiles is not None
        retries, feed = self._waiting_tries, self._feed
        due = retries.next_due()
        retry = due is not None and due <= now and (feed.exhausted or not self._pacer.retries_wait or self._is_crowded)
        some_left = due is not None or feed.next_tile is not None or self._at_once or feed.window_due is not None
        known = some_left and questions.is_probe(now)
        if not known and feed.next_tile is None and not retry and feed.window_due is None and not self._at_once:
            if due is not None:
                return Wait(max(due - now, MINIMUM_WAIT_SECONDS))
            return None if feed.exhausted and not self.in_flight else HOLD
        if not known and self._max_tiles is not None and self.whole + self.in_flight >= self._max_tiles:
            return HOLD
        seconds = self._pacer.may_start(now, self.in_flight)
        if seconds > 0.0:
            return HOLD if seconds == math.inf else Wait(seconds)
        self.in_flight += 1
        self._tally.requests += 1
        if known and (question := questions.probe()) is not None:
            return question
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
                if verdict.outcome is not WHOLE:
                    self.ends.trouble = verdict.reason
                self._questions.answered(now, request, answer, verdict)
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
                self.ends.absent(now, request, answer, "placeholder")
            else:
                self.whole += 1
                if self.whole <= TYPES_LOOKED_AT:
                    tally.look_at_type(answer.headers.get("content-type", ""), verdict.kind)
                self._repeats.saw(request.tile, body)
                self._witness.served = request.tile
                tally.last_ended = now
                if self._guarded:
                    sent, digest = now - answer.seconds, xxh3_64_intdigest(body)
                    self._recent.append(_new(Ended, (credential, request.tile, STORED, sent, now, digest, "", 0, ())))
                self._writer.store(_new(Stored, (request.tile, body, verdict.kind)))
                if self._max_tiles is not None and self.whole >= self._max_tiles and not self._finished():
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
        if outcome is Outcome.DENIED or outcome is Outcome.THROTTLED:
            self.doubt.refusals.add(now, self.whole + self._taken_back)
        if is_answer and outcome is Outcome.THROTTLED:
            self.ends.trouble = verdict.reason
            came = self.whole + self._taken_back
            self._throttling.refused(
                now, request, answer, verdict, came, only_one=self._finished(), ended=self.any_ended
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

    def _ask_afresh(self, request: Request) -> None:
        """An old connection was closed while the request was on its way: a race that no tile has to pay for with one of
        its tries. It goes again at once, and from now on over new connections, so this happens once at most."""
        self._pacer.unheard()
        if request.attempt == AGAIN:
            self._questions.stale()
        else:
            self._throttling.heard(request, well=False)
            self._at_once.append(request._replace(fresh=True))

    def _finished(self) -> bool:
        return (
            self._feed.exhausted
            and not self.in_flight
            and not self._retry_heap
            and not self._at_once
            and not self._questions.is_open
        )

    def _not_whole(self, now: float, request: Request, answer: Answer, verdict: Verdict) -> None:
        outcome, ends = verdict.outcome, self.ends
        if outcome is Outcome.ABSENT:
            ends.absent(now, request, answer, verdict.reason)
            return
        if outcome is Outcome.UNCHANGED:
            self._witness.served = request.tile
            ends.unchanged(now, request.tile)
            return
        ends.trouble = verdict.reason
        if outcome is Outcome.DENIED:
            self.access.denied(request, verdict)
        elif outcome is Outcome.RETRY and request.attempt < self._retries:
            again = request._replace(attempt=request.attempt + 1)
            self._waiting_tries.push(again, now, tries=again.attempt, throttled=False)
        else:
            ends.failed(now, request, answer, verdict.reason)
        if verdict.reason in SUSPECTS:
            self._vouching.suspect(now, verdict, answer)

    # ------------------------------------------------------------------------------------------ from outside

    def ask_again(self, doubtful: Sequence[Ended]) -> None:
        """What these answers ended is pending again, and asked at once."""
        self._uncount(sum(ended.state is State.STORED and ended.credential >= 0 for ended in doubtful))
        self._at_once.extend(self._source.request(ended.tile, 0) for ended in doubtful)

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
