"""What a tilemap window's answer does: tiles that it calls absent end, the others are asked; a window in trouble is
tried a few times."""

from __future__ import annotations

import math
from collections.abc import Callable

from harvester.edges import PASSING, Answer, Outcome, Request, State
from harvester.engine.access import Access
from harvester.engine.denials import Denials, Ruling, placed
from harvester.engine.parts import Parts
from harvester.engine.sites import Site
from harvester.tiling.tile import BlockKey, block_of

WINDOW_TRIES = 3
"""Tries for one tilemap window before its tiles are asked instead."""


REFUSED_TIMES = 3
"""Refusals of windows one after the other ("too busy"), none read in between, from which they are the tilemap's own: no
pause for tiles, and no word of their pace. The tiles themselves say whether the host is busy."""


class Windows:
    """Judges them. ``access`` takes one that is refused, ``ended`` is told when tiles end; ``denials``, where there are
    several hosts, asks another one before a tile is absent."""

    def __init__(
        self, parts: Parts, *, access: Access, ended: Callable[[float], None], denials: Denials | None
    ) -> None:
        self._source = parts.source
        self._feed = parts.feed
        self._writer = parts.writer
        self._sites = parts.sites
        self._tally = parts.tally
        self._doubt = parts.doubt
        self._waiting = parts.waiting
        self._access = access
        self._ended = ended
        self._denials = denials
        self._refused: dict[Site, tuple[int, float]] = {}  # how often in a row by a host, and when last

    def done(self, now: float, request: Request, answer: Answer) -> None:
        """An answer came."""
        read = self._source.read_window(request, answer)
        if read is None:
            self._unread(now, request, answer)
            return
        key = block_of(request.tile)
        site = self._sites.of(request.host)
        pacer = site.pacer
        self._refused.pop(site, None)
        pacer.ended(now, Outcome.WHOLE, answer.seconds, first_try=request.attempt == 0)
        if request.credential <= self._access.refused:
            self._waiting.push_at(request, now)  # asked with a token that has ended: whatever this is, it is no answer
        elif self._denials is not None:
            self._rule(now, key, self._denials.said(now, key, request, answer, read))
        else:
            present, answered = placed(key, read)
            self._rule(now, key, Ruling(present | ~answered, request, answer))

    def _rule(self, now: float, key: BlockKey, ruling: Ruling | None) -> None:
        """What is said of a block, once it is to be believed."""
        if ruling is None:
            return
        self._ended(now)
        absent = self._feed.window_answered(key, ruling.present)
        if absent:
            self._writer.mark_block(key, State.ABSENT, absent)
            self._doubt.remember(now, ruling.request, ruling.answer, State.ABSENT, "tilemap", tuple(absent))

    def _unread(self, now: float, request: Request, answer: Answer) -> None:
        """Anything that is no tilemap."""
        key, denials = block_of(request.tile), self._denials
        verdict = self._source.judge(request, answer)
        outcome = verdict.outcome
        is_busy, is_denied = outcome is Outcome.THROTTLED, outcome is Outcome.DENIED
        is_passing = answer.fault is not None or is_busy or answer.status >= 500 or answer.status in PASSING
        means = outcome if is_denied or is_passing else Outcome.WHOLE
        self._tally.throttled += is_busy
        is_own = is_busy and self._is_own(now, request, answer)
        if is_own:
            self._sites.of(request.host).pacer.unheard()
        else:
            # A pause that is too long ends the run, or another host is asked.
            self._sites.heard(now, request, means, answer.seconds, verdict.retry_after)
        again = request._replace(attempt=request.attempt + 1)
        may_again, is_new = again.attempt < WINDOW_TRIES, again.attempt < len(self._sites.all)
        if is_own and not self._sites.are_several:
            may_again = False
        if denials is not None and (denials.is_open(key) or not (is_passing or is_denied)):
            self._rule(now, key, denials.silent(now, key, request, answer))
        elif is_passing and may_again:
            self._waiting.push(again, now, tries=again.attempt, throttled=is_busy)
        elif is_denied and may_again and is_new:
            self._waiting.push_at(again, now)  # another host may allow what this one refuses
        elif is_denied:
            self._access.denied(request, verdict)
        else:
            self._feed.window_failed(key)

    def _is_own(self, now: float, request: Request, answer: Answer) -> bool:
        """A window is refused: True when that is the tilemap's own trouble. Those that were under way together count
        once."""
        site = self._sites.of(request.host)
        times, last = self._refused.get(site, (0, -math.inf))
        if now - answer.seconds >= last:
            times, last = times + 1, now
        self._refused[site] = times, last
        return times >= REFUSED_TIMES
