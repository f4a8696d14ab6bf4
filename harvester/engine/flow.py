"""The hot path's other half: what each answer does to its tile. No task, future or timer per tile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from xxhash import xxh3_64_intdigest

from harvester.edges import Answer, Host, Outcome, Request, State, Stored, Verdict, what_came
from harvester.engine.asking import Asking
from harvester.engine.doubt import Ended
from harvester.engine.ends import Ends
from harvester.engine.equals import Equals
from harvester.engine.parts import Parts
from harvester.engine.questions import Questions
from harvester.engine.sharing import Sharing
from harvester.engine.stop import StopReason
from harvester.engine.suspicion import SUSPECTS
from harvester.engine.tally import TYPES_LOOKED_AT
from harvester.engine.vouching import FOLLOWED
from harvester.engine.windows import Windows
from harvester.engine.witness import AGAIN
from harvester.wording import with_detail

WHOLE: Final = Outcome.WHOLE
THROTTLED: Final = Outcome.THROTTLED
STORED: Final = State.STORED
"""An enum's member costs as much to look up as a call does (Python 3.11); this one is asked for with every tile."""

_new: Final = tuple.__new__
"""Makes a NamedTuple in half the time (benchmarks/bench_engine.py)."""


class Flow:
    """Judges, and acts only on what it was given. What is not a whole tile goes to those who know about it: ``access``
    (refused), ``Throttling`` (too busy), ``Vouching`` (nothing but failures), ``Windows``. ``asking`` says what goes
    out."""

    def __init__(self, parts: Parts) -> None:
        self._source = parts.source
        self._writer = parts.writer
        self._sites = sites = parts.sites
        self._several = sites.are_several
        # Of the host that answers: where there is one, always the same.
        self._site = sites.first
        self._pacer = sites.first.pacer
        self._vouching = sites.first.vouching
        self._suspects = self._vouching.suspects
        self._tally = parts.tally
        limits = parts.limits
        self._retries = max(limits.retries, len(sites.all) - 1)
        for site in sites.all:
            site.pacer.faults.never_retried = not self._retries
        self._followed = min(FOLLOWED, self._retries - 1)
        self._max_tiles = limits.max_tiles
        self._max_bytes = limits.max_bytes
        self._clock = parts.clock
        self._wake = parts.wake
        self._stop = parts.stop
        self._waiting_tries = parts.waiting
        self.doubt = self._doubt = parts.doubt
        self._recent = parts.doubt.recent
        self._repeats = parts.repeats
        self._placeholders = bool(parts.repeats.placeholders)
        self._witness = parts.witness
        self.whole = 0
        """Whole tiles that came and were not taken back."""
        self._taken_back = 0
        self.ends = Ends(parts)
        self._equals = equals = Equals(parts, ends=self.ends) if self._several else None
        self.asking = asking = Asking(parts) if equals is None else Sharing(parts, equals)
        self._at_once = asking.at_once
        self._questions = questions = Questions(
            parts, ends=self.ends, again=asking.at_once.append, uncount=self._uncount, opened=asking.look_twice
        )
        asking.begin(questions, lambda: self.whole)
        self.access = questions.access
        self._throttling = questions.throttling
        if equals is not None:
            equals.throttling = questions.throttling
        self._refused_tiles = self._throttling.refused_tiles
        self._guarded = self.access.guarded
        self._windows = Windows(
            parts, access=self.access, ended=self.ends.ended, denials=None if equals is None else equals.denials
        )
        self.last_answer = parts.clock()

    def __repr__(self) -> str:
        return f"Flow({self.asking}, {self._questions})"

    @property
    def any_ended(self) -> bool:
        """True once any tile had an end in this run."""
        return self.whole > 0 or self.ends.any

    def _uncount(self, tiles: int) -> None:
        self.ends.any = self.any_ended
        self.whole -= tiles
        self._taken_back += tiles

    # ------------------------------------------------------------------------------------------ what came

    def done(self, request: Request, answer: Answer) -> None:
        """Judge an answer into the batch, the retries or a final state. The transport then asks again by itself."""
        now = self._clock()
        tally = self._tally
        self.asking.in_flight -= 1
        self.last_answer = now
        if self._several:
            self._came_from(request.host)
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
                if verdict.outcome is not THROTTLED:  # which says nothing of what is served otherwise
                    self._suspects.append(verdict.reason)
            elif request.attempt == AGAIN:
                if verdict.outcome is not WHOLE:
                    self.ends.trouble = with_detail(verdict.reason, what_came(request, answer))
                self._questions.answered(now, request, answer, verdict)
                return
            credential = request.credential
            if verdict.outcome is not WHOLE:
                self._otherwise(now, request, answer, verdict)
                return
            self._pacer.ended(now, WHOLE, answer.seconds, first_try=first)
            if not first:
                self._pacer.faults.passed(now)
            if self._refused_tiles:
                self._throttling.heard(request, well=True)
            if credential <= self.access.refused:
                self._at_once.append(request)  # asked with a token that has ended: whatever this is, it is no answer
            elif self._placeholders and self._repeats.is_placeholder(body):
                self._absent(now, request, answer, "placeholder")
            else:
                if self._several:
                    self._served_by_one(now, request)
                self.whole += 1
                if self.whole <= TYPES_LOOKED_AT:
                    tally.look_at_type(answer.headers.get("content-type", ""), verdict.kind)
                digest = xxh3_64_intdigest(body)  # once for all who ask for it, while the bytes are in the CPU's cache
                self._repeats.saw(request.tile, body, digest)
                self._witness.served = request.tile
                tally.last_ended = now
                if self._guarded:
                    sent = now - answer.seconds
                    self._recent.append(_new(Ended, (credential, request.tile, STORED, sent, now, digest, "", ())))
                self._writer.store(_new(Stored, (request.tile, body, verdict.kind)), digest)
                if self._max_tiles is not None and self.whole >= self._max_tiles and not self.asking.is_finished:
                    self._stop(StopReason.budget("--max-tiles", str(self._max_tiles)))
        if self._max_bytes is not None:
            self._look_at_bytes(self._max_bytes)

    def _came_from(self, host: Host) -> None:
        """One of several hosts answers."""
        self._site = site = self._sites.of(host)
        site.in_flight -= 1
        self._pacer, self._vouching = site.pacer, site.vouching
        self._suspects = site.vouching.suspects

    def _served_by_one(self, now: float, request: Request) -> None:
        self._site.good += 1
        if self._equals is not None:
            self._equals.served(now, request.tile)

    def _look_at_bytes(self, most: int) -> None:
        if self._tally.bytes >= most and not self.asking.is_finished:
            self._stop(StopReason.budget("--max-bytes", str(most)))

    def _otherwise(self, now: float, request: Request, answer: Answer, verdict: Verdict) -> None:
        """Any answer to a tile's own request that is no whole tile."""
        outcome = verdict.outcome
        if outcome is not Outcome.ABSENT and outcome is not Outcome.UNCHANGED:
            self.ends.was_none(request, answer, verdict.reason)
        is_answer = outcome is Outcome.DENIED or request.credential > self.access.refused
        if outcome is Outcome.DENIED or outcome is Outcome.THROTTLED:
            self.doubt.refusals.add(now, self.whole + self._taken_back)
        if request.attempt:
            if outcome is Outcome.RETRY:
                self._pacer.faults.failed_again()
            elif outcome in (Outcome.ABSENT, Outcome.UNCHANGED):
                self._pacer.faults.passed(now)
        is_busy = outcome is Outcome.THROTTLED or (outcome is Outcome.RETRY and self._pacer.faults.are_refusals)
        if is_answer and is_busy:
            came = self.whole + self._taken_back
            tries = self._throttling.refused(
                now, request, answer, verdict, came, others=self.asking.others, ended=self.any_ended
            )
            if tries:  # those that were let pass as the host's count as well
                self._not_whole(now, request._replace(attempt=max(request.attempt, tries - 1)), answer, verdict)
        elif is_answer and self._equals is not None and self._equals.is_no_end(now, request, answer, verdict):
            pass
        else:
            if self._equals is not None and outcome is Outcome.ABSENT and self._site.is_in_doubt:
                self._equals.opinions.refuses(now, request, answer.seconds)
            else:
                self._pacer.ended(
                    now, outcome, answer.seconds, first_try=request.attempt == 0, retry_after=verdict.retry_after
                )
            self._throttling.heard(request, well=outcome in (Outcome.ABSENT, Outcome.UNCHANGED))
            if self._equals is not None and outcome is Outcome.UNCHANGED:
                self._equals.served(now, request.tile)
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
            self._questions.stale(request)
        else:
            self._throttling.heard(request, well=False)
            self._at_once.append(request._replace(fresh=True))

    def _not_whole(self, now: float, request: Request, answer: Answer, verdict: Verdict) -> None:
        outcome, ends = verdict.outcome, self.ends
        if outcome is Outcome.ABSENT:
            self._absent(now, request, answer, verdict.reason)
            return
        if outcome is Outcome.UNCHANGED:
            self._witness.served = request.tile
            ends.unchanged(now, request.tile)
            return
        if outcome is Outcome.DENIED:
            self.access.denied(request, verdict)
        elif outcome is Outcome.RETRY and request.attempt < self._retries:
            again = request._replace(attempt=request.attempt + 1)
            if 1 < again.attempt <= self._followed and self._pacer.breaker.open_since is not None:
                self._waiting_tries.push_first(again, now)  # its probes are far enough between
            else:
                self._waiting_tries.push(again, now, tries=again.attempt, throttled=False)
        else:
            if self._equals is not None:
                self._equals.failed(request.tile)
            ends.failed(now, request, answer, verdict.reason)
        if verdict.reason in SUSPECTS:
            self._vouching.suspect(now, verdict, answer)

    def _absent(self, now: float, request: Request, answer: Answer, reason: str) -> None:
        (self.ends if self._equals is None else self._equals).absent(now, request, answer, reason)

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
        return len(others) < len(waiting) or self.asking.is_finished

    def renewed(self) -> None:
        """A new credential is there: go on."""
        self.access.renewed()
        if self._equals is not None:
            self._equals.renewed()
        self._wake()
