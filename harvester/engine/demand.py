"""Tiles that are made when they are asked for: refused (429, 503) the first time and served the second. That is no word
of the pace.

A limit refuses first tries, too, and serves second ones merely because they come later. So where many first tries are
refused and hardly any second one, an experiment tells: a tile that was not asked for yet and one that was refused once
are asked in pairs, one at a time and evenly spaced, in an order drawn by lot. A host that does not know its tiles
apart, whatever it counts, refuses either of a pair as often as the other (the sign test of McNemar 1947, "Note on the
sampling error of the difference between correlated proportions", answer by answer after Wald 1945).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from harvester.edges import Request
from harvester.engine.busy import Seen
from harvester.engine.parts import Parts
from harvester.pacing.odds import Odds
from harvester.tiling.tile import Tile

FIRST_TRIES = 24
MANY = 8
"""So many of the last first tries refused, and it is worth an experiment: what is fewer costs a few pauses."""

SECOND_TRIES = 8
MOST_REFUSED = 1
"""More of the last second tries refused, and it is the host that is busy."""

STEP_SECONDS = 0.25
"""From one request of the experiment to the next: a host that serves four a second shows within six that it was the
pace."""

PREFERRED = 8 / 9
SURE = 4.5
DOUBTFUL = 2.9
"""Of pairs that differ this share speaks for it, held against one half: eight against none prove it, two against none
refute it. The logarithm of the odds: where it isn't so, it is believed once in ninety experiments."""

SHARE, RARE = 0.3, 0.075
ENDED = 1.3
"""Where fresh tiles are refused hardly more often than the second share it was the pace: five of them in a row that are
served end the experiment."""

IN_VAIN = 2
"""Pairs refused both, beyond those that speak for it: the host is busy."""

MOST_ALONE = 4
"""Fresh tiles that are asked alone where no tile waits that was refused: drawn by lot, for every second one may be
refused, or every fourth."""

MOST_PAIRS = 120
"""After these it is over, whatever they say."""


MOST_LOST = 3
"""Answers of another kind that end it: something else is the matter."""

MOST_UNFIT = 4
"""Tiles that are due again and fit no pair, beyond the pairs: they, too, end it."""

FIRST_AGAIN_SECONDS = 4.0
LAST_AGAIN_SECONDS = 512.0
"""Until the next experiment: doubled each time."""

FIRST_READY_SECONDS = 1.0
LAST_READY_SECONDS = 8.0
"""How long a tile that was refused is left alone: twice as long where it was too short for one in eight."""

LOOKED_AT = 32
NOT_READY = 4
"""More of so many second tries refused, and tiles are not ready by then; or it is the host after all."""


