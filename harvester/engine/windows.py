"""What a tilemap window's answer does: tiles that it calls absent end, the others are asked; a window in trouble is
tried a few times."""

from __future__ import annotations

from collections.abc import Callable

from harvester.edges import Answer, Outcome, Request, State, Verdict
from harvester.engine.parts import Parts
from harvester.tiling.tile import block_of

WINDOW_TRIES = 3
"""Tries for one tilemap window before its tiles are asked instead."""


class Windows:
    """Judges them. ``denied`` takes one that is refused, ``ended`` is told when tiles end."""

    def __init__(
        self, parts: Parts, *, denied: Callable[[Request, Verdict], None], ended: Callable[[float], None]
    ) -> None:
        self._source = parts.source
        self._feed = parts.feed
        self._writer = parts.writer
        self._sites = parts.sites
        self._tally = parts.tally
        self._doubt = parts.doubt
        self._waiting = parts.waiting
        self._denied = denied
        self._ended = ended

    def done(self, now: float, request: Request, answer: Answer) -> None:
        """An answer came."""
        key, pacer = block_of(request.tile), self._sites.of(request.host).pacer
        read = self._source.read_window(request, answer)
        if read is not None:
            pacer.ended(now, Outcome.WHOLE, answer.seconds, first_try=request.attempt == 0)
            self._ended(now)
            absent = self._feed.window_answered(key, read)
            if absent:
                self._writer.mark_block(key, State.ABSENT, absent)
                self._doubt.remember(now, request, answer, State.ABSENT, "tilemap", tuple(absent))
            return
        verdict = self._source.judge(request, answer)
        outcome = verdict.outcome
        again = request._replace(attempt=request.attempt + 1)
        if outcome is Outcome.DENIED:
            pacer.ended(now, outcome, answer.seconds, first_try=False)
            if self._sites.are_several and again.attempt < WINDOW_TRIES:
                self._waiting.push_at(again, now)  # another host may allow what this one refuses
            else:
                self._denied(request, verdict)
            return
        self._tally.throttled += outcome is Outcome.THROTTLED
        transient = answer.fault is not None or outcome is Outcome.THROTTLED or answer.status >= 500
        # A pause that is too long ends the run, or another host is asked.
        self._sites.heard(
            now, request, outcome if transient else Outcome.WHOLE, answer.seconds, verdict.retry_after
        )  # fmt: skip
        if transient and again.attempt < WINDOW_TRIES:
            self._waiting.push(again, now, tries=again.attempt, throttled=outcome is Outcome.THROTTLED)
        else:
            self._feed.window_failed(key)
