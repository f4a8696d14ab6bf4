"""Is it the tile or the host that is busy? Tiles that were not asked for yet and tiles that were refused so often are
asked in pairs, one at a time and evenly spaced, in an order drawn by lot.

A host that does not know its tiles apart, whatever it counts, refuses either of a pair as often as the other (the sign
test of McNemar 1947, "Note on the sampling error of the difference between correlated proportions", answer by answer
after Wald 1945).
"""

from __future__ import annotations

from collections.abc import Callable

from harvester.edges import Request
from harvester.engine.busy import Seen
from harvester.engine.parts import Parts
from harvester.pacing.odds import Odds
from harvester.tiling.tile import Tile

STEP_SECONDS = 0.25
"""From one request to the next: a host that serves four a second shows within six that it was the pace."""

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

MOST_RAISED = 64
"""Tiles that are asked so that they were refused often enough for a pair, beyond those that the pairs need."""


class Pairs:
    """One experiment after another. While it ``is_open`` nothing else is asked: ``step`` says what.

    ``seen``: the tiles that were refused; ``closed`` is told when it is over, and whether it is the tiles. Times in
    monotonic seconds.
    """

    def __init__(self, parts: Parts, seen: Seen, *, closed: Callable[[float, bool], None]) -> None:
        self.is_open = False
        self.is_first = False
        """Whether the request that ``step`` gave is the first try of a tile."""
        self._feed = parts.feed
        self._source = parts.source
        self._waiting = parts.waiting
        self._draw = parts.draw
        self._seen = seen
        self._closed = closed
        self._times = 1  # the second of a pair was refused so often
        self._differ, self._rare = Odds(), Odds()
        self._pairs = self._in_vain = self._lost = self._unfit = self._raised = 0
        self._turns: list[bool] = []  # what is still to be asked: the fresh one?
        self._kept: Request | None = None  # the other one, until it is asked
        self._came: dict[bool, bool] = {}  # refused?
        self._asked: tuple[Tile, bool] | None = None  # the last one: fresh?
        self._was_refused = False
        self._due = 0.0

    def __repr__(self) -> str:
        return f"Pairs({self._pairs}{', open' if self.is_open else ''})"

    # ------------------------------------------------------------------------------------------ what came

    def refused(self, tile: Tile) -> None:
        """A tile is refused, perhaps the one that was asked."""
        self._was_refused = self.is_open and self._asked is not None and self._asked[0] == tile

    def heard_nothing(self, tile: Tile) -> None:
        """A tile got an answer that is neither well nor a refusal: there is no such pair."""
        if self._asked is not None and self._asked[0] == tile:
            self._drop_pair()
            self._lost += 1
            if self._lost == MOST_LOST:
                self._close(self._due)

    # ------------------------------------------------------------------------------------------ what is asked

    def begin(self, now: float, times: int) -> None:
        """From now on nothing else is asked but fresh tiles and those that were refused so often."""
        self.is_open, self._times = True, times
        self._differ.clear()
        self._differ.weigh(0.5, PREFERRED, -DOUBTFUL)
        self._rare.clear()
        self._rare.weigh(RARE, SHARE, -ENDED)
        self._pairs = self._in_vain = self._lost = self._unfit = self._raised = 0
        self._drop_pair()
        self._due = now + STEP_SECONDS

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
        elif (number := self._number(self._waiting.first())) == self._times:
            self._kept = self._waiting.pop()
            self._turns = [True, False] if self._draw() < 0.5 else [False, True]
        elif 0 < number < self._times:
            self._raised += 1
            if self._raised > MOST_RAISED + self._times * self._pairs:
                self._close(now)
        else:
            self._unfit += 1
            if self._unfit > MOST_UNFIT + self._pairs:
                self._close(now)

    def _number(self, request: Request) -> int:
        """How often a tile was refused; 0 where something else came as well."""
        seen = None if request.window or request.attempt else self._seen.get(request.tile)
        return 0 if seen is None else seen.number

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
            self._close(now, is_tiles=True)
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

    def _close(self, now: float, *, is_tiles: bool = False) -> None:
        self.is_open = False
        self._drop_pair()
        self._closed(now, is_tiles)


def _weigh(odds: Odds, *, refused: bool) -> None:
    if refused:
        odds.refused(0)
    else:
        odds.good(1)
