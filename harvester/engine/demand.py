"""Tiles that are made when they are asked for: refused (429, 503) the first time and served the second, or the third.
That is no word of the pace.

A limit refuses first tries, too, and serves later ones merely because they come later. So where many first tries are
refused and hardly any second one (or many second ones as well, and hardly any third), an experiment tells (``Pairs``):
a tile that was not asked for yet, and one that was refused so often.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from harvester.edges import Request
from harvester.engine.busy import Seen
from harvester.engine.pairs import STEP_SECONDS, Pairs
from harvester.engine.parts import Parts
from harvester.tiling.tile import Tile

FIRST_TRIES = 24
MANY = 8
"""So many of the last first tries refused, and it is worth an experiment: what is fewer costs a few pauses."""

LATER_TRIES = 8
MOST_REFUSED = 1
"""More of the last second tries refused, and it is the host that is busy, unless third tries are served; and so on."""

MOST_TIMES = 4
"""Refusals after which a tile that is served may still have been made meanwhile."""

FEWEST = 2
"""Third tries that tell so; second ones are looked at by the experiment where there was none."""

FIRST_AGAIN_SECONDS = 4.0
LAST_AGAIN_SECONDS = 512.0
"""Until the next experiment: doubled each time."""

FIRST_READY_SECONDS = 1.0
LAST_READY_SECONDS = 8.0
"""How long a tile that was refused is left alone: twice as long where it was too short for one in eight."""

LOOKED_AT = 32
NOT_READY = 4
"""More of so many tries refused that were to be served, and tiles are not ready by then; or it is the host after all.
"""


class Demand:
    """Where ``is_known``, a tile that is refused up to ``times`` times says nothing of the host. ``proven`` is told
    once that is so, ``opened`` when an experiment begins; ``seen`` are the tiles that were refused.

    While ``is_open`` nothing else is asked: ``step`` says what. Times in monotonic seconds.
    """

    def __init__(
        self, parts: Parts, seen: Seen, *, proven: Callable[[float], None], opened: Callable[[], None]
    ) -> None:
        self.is_known = self.was_known = False
        self.times = 1
        """Refusals after which a tile is served."""
        self.ready_seconds = FIRST_READY_SECONDS
        """How long a tile that was refused is left alone."""
        self._pairs = Pairs(parts, seen, closed=self._closed)
        self._seen = seen
        self._feed = parts.feed
        self._proven = proven
        self._opened = opened
        self._number = 0  # first tries that were refused
        # Of the last of them: the place among all first tries, and when it was refused.
        self._places: deque[tuple[int, float]] = deque(maxlen=MANY)
        self._later: list[deque[bool]] = []  # by refusals before: refused again?
        self._again_at = -math.inf
        self._again_every = FIRST_AGAIN_SECONDS
        self._forget()

    def __repr__(self) -> str:
        state = ", looked into" if self.is_open else f", known by {self.times}" if self.is_known else ""
        return f"Demand({self._number} first tries refused{state})"

    def is_expected(self, times: int, *, at_last: bool) -> bool:
        """True where a tile's refusal, its ``times``-th, says nothing of the host. ``at_last``: nothing is left but
        tiles that were refused, so no experiment can tell; then what came of the last ones does, as long as that holds:
        a host that refuses them once more than it did is soon believed."""
        if not self.is_known and at_last:
            return 1 < times <= self._sure_times
        return self.is_known and times <= self.times

    def goes_on(self, request: Request) -> bool:
        """True for a tile that was refused more than once, and may be served the next time."""
        seen = None if request.window else self._seen.get(request.tile)
        return seen is not None and 1 < seen.number <= MOST_TIMES

    # ------------------------------------------------------------------------------------------ what came

    def first_refused(self, now: float, served: int) -> None:
        """The first try of a tile is refused; ``served``: so many were served until now."""
        self._places.append((served + self._number, now))
        self._number += 1

    def later(self, times: int, *, refused: bool) -> bool:
        """A tile that was refused so many times is refused again, or served. True when what the pace lost by those that
        were refused is to be given back: they were not ready yet."""
        if times > MOST_TIMES:
            return False
        tries = self._later[times - 1]
        tries.append(refused)
        if not self.is_known or times != self.times or sum(tries) <= NOT_READY:
            return False
        if self.ready_seconds < LAST_READY_SECONDS:
            self.ready_seconds *= 2
            tries.clear()
            return True
        self.is_known = False
        self.ready_seconds = FIRST_READY_SECONDS
        self._forget()
        self._places.clear()
        return False

    def is_wanted(self, now: float) -> bool:
        """True when an experiment is worth its time; call after ``first_refused``."""
        return (
            not self.is_known
            and not self.is_open
            and now >= self._again_at
            and self._crawls
            and self._likely_times > 0
            and self._feed.next_tile is not None
        )

    @property
    def _crawls(self) -> bool:
        """Many of the last first tries were refused, and it took longer than an experiment with as many."""
        if len(self._places) < MANY:
            return False
        (first, since), (last, until) = self._places[0], self._places[-1]
        return last - first < FIRST_TRIES and until - since >= STEP_SECONDS * (last - first)

    @property
    def _likely_times(self) -> int:
        """After so many refusals tiles seem to be served; 0: not that anybody knows."""
        for times, tries in enumerate(self._later, 1):
            if sum(tries) <= MOST_REFUSED:
                return times if times == 1 or len(tries) >= FEWEST else 0
        return 0

    @property
    def _sure_times(self) -> int:
        """The same where it was so each time: the last tries after as many refusals were all served, those after fewer
        all refused."""
        times = self._likely_times
        if not times:
            return 0
        *fewer, as_many = self._later[:times]
        is_so = len(as_many) == LATER_TRIES and not any(as_many)
        return times if is_so and all(len(tries) == LATER_TRIES and all(tries) for tries in fewer) else 0

    def refused(self, tile: Tile) -> None:
        """A tile is refused: perhaps one that the experiment asked."""
        self._pairs.refused(tile)

    def heard_nothing(self, tile: Tile) -> None:
        """A tile got an answer that is neither well nor a refusal."""
        self._pairs.heard_nothing(tile)

    def _forget(self) -> None:
        self._later = [deque(maxlen=LATER_TRIES) for _ in range(MOST_TIMES)]

    # ------------------------------------------------------------------------------------------ the experiment

    @property
    def is_open(self) -> bool:
        """True while an experiment is under way."""
        return self._pairs.is_open

    @property
    def is_first(self) -> bool:
        """Whether the request that ``step`` gave is the first try of a tile."""
        return self._pairs.is_first

    def begin(self, now: float) -> None:
        """From now on nothing else is asked."""
        self._places.clear()
        self.times = self._likely_times
        self._pairs.begin(now, self.times)
        self._opened()

    def ready_in(self, now: float) -> float:
        """Seconds until the next request; call with nothing in flight, and look then whether it ``is_open`` still."""
        return self._pairs.ready_in(now)

    def step(self, now: float) -> Request:
        """The next request, when ``ready_in`` says so."""
        return self._pairs.step(now)

    def _closed(self, now: float, is_tiles: bool) -> None:
        self._again_at = now + self._again_every
        self._again_every = min(2 * self._again_every, LAST_AGAIN_SECONDS)
        if is_tiles:
            self.is_known = self.was_known = True
            self._later[self.times - 1] = deque(maxlen=LOOKED_AT)
            self._proven(now)
