"""What the tilemap of one of several equal hosts denies is asked of the others' tilemaps before it is believed."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harvester.edges import Answer, Request, WindowAnswer
from harvester.engine.feed import Feed
from harvester.engine.sites import Site, Sites
from harvester.tiling.tile import BLOCK, BlockKey

if TYPE_CHECKING:
    from harvester.edges import Mask

MOST_ASKED = 4
"""Hosts that are asked about one block: services have two to four, and each is one request for up to 16,384 tiles."""


class Ruling(NamedTuple):
    """What to do with a block: tiles that are not ``present`` are absent, by this answer."""

    present: Mask
    request: Request
    answer: Answer


class Hearing:
    """What was said of a block so far. ``present``: tiles that a host knows of or said nothing of; ``answered``: those
    that every host spoke of; ``words``: hosts that said something."""

    __slots__ = ("answered", "asked", "last", "present", "words")

    def __init__(self, request: Request, answer: Answer) -> None:
        self.asked: list[Site] = []
        self.present: Mask = np.zeros((BLOCK, BLOCK), dtype=bool)
        self.answered: Mask = np.ones((BLOCK, BLOCK), dtype=bool)
        self.words = 0
        self.last = request, answer


class Denials:
    """Told by ``Windows`` of each answer where there are several hosts; ``Sharing`` asks for what is ``due``.

    A tile that any tilemap knows of is asked for itself. Two that differ show that one is wrong: from then on the word
    of one alone makes no tile absent.
    """

    def __init__(self, sites: Sites, feed: Feed) -> None:
        self.due: deque[BlockKey] = deque()
        """Blocks of which another host is to be asked: no more than there may be windows in flight."""
        self._open: dict[BlockKey, Hearing] = {}
        self._sites = sites
        self._feed = feed

    def __repr__(self) -> str:
        return f"Denials({len(self._open)} open, {len(self.due)} due)"

    def asked(self, key: BlockKey) -> list[Site]:
        """The hosts that answered for a block that is due, well or not."""
        return self._open[key].asked

    def is_open(self, key: BlockKey) -> bool:
        """True while another host is asked about a block."""
        return key in self._open

    def renewed(self) -> None:
        """A new credential is there: what was said for the one before counts no more."""
        for key, hearing in self._open.items():
            self._open[key] = Hearing(*hearing.last)

    def said(self, now: float, key: BlockKey, request: Request, answer: Answer, window: WindowAnswer) -> Ruling | None:
        """A tilemap says which tiles there are; None while another one is asked."""
        hearing = self._open.setdefault(key, Hearing(request, answer))
        present, answered = placed(key, window)
        if hearing.words:
            differ = (present != hearing.present) & answered & hearing.answered
            self._sites.tilemaps_differ |= self._feed.is_any_pending(key, differ)
        hearing.present |= present | ~answered
        hearing.answered &= answered
        hearing.words += 1
        hearing.last = request, answer
        return self._heard(now, key, hearing, request)

    def silent(self, now: float, key: BlockKey, request: Request, answer: Answer) -> Ruling | None:
        """A host says nothing that can be trusted; None while another one is asked."""
        return self._heard(now, key, self._open.setdefault(key, Hearing(request, answer)), request)

    def _heard(self, now: float, key: BlockKey, hearing: Hearing, request: Request) -> Ruling | None:
        site = self._sites.of(request.host)
        if site not in hearing.asked:
            hearing.asked.append(site)
        denies = self._feed.is_any_pending(key, ~hearing.present)
        if denies and len(hearing.asked) < MOST_ASKED and self._others(now, hearing):
            self.due.append(key)
            return None
        del self._open[key]
        believed = hearing.words > 1 or (hearing.words == 1 and not self._sites.tilemaps_differ)
        return Ruling(hearing.present if believed else np.ones((BLOCK, BLOCK), dtype=bool), *hearing.last)

    def _others(self, now: float, hearing: Hearing) -> bool:
        return any(site not in hearing.asked and not site.is_out(now) for site in self._sites.all)


def placed(key: BlockKey, window: WindowAnswer) -> tuple[Mask, Mask]:
    """Which tiles of a block are there by a tilemap's answer, and of which it speaks."""
    present, answered = np.zeros((BLOCK, BLOCK), dtype=bool), np.zeros((BLOCK, BLOCK), dtype=bool)
    top, left = window.top - key.row, window.left - key.col
    rows, cols = window.present.shape
    row0, col0 = max(top, 0), max(left, 0)
    row1, col1 = min(top + rows, BLOCK), min(left + cols, BLOCK)
    if row1 > row0 and col1 > col0:
        answered[row0:row1, col0:col1] = True
        present[row0:row1, col0:col1] = window.present[row0 - top : row1 - top, col0 - left : col1 - left]
    return present, answered
