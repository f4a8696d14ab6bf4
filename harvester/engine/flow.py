"""The hot path: which request goes out next, and what each answer does to its tile. No task, future or timer per
tile."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from xxhash import xxh3_64_intdigest

from harvester.edges import Answer, Outcome, Request, Source, State, Stored, Verdict, Wait
from harvester.engine.busy import Busy
from harvester.engine.doubt import Doubt, Ended, Question
from harvester.engine.feed import Feed
from harvester.engine.repeats import Repeats
from harvester.engine.stop import StopReason
from harvester.engine.suspicion import SUSPECTS, Suspicion
from harvester.engine.tally import Tally
from harvester.engine.witness import AGAIN, CROWD, Witness
from harvester.engine.writer import Writer
from harvester.job import Limits
from harvester.pacing import LONGEST_PAUSE_SECONDS, Pacer, RetryHeap, backoff
from harvester.redact import PLAIN_HEADERS
from harvester.tiling.tile import Tile, block_of

WINDOW_TRIES = 3
"""Tries for one tilemap window before its tiles are asked instead."""

MINIMUM_WAIT_SECONDS = 0.05
"""A retry that is due but over the budget is looked at again this often."""

PICTURES = frozenset({"png", "jpg", "webp", "gif"})

TYPES_LOOKED_AT = 64
"""First tiles whose Content-Type is looked at: a server that is set up wrongly is so from the start."""

HOLD = Wait(None)
"""Nothing to ask before an answer comes or something wakes the lanes."""

WHOLE = Outcome.WHOLE
STORED = State.STORED
"""An enum's member costs as much to look up as a call does (Python 3.11); this one is asked for with every tile."""

_new = tuple.__new__
"""Makes a NamedTuple in half the time (benchmarks/bench_engine.py)."""


