"""How a tile ends without a picture: absent, unchanged, failed; recorded, counted, and remembered as long as it is in
doubt."""

from __future__ import annotations

import logging

from harvester.edges import Answer, LedgerFailure, Request, State, told, what_came
from harvester.engine.access import Denied
from harvester.engine.doubt import NOT_FOUND
from harvester.engine.parts import Parts
from harvester.tiling.tile import Tile, block_of
from harvester.wording import with_detail

log = logging.getLogger("harvester.engine")

TRIED_REMEMBERED = 16_384
"""Tiles of which is known what came last: 5 MB. More wait for another try only where nearly everything fails."""

NO_ANSWER = Answer(0, {}, b"", 0.0)
"""Stands for the one that is forgotten by the time its tile is failed."""


class Ends:
    """Marks them with the writer. ``any``: something ended; ``trouble``: why the last answer was wrong; ``tried``: why
    the last answer to a tile was no end."""

    def __init__(self, parts: Parts) -> None:
        self.any = False
        self.trouble = ""
        self.tried: dict[Tile, str] = {}
        self._feed = parts.feed
        self._writer = parts.writer
        self._tally = parts.tally
        self._doubt = parts.doubt
        self._sites = parts.sites

    def ended(self, now: float) -> None:
        """Something came to its end: the run makes progress."""
        self._tally.last_ended = now
        self.any = True

    def was_none(self, request: Request, answer: Answer, reason: str) -> None:
        """An answer that is no end of its tile, or one that it has to bear."""
        detail = what_came(request, answer)
        self.trouble = with_detail(reason, detail)
        tried, tile = self.tried, request.tile
        tried.pop(tile, None)
        tried[tile] = told(reason, detail)
        if len(tried) > TRIED_REMEMBERED:
            del tried[next(iter(tried))]
        if log.isEnabledFor(logging.DEBUG):
            log.debug("tile %s, try %d: %s", tile, request.attempt + 1, self.trouble)

    def absent(self, now: float, request: Request, answer: Answer, reason: str) -> None:
        """The source says that there is no such tile."""
        tile = request.tile
        if reason == NOT_FOUND:
            self._tally.answered_404 += 1
        self._tally.absences[tile.level, reason] += 1
        self.ended(now)
        self._doubt.remember(now, request, answer, State.ABSENT, reason)
        self._writer.mark(tile, State.ABSENT)

    def unchanged(self, now: float, tile: Tile) -> None:
        """What the cache holds is current."""
        self.ended(now)
        self._writer.mark(tile, State.UNCHANGED)

    def failed(self, now: float, request: Request, answer: Answer, reason: str) -> None:
        """It is wrong after all tries, or for its own sake."""
        breaker = self._sites.of(request.host).pacer.breaker
        if breaker.open_since is None:  # else it was a probe: one more failure is no progress
            self.ended(now)
        self._doubt.remember(now, request, answer, State.FAILED, reason)
        detail = what_came(request, answer)
        if answer is NO_ANSWER and self.tried.get(request.tile, "").startswith(reason):
            detail = LedgerFailure.of(request.tile, self.tried[request.tile]).detail
        self._writer.mark(request.tile, State.FAILED, told(reason, detail))

    def denied(self, now: float, denied: Denied) -> None:
        """Refused while the credential holds: a tile is failed, the tiles of a window are asked."""
        request = denied.request
        if request.window:
            self._feed.window_failed(block_of(request.tile))
        else:
            self.failed(now, request, NO_ANSWER, denied.verdict.reason)
