"""Tiles that are answered "too busy" (429, 503) again and again while others are answered well: that is no word of the
host."""

from __future__ import annotations

import math
from typing import NamedTuple

from harvester.tiling.tile import Tile

OWN_TIMES = 3
"""Such answers for one tile, others well in between, from which they are its own."""

CHANCE = 0.001
"""A host that is busy by itself refuses a tile again as often as it refuses any: refusals of tiles asked again, with
good answers between them, may be the tiles' own once they were chance only so seldom. Each time that was wrong twice as
many are asked for."""

LAST_TIMES = 10
LONGEST_WAIT = 6
"""Refusals that are a tile's own before it is failed, and from which the pauses between them grow no more: that is two
and a half minutes, and whoever makes tiles as they are asked for has made it by then."""

AT_LAST = 6
AT_LAST_SECONDS = 20.0
"""The same where nothing else is left to do and a known tile is served between any two of them, and so long after the
first: half a minute."""

LAST_CHANCE = 1e-7
"""And they must be chance only so seldom: with a host that refuses every second request, one tile in ten million."""

CALM = 256
"""So many good answers without a refusal, and how often the host refuses is counted anew."""

REDEEMED_SHARE = 4
"""A tile that is served after all speaks for a busy host; so many that are refused again weigh one such up."""

MOST_WEIGHED = 32
"""No more refusals are weighed: what was true of a region soon is no more once the host itself becomes busy."""

UNCHECKED = 32
MOST_UNCHECKED = 512
"""Refusals without a good answer after which a known tile is asked whether the host is still well; then twice as
many."""

REMEMBERED = 65_536
"""Tiles that are remembered; beyond these, the one that was first busy is forgotten. 15 MB."""


class Refused(NamedTuple):
    """A tile that was refused when it was asked last."""

    times: int
    """How often, with others answered well in between."""
    good: int
    host: int
    """The good answers and the host's own refusals there were by then."""
    reason: str
    """If that was the tile's own trouble."""
    number: int
    """How often in all."""
    since: float
    """When it was refused first."""
    faults: int
    """How often of ``number`` by a fault that is taken for a refusal."""


Seen = dict[Tile, Refused]


class Busy:
    """Counts, for each tile that is throttled, how often that was so although others were answered well meanwhile."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self._good = 0
        self._host = 0
        self._fresh = 0  # tiles refused for the first time since the last calm
        self._since = 0  # good answers there were by then
        self._again = 0  # tiles refused again, with good answers between
        self._counted = -1  # good answers there were when the last of them was counted
        self._redeemed = 0
        self._presumed = False
        self._mistakes = 0
        self.wants_trial = False
        """True when refusals seem to be the tiles' own from the first: a trial with the one that was just refused
        tells."""
        self._unchecked = 0
        self._patience = UNCHECKED
        self.served_later = 0
        """Tiles that were served after a refusal."""

    @property
    def is_presumed(self) -> bool:
        """True while a refusal is taken for the tile's own from the first."""
        return self._presumed

    @property
    def wants_check(self) -> bool:
        """True when so many were taken for that in a row that a known tile should be asked about the host."""
        return self._presumed and self._unchecked >= self._patience

    def saw(
        self,
        tile: Tile,
        good: int,
        reason: str = "busy",
        *,
        alone: bool = True,
        on_demand: bool = False,
        at_last: bool = False,
        is_fault: bool = False,
        now: float = 0.0,
    ) -> tuple[int, bool]:
        """A tile is throttled; ``good``: whole tiles that came so far, questions among them; ``alone``: all are asked
        of one host; ``on_demand``: it is not there before it was asked for; ``at_last``: nothing is left to do but such
        tiles; ``is_fault``: it was answered with a fault that is taken for a refusal. Gives how often that was so with
        others answered well in between (from 1), and whether it is the tile's own trouble.

        Where the host refused more than it answered meanwhile, it is the host that is busy, unless what is refused is
        refused always.
        """
        again = tile in self.seen
        unseen = Refused(0, good - 1, self._host, "", 0, now, 0)
        times, good_then, host_then, _, number, since, faults = self.seen.get(tile, unseen)
        self._good = good
        if again:
            if good > max(good_then, self._counted):
                self._again = min(self._again + 1, MOST_WEIGHED)
                self._counted = good
        else:
            if good - self._since > CALM:
                self._fresh, self._since = 0, good - 1
            self._fresh += 1
        self.wants_trial = (
            alone
            and not self._presumed
            and not self._redeemed
            and self._again >= max(OWN_TIMES << self._mistakes, self._needed(good, CHANCE))
        )
        if at_last and is_fault:
            amid_good = good > good_then  # with a few broken tiles that is the known one, asked between any two
        else:
            amid_good = (self._presumed and not at_last) or good - good_then > self._host - host_then
        times += amid_good
        own = self._presumed or on_demand or (amid_good and times >= OWN_TIMES)
        self._host += not own
        self._unchecked += self._presumed
        why = reason if own else ""
        self.seen[tile] = Refused(times, good, self._host, why, number + 1, since, faults + is_fault)
        if len(self.seen) > REMEMBERED:
            del self.seen[next(iter(self.seen))]
        return times, own

    def _needed(self, good: int, chance: float) -> float:
        """Refusals of tiles asked again, without one that was served, until they are chance only so seldom."""
        share = (self._fresh + 1) / (self._fresh + good - self._since + 2)
        return math.log(chance) / math.log(share)

    def is_bad(self, times: int, *, seconds: float = 0.0) -> bool:
        """True when the tile that was just refused, its own trouble for so many times, is to be failed; ``seconds``:
        for so long, where nothing else is left to do."""
        least = AT_LAST if seconds >= AT_LAST_SECONDS else LAST_TIMES
        return times >= least and (self._presumed or times >= self._needed(self._good, LAST_CHANCE))

    def served(self, tile: Tile) -> None:
        """A tile that was refused is served after all."""
        del self.seen[tile]
        self.served_later += 1
        self._redeemed += 1
        if REDEEMED_SHARE * self._redeemed > self._again:
            self.doubt()

    def presume(self) -> None:
        """It is shown that what is refused is refused for its own sake."""
        if self._presumed:
            return
        self._presumed, self.wants_trial = True, False
        self._unchecked = 0
        self._patience = UNCHECKED

    def is_own(self, tile: Tile, reason: str) -> int:
        """It is shown that this tile is refused for its own sake, and of no other. Gives its times."""
        seen = self.seen[tile]
        times = max(seen.times, OWN_TIMES)
        self.seen[tile] = seen._replace(times=times, reason=reason)
        self._again, self.wants_trial = 0, False
        return times

    def check(self) -> None:
        """The host was found to be well."""
        if self._unchecked >= self._patience:
            self._patience = min(2 * self._patience, MOST_UNCHECKED)
        self._unchecked = 0

    def doubt(self) -> None:
        """The host itself is busy, for all that is known: begin anew."""
        self._mistakes += self._presumed
        self._presumed = self.wants_trial = False
        self._again = self._redeemed = self._fresh = 0
        self._since = self._good

    def own_reason(self, tile: Tile) -> str:
        """Why a tile is bad that was refused often enough to be called so; empty for any other."""
        seen = self.seen.get(tile)
        return seen.reason if seen is not None and seen.times >= OWN_TIMES else ""

    def __repr__(self) -> str:
        return f"Busy({len(self.seen)} tiles{', presumed to be their own' if self._presumed else ''})"
