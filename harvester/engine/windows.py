"""What a tilemap window's answer does: tiles that it calls absent end, the others are asked; a window in trouble is
tried a few times."""

from __future__ import annotations

from collections.abc import Callable

from harvester.edges import Answer, Outcome, Request, Source, State, Verdict
from harvester.engine.doubt import Doubt
from harvester.engine.feed import Feed
from harvester.engine.tally import Tally
from harvester.engine.writer import Writer
from harvester.pacing import Pacer, RetryHeap
from harvester.tiling.tile import block_of

WINDOW_TRIES = 3
"""Tries for one tilemap window before its tiles are asked instead."""


class Windows:
    """Judges them. ``denied`` takes one that is refused, ``ended`` is told when tiles end."""

    def __init__(
        self,
        *,
        source: Source,
        feed: Feed,
        writer: Writer,
        pacer: Pacer,
        tally: Tally,
        doubt: Doubt,
        waiting: RetryHeap[Request],
        denied: Callable[[Request, Verdict], None],
        ended: Callable[[float], None],
    ) -> None:
        self._source = source
        self._feed = feed
        self._writer = writer
        self._pacer = pacer
        self._tally = tally
        self._doubt = doubt
        self._waiting = waiting
        self._denied = denied
        self._ended = ended

    def done(self, now: float, request: Request, answer: Answer) -> None:
        """An answer came."""
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
            self._waiting.push(again, now, tries=again.attempt, throttled=outcome is Outcome.THROTTLED)
        else:
            self._feed.window_failed(key)