class Demand:
    """Where ``is_known``, a tile that is refused for the first time says nothing of the host. ``proven`` is told once
    that is so, ``opened`` when an experiment begins; ``seen`` are the tiles that were refused.

    While ``is_open`` nothing else is asked: ``step`` says what. Times in monotonic seconds.
    """

    def __init__(
        self, parts: Parts, seen: Seen, *, proven: Callable[[float], None], opened: Callable[[], None]
    ) -> None:
        self.is_open = False
        self.is_known = self.was_known = False
        self.ready_seconds = FIRST_READY_SECONDS
        """How long a tile that was refused is left alone."""
        self.is_first = False
        """Whether the request that ``step`` gave is the first try of a tile."""
        self._feed = parts.feed
        self._source = parts.source
        self._waiting = parts.waiting
        self._draw = parts.draw
        self._seen = seen
        self._proven = proven
        self._opened = opened
        self._number = 0  # first tries that were refused
        # Of the last of them: the place among all first tries, and when it was refused.
        self._places: deque[tuple[int, float]] = deque(maxlen=MANY)
        self._seconds: deque[bool] = deque(maxlen=SECOND_TRIES)  # refused?
        self._again_at = -math.inf
        self._again_every = FIRST_AGAIN_SECONDS
        # The experiment, and the pair that is asked.
        self._differ, self._rare = Odds(), Odds()
        self._pairs = self._in_vain = self._lost = self._unfit = 0
        self._turns: list[bool] = []  # what is still to be asked: the fresh one?
        self._kept: Request | None = None  # the other one, until it is asked
        self._came: dict[bool, bool] = {}  # refused?
        self._asked: tuple[Tile, bool] | None = None  # the last one: fresh?
        self._was_refused = False
        self._due = 0.0

    def __repr__(self) -> str:
        state = ", looked into" if self.is_open else ", known" if self.is_known else ""
        return f"Demand({self._number} first tries refused{state})"

    # ------------------------------------------------------------------------------------------ what came

    def first_refused(self, now: float, served: int) -> None:
        """The first try of a tile is refused; ``served``: so many were served until now."""
        self._places.append((served + self._number, now))
        self._number += 1

    def second(self, *, refused: bool) -> bool:
        """A tile that was refused once is refused again, or served. True when what the pace lost by those that were
        refused is to be given back: they were not ready yet."""
        self._seconds.append(refused)
        if not self.is_known or sum(self._seconds) <= NOT_READY:
            return False
        if self.ready_seconds < LAST_READY_SECONDS:
            self.ready_seconds *= 2
            self._seconds.clear()
            return True
        self.is_known = False
        self.ready_seconds = FIRST_READY_SECONDS
        self._seconds = deque(maxlen=SECOND_TRIES)
        self._places.clear()
        return False

    def is_wanted(self, now: float) -> bool:
        """True when an experiment is worth its time; call after ``first_refused``."""
        return (
            not self.is_known
            and not self.is_open
            and now >= self._again_at
            and self._crawls
            and sum(self._seconds) <= MOST_REFUSED
            and self._feed.next_tile is not None
        )

    @property
    def _crawls(self) -> bool:
        """Many of the last first tries were refused, and it took longer than an experiment with as many."""
        if len(self._places) < MANY:
            return False
        (first, since), (last, until) = self._places[0], self._places[-1]
        return last - first < FIRST_TRIES and until - since >= STEP_SECONDS * (last - first)

    def refused(self, tile: Tile) -> bool:
        """A tile is refused: True when it is one that the experiment asked."""
        self._was_refused = self.is_open and self._asked is not None and self._asked[0] == tile
        return self._was_refused

    def heard_nothing(self, tile: Tile) -> None:
        """A tile got an answer that is neither well nor a refusal: there is no such pair."""
        if self._asked is not None and self._asked[0] == tile:
            self._drop_pair()
            self._lost += 1
            if self._lost == MOST_LOST:
                self._close(self._due)

    # ------------------------------------------------------------------------------------------ the experiment

    def begin(self, now: float) -> None:
        """From now on nothing else is asked."""
        self.is_open = True
        self._places.clear()
        self._differ.clear()
        self._differ.weigh(0.5, PREFERRED, -DOUBTFUL)
        self._rare.clear()
        self._rare.weigh(RARE, SHARE, -ENDED)
        self._pairs = self._in_vain = self._lost = self._unfit = 0
        self._drop_pair()
        self._due = now + STEP_SECONDS
        self._opened()

    def ready_in(self, now: float) -> float:
        """Seconds until the next request; call with nothing in flight, and look then whether it ``is_open`` still."""
        self._note(now)
        if self._turns and self._turns[-1] and self._feed.next_tile is None:
            self._drop_pair()  # the last tiles of the plan, or the next are not read yet
        if self.is_open and not self._turns:
            self._begin_pair(now)
        return self._due - now

    def step(self, now: float) -> Request:
        """The next request, when ``ready_in`` says so."""
        self._due = now + STEP_SECONDS
        self._was_refused = False
        if not self._turns:
            self.is_first = False
            return self._waiting.pop()  # it is due, and tells nothing
        self.is_first = is_fresh = self._turns.pop()
        request = self._kept
        if is_fresh:
            request = self._source.request(self._feed.take(), 0)
        else:
            self._kept = None
        assert request is not None
        self._asked = request.tile, is_fresh
        return request

    def _begin_pair(self, now: float) -> None:
        """Draw the order; leaves ``_turns`` empty where something else is due first."""
        due = self._waiting.next_due()
        if self._feed.next_tile is None or self._pairs == MOST_PAIRS:
            self._close(now)
        elif due is None:
            self._turns = [True] * (1 + int(MOST_ALONE * self._draw()))  # without a partner: they may be one later
        elif due > now:
            self._due = max(self._due, due)
        elif not self._is_fit(self._waiting.first()):
            self._unfit += 1
            if self._unfit > MOST_UNFIT + self._pairs:
                self._close(now)
        else:
            self._kept = self._waiting.pop()
            self._turns = [True, False] if self._draw() < 0.5 else [False, True]

    def _is_fit(self, request: Request) -> bool:
        seen = None if request.window or request.attempt else self._seen.get(request.tile)
        return seen is not None and seen.number == 1

    def _note(self, now: float) -> None:
        """What came of the last one: nobody tells of those that were answered well."""
        if self._asked is None:
            return
        is_fresh, is_refused = self._asked[1], self._was_refused
        self._asked = None
        self._came[is_fresh] = is_refused
        if is_fresh:
            _weigh(self._rare, refused=is_refused)
        if len(self._came) == 2:
            self._weigh_pair(self._came[True], self._came[False])
        if not self._turns:
            self._came = {}
        odds = self._differ.after(0)
        if odds >= SURE:
            self.is_known = self.was_known = True
            self._seconds = deque(maxlen=LOOKED_AT)
            self._close(now)
            self._proven(now)
        elif odds <= -DOUBTFUL or self._rare.after(0) <= -ENDED or self._in_vain >= IN_VAIN:
            self._close(now)

    def _weigh_pair(self, fresh_refused: bool, other_refused: bool) -> None:
        self._pairs += 1
        if fresh_refused != other_refused:
            _weigh(self._differ, refused=fresh_refused)
            self._in_vain -= fresh_refused
        self._in_vain += fresh_refused and other_refused

    def _drop_pair(self) -> None:
        self._asked = None
        self._turns, self._came = [], {}
        if self._kept is not None:
            self._waiting.push_at(self._kept, self._due)
            self._kept = None

    def _close(self, now: float) -> None:
        self.is_open = False
        self._drop_pair()
        self._again_at = now + self._again_every
        self._again_every = min(2 * self._again_every, LAST_AGAIN_SECONDS)


def _weigh(odds: Odds, *, refused: bool) -> None:
    if refused:
        odds.refused(0)
    else:
        odds.good(1)