class Flow:
    """Decides, and acts only on what it was given: feed, writer, pacer, tally. ``wake``, ``stop`` and ``renew`` never
    block."""

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
    ) -> None:
        self._source = source
        self._stored_body = stored_body
        self._feed = feed
        self._writer = writer
        self._pacer = pacer
        self._tally = tally
        self._retries = limits.retries
        self._max_tiles = limits.max_tiles
        self._max_bytes = limits.max_bytes
        self._max_duration = limits.max_duration_seconds
        self._clock = clock
        self._wake = wake
        self._stop = stop
        self._renew = renew
        self._draw = draw
        self._waiting_tries: RetryHeap[Request] = RetryHeap(draw, pacer.budget)
        self._retry_heap = self._waiting_tries.waiting
        self._at_once: deque[Request] = deque()
        self._denials: dict[tuple[Tile, int], int] = {}
        self._doubt = Doubt(writer, tally)
        self._recent = self._doubt.recent
        shown = (name.lower() for host in source.hosts for name, _ in host.headers)
        self._guarded = source.can_renew or source.credential > 0 or any(name not in PLAIN_HEADERS for name in shown)
        """Whether anything is shown to the service that can end; what is open to all can't be in doubt."""
        self._suspicion = Suspicion()
        self._suspects = self._suspicion.reasons
        self._renewing = False
        self._refused = -1
        """Credentials up to this generation are refused: whatever else comes for them is asked again."""
        self._repeats = repeats
        self._placeholders = bool(repeats.placeholders)
        self._whole = 0
        self._witness = Witness(pacer.breaker, tally.one_kept)
        self._busy = Busy()
        self._unusable: StopReason | None = None
        """Why to stop, if a tile that is known to be good is not served either."""
        self.stopping = False
        self.in_flight = 0
        self.any_ended = False
        self.last_answer = clock()
        self.last_trouble = ""

    def __repr__(self) -> str:
        return (
            f"Flow(in_flight={self.in_flight}, at_once={len(self._at_once)}, retries={len(self._waiting_tries)}, "
            f"renewing={self._renewing}, stopping={self.stopping})"
        )

    # ------------------------------------------------------------------------------------------ what to ask

    def next_request(self) -> Request | Wait | None:
        """The next request: one to repeat at once, a due retry, a tilemap window, the next tile; else a Wait, or None
        at the end."""
        if self.stopping:
            return None
        if not self._writer.has_room or self._renewing:
            return HOLD
        pacer, feed = self._pacer, self._feed
        if (
            not pacer.free
            or self._retry_heap
            or self._at_once
            or feed.next_tile is None
            or feed.window_due is not None
            or self._max_tiles is not None
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

    def _next_of_all(self) -> Request | Wait | None:
        """The same, whatever waits or holds back."""
        now = self._clock()
        retries, feed = self._waiting_tries, self._feed
        due = retries.next_due()
        retry = due is not None and due <= now and (feed.exhausted or not self._pacer.retries_wait or self._is_crowded)
        some_left = due is not None or feed.next_tile is not None or self._at_once or feed.window_due is not None
        known = some_left and self._witness.is_next(now)
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
        if known:
            self._pacer.breaker.asking = True
            return self._repeat(self._source.request(self._witness.tile(), AGAIN))
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
        return self._pacer.breaker.is_vouched and len(self._waiting_tries) >= CROWD

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
            self._window_done(now, request, answer)
        else:
            verdict = self._source.judge(request, answer)
            body = verdict.body
            first = request.attempt == 0
            if first:
                self._suspects.append(verdict.reason)
            elif request.attempt == AGAIN:
                self._known_done(now, request, answer, verdict)
                return
            credential = request.credential
            if verdict.outcome is not WHOLE:
                self._otherwise(now, request, answer, verdict)
                return
            self._pacer.ended(now, WHOLE, answer.seconds, first_try=first)
            if credential <= self._refused:
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
        outcome, times, own = verdict.outcome, 1, False
        if outcome is Outcome.THROTTLED:
            times, own = self._busy.saw(request.tile, self._whole)
        if own:
            self._pacer.unheard()
        else:
            self._pacer.ended(
                now, outcome, answer.seconds, first_try=request.attempt == 0, retry_after=verdict.retry_after
            )
        if request.credential <= self._refused and outcome is not Outcome.DENIED:
            self._at_once.append(request)  # asked with a token that has ended: whatever this is, it is no answer
        elif outcome is Outcome.THROTTLED:
            self._throttled(now, request, verdict, times, own)
        else:
            self._not_whole(now, request, answer, verdict)
        if self._max_bytes is not None:
            self._look_at_bytes(self._max_bytes)

    def _known_done(self, now: float, request: Request, answer: Answer, verdict: Verdict) -> None:
        """A tile that is known to be good was asked again: served, the host is well, and the others are bad tiles."""
        breaker, outcome = self._pacer.breaker, verdict.outcome
        breaker.asking = False
        was_open = breaker.open_since is not None
        if request.credential <= self._refused and outcome is not Outcome.DENIED:
            self._pacer.unheard()
            self._at_once.append(request)
            return
        self._pacer.ended(now, outcome, answer.seconds, first_try=False, retry_after=verdict.retry_after)
        if outcome is Outcome.DENIED:
            self._denied(request, verdict)
        elif outcome is WHOLE or outcome is Outcome.UNCHANGED:
            self._unusable = None
            self._witness.served = request.tile
            if was_open:
                breaker.vouch()
        elif self._unusable is not None and self._witness.served is None:
            self._stop(self._unusable)
        else:
            self._unusable = None
            self.last_trouble = verdict.reason
            self._tally.throttled += outcome is Outcome.THROTTLED

    def _ask_afresh(self, request: Request) -> None:
        """An old connection was closed while the request was on its way: a race that no tile has to pay for with one of
        its tries. It goes again at once, and from now on over new connections, so this happens once at most."""
        self._pacer.unheard()
        if request.attempt == AGAIN:
            self._pacer.breaker.asking = False
        self._at_once.append(request._replace(fresh=True))

    def _look_at_type(self, answer: Answer, kind: str) -> None:
        """Bytes decide what a tile is; that a server calls pictures something else is worth a word."""
        stated = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if stated and kind in PICTURES and not stated.startswith(("image/", "application/octet-stream")):
            self._tally.odd_types[stated[:60]] += 1

    def _finished(self) -> bool:
        return self._feed.exhausted and not self.in_flight and not len(self._waiting_tries) and not self._at_once

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
            self._denied(request, verdict)
        elif outcome is Outcome.RETRY and request.attempt < self._retries:
            again = request._replace(attempt=request.attempt + 1)
            self._waiting_tries.push(again, now, tries=again.attempt, throttled=False)
        else:
            if self._pacer.breaker.open_since is None:  # else it was a probe: one more failure is no progress
                self._ended(now)
            self._doubt.remember(now, request, answer, State.FAILED, verdict.reason)
            self._writer.mark(tile, State.FAILED, verdict.reason)
        if verdict.reason in SUSPECTS:
            open_since = self._pacer.breaker.open_since
            open_for = None if open_since is None else now - open_since
            served = self._witness.served is not None
            reason = self._suspicion.reason_to_stop(verdict.reason, answer, served, open_for)
            if reason is not None:
                self._seems_unusable(now, reason)

    def _seems_unusable(self, now: float, reason: StopReason) -> None:
        """All that was asked says so; a tile that an earlier run stored may say otherwise."""
        breaker = self._pacer.breaker
        if not self._witness.is_due:
            self._stop(reason)
            return
        self._unusable = reason
        if breaker.open_since is None:
            breaker.open(now)

    def _throttled(self, now: float, request: Request, verdict: Verdict, times: int, own: bool) -> None:
        self._tally.throttled += 1
        self.last_trouble = verdict.reason
        asked = verdict.retry_after or 0.0
        left = (
            LONGEST_PAUSE_SECONDS
            if self._max_duration is None
            else min(LONGEST_PAUSE_SECONDS, self._max_duration - (now - self._tally.started))
        )
        if asked > left and not own:
            budget = asked <= LONGEST_PAUSE_SECONDS
            self._stop(StopReason.come_back(asked, ever=self.any_ended or budget))
        # Being throttled uses up no tries. Others go first once a pause is over: it may be this tile's own trouble.
        wait = backoff(times, 1.0, throttled=True) if own else 0.0
        spread = 0.0 if own else backoff(times, self._draw(), throttled=True)
        self._waiting_tries.push_at(request, now + max(asked, wait) + spread)

    def _denied(self, request: Request, verdict: Verdict) -> None:
        if request.credential == self._source.credential:
            asked = (request.tile, request.window)
            times = self._denials[asked] = self._denials.get(asked, 0) + 1
            if times > 1:
                self._take_back(request.credential)
                self._stop(
                    StopReason(
                        code="auth",
                        message=f"the source refused tile {request.tile} again ({verdict.reason}) "
                        + ("with a new token" if self._source.can_renew else "on a second try"),
                        hint="Check the credentials (--token-env, --username with --password-env) and that they may "
                        "read this service; then run the same command again.",
                        exit_code=3,
                    )
                )
            elif self._source.can_renew:
                self._take_back(request.credential)
                self.renew()
        else:
            self._take_back(request.credential)
        self._at_once.append(request)

    def renew(self) -> None:
        """Get a new credential, once for all who wait. Nothing is asked meanwhile: the old one may have ended."""
        if not self._renewing:
            self._renewing = True
            self._renew()

    def renewed(self) -> None:
        """A new credential is there: go on."""
        self._renewing = False
        self._wake()

    def question(self) -> Question | None:
        """What would tell whether the credential still holds, where answers are in doubt."""
        return self._doubt.question(self._source.credential, self._kept) if self._guarded else None

    def _kept(self) -> tuple[Tile, int] | None:
        """A tile that an earlier run stored, with its digest."""
        tile = self._witness.kept
        body = None if tile is None else self._stored_body(tile)
        return None if tile is None or body is None else (tile, xxh3_64_intdigest(body))

    def holds(self) -> None:
        """The credential holds: nothing is in doubt."""
        self._doubt.settle()

    def ended(self) -> int:
        """The credential had ended: what is in doubt is pending again. Gives how many whole tiles are left."""
        self._take_back(self._source.credential)
        return self._whole

    def _take_back(self, credential: int) -> None:
        """A credential was refused: what may have been answered to it after its end is pending again, and asked."""
        self._refused = max(self._refused, credential)
        doubtful = self._doubt.take_back(credential)
        self._whole -= sum(ended.state is STORED for ended in doubtful)
        self._at_once.extend(self._source.request(tile, 0) for ended in doubtful for tile in ended.tiles())

    def _window_done(self, now: float, request: Request, answer: Answer) -> None:
        key = block_of(request.tile)
        read = self._source.read_window(request, answer)
        if read is not None:
            self._pacer.ended(now, Outcome.WHOLE, answer.seconds, first_try=request.attempt == 0)
            self._ended(now)
            absent = self._feed.window_answered(key, read)
            if absent:
                self._writer.mark_block(key, State.ABSENT, absent)
                self._doubt.remember(now, request, answer, State.ABSENT, "tilemap", tuple(absent))
            return
        verdict = self._source.judge(request, answer)
        outcome = verdict.outcome
        if outcome is Outcome.DENIED:
            self._pacer.ended(now, outcome, answer.seconds, first_try=False)
            self._denied(request, verdict)
            return
        self._tally.throttled += outcome is Outcome.THROTTLED
        transient = answer.fault is not None or outcome is Outcome.THROTTLED or answer.status >= 500
        self._pacer.ended(
            now,
            outcome if transient else Outcome.WHOLE,
            answer.seconds,
            first_try=False,
            retry_after=verdict.retry_after,
        )
        if transient and request.attempt + 1 < WINDOW_TRIES:
            again = request._replace(attempt=request.attempt + 1)
            self._waiting_tries.push(again, now, tries=again.attempt, throttled=outcome is Outcome.THROTTLED)
        else:
            self._feed.window_failed(key)
