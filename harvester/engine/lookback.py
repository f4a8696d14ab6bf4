"""What came shortly before a refusal, held against what the source answers once the trouble is over.

A stand-in that is another one for every tile ("please log in, request 123") can't be told from a tile by looking at it.
But asked again, the tile itself comes the same once more, and the stand-in does not. A few places are asked; where one
differs, all that ended between it and the nearest places that came the same is in doubt. Then places beyond that are
asked, and so on until none of those differs: stand-ins may come mixed with tiles.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from harvester.edges import Answer, Outcome, Request, Source, State, Verdict, Wait
from harvester.engine.doubt import Ended
from harvester.engine.sites import Site, Sites
from harvester.engine.tally import Tally

PLACES = 16
"""Places spread evenly over what is remembered, besides those that draw near the refusal in quarters: of 8,192 answers,
no stand-ins for 512 tiles or more in a row are missed, wherever they lie, and fewer are not right before a refusal."""

SPREAD = 128
"""Places are no nearer to each other than that: a small run is not asked twice."""

NEAR = 4
"""Places on either side of a refusal, as far as what was in flight then: the fewer stand-ins, the nearer they lie."""

WIDE = 256
"""Within that distance of a stand-in, tiles may have come between others: a place that came the same bounds nothing."""

CLOSE = 12
"""Places within WIDE before a refusal: of stand-ins that are a fifth of all, one is seen 14 times of 15."""

RIM = 32
"""Places that must all come the same, within WIDE of what is in doubt, before the doubt ends there: of stand-ins that
are a tenth of all, one is seen 29 times of 30."""

MIXED = 4
"""So many times the requests in flight, where that is more than WIDE: answers overtake each other."""

TRIES = 3
"""An answer that says nothing (a fault, a busy host) is asked for again so often."""

RESTLESS = 2
"""Tiles that come differently each time they are asked, from which nothing can be told."""

NO_TILE = -1
"""Stands for the picture of a tile that the source says is not there."""


def face_of(verdict: Verdict) -> int | None:
    """What two answers have in common when they say the same; None where nothing is said."""
    if verdict.outcome is Outcome.WHOLE:
        return xxh3_64_intdigest(verdict.body)
    return NO_TILE if verdict.outcome is Outcome.ABSENT else None


class Past(NamedTuple):
    """Answers in the order in which they came, each tile once. ``marks``: how many of them had come at refusals."""

    ended: Sequence[Ended]
    marks: Sequence[int] = ()

    def places(self, in_flight: int) -> list[int]:
        """Positions that are asked, where so many answers may have overtaken each other."""
        number = len(self.ended)
        found = {number - 1, *range(0, number, max(SPREAD, -(-number // PLACES)))}
        step = max(1, in_flight // NEAR)
        for mark in {*self.marks, number}:
            found.update(mark - (1 << power) for power in range(0, mark.bit_length(), 2))
            found.update(range(mark - WIDE, mark, WIDE // CLOSE))
            found.update(range(mark - NEAR * step, mark + NEAR * step + 1, step) if mark < number else ())
        return sorted(at for at in found if 0 <= at < number)


class LookBack:
    """Asks them, in ``Transport.drain``'s terms; ``in_flight``: so many answers may have overtaken each other."""

    def __init__(
        self,
        past: Past,
        source: Source,
        *,
        in_flight: int,
        sites: Sites,
        tally: Tally,
        clock: Callable[[], float],
    ) -> None:
        self._past = past.ended
        self._reach = max(WIDE, MIXED * in_flight)
        self._source = source
        self._sites = sites
        self._tally = tally
        self._clock = clock
        self._todo = [(at, False) for at in reversed(past.places(in_flight))]
        self._asked = {at for at, _ in self._todo}
        self._flying: dict[tuple[int, int, int], int] = {}
        self._tries: dict[int, int] = {}
        self._most_tries = max(TRIES, len(sites.all))
        self._silent_at: dict[int, list[Site]] = {}
        """Hosts that said nothing of a place: it is asked of the others first."""
        self._now: dict[int, int] = {}
        self._same: list[int] = []
        self._different: list[int] = []
        self._restless = 0
        self._silent = 0
        self._refused = False

    def __repr__(self) -> str:
        return f"LookBack(of={len(self._past)}, same={len(self._same)}, different={len(self._different)})"

    def next_request(self) -> Request | Wait | None:
        """The next place."""
        if not self._todo and self._flying:
            return Wait(None)
        if not self._todo and not self._widen():
            return None
        at, fresh = self._todo[0]
        tile = self._past[at].tile
        now = self._clock()
        request = self._sites.start(now, self._source.request(tile, 0), self._avoided(now, at))
        if not isinstance(request, Request):
            return Wait(None if request == math.inf else request)
        self._todo.pop(0)
        self._flying[tile] = at
        self._tally.requests += 1
        self._tally.tile_requests += 1
        self._tally.questions += 1
        return request._replace(fresh=fresh)

    def done(self, request: Request, answer: Answer) -> None:
        """One that differs is asked once more: only what now comes twice says that the first was wrong."""
        at = self._flying.pop(request.tile)
        site = self._sites.of(request.host)
        site.in_flight -= 1
        self._tally.bytes += len(answer.body)
        if answer.stale:
            site.pacer.unheard()
            self._todo.append((at, True))
            return
        verdict = self._source.judge(request, answer)
        outcome = verdict.outcome
        self._tally.throttled += outcome is Outcome.THROTTLED
        if self._sites.heard(self._clock(), request, outcome, answer.seconds, verdict.retry_after):
            self._todo.append((at, False))  # the next run's: this one ends
            return
        face = face_of(verdict)
        if face is None:
            self._say_nothing(at, site, outcome)
            return
        now = self._now.get(at)
        if now is None and face == self._face(at):
            self._same.append(at)
        elif now is None:
            self._now[at] = face
            self._todo.insert(0, (at, False))
        elif face == now:
            self._different.append(at)
        else:
            self._restless += 1
            if self._restless >= RESTLESS:
                self._todo.clear()

    def _face(self, at: int) -> int | None:
        ended = self._past[at]
        return NO_TILE if ended.state is State.ABSENT else ended.digest

    def _avoided(self, now: float, at: int) -> list[Site]:
        """Hosts that serve nothing, or not what others do, and those that said nothing of this place."""
        silent = self._silent_at.get(at, ())
        sites = self._sites
        if not sites.are_several:
            return []
        return [one for one in sites.all if one.was_wrong or one.is_in_doubt or one.is_out(now) or one in silent]

    def _say_nothing(self, at: int, site: Site, outcome: Outcome) -> None:
        silent = self._silent_at.setdefault(at, [])
        if site not in silent:
            silent.append(site)
        tries = self._tries[at] = self._tries.get(at, 0) + 1
        is_passing = outcome in (Outcome.RETRY, Outcome.THROTTLED) or len(silent) < len(self._sites.all)
        if is_passing and tries < self._most_tries:
            self._todo.append((at, False))
            return
        self._silent += 1
        if outcome is Outcome.DENIED:
            self._refused = True
            self._todo.clear()

    # ------------------------------------------------------------------------------------------ what it showed

    @property
    def is_restless(self) -> bool:
        """True when tiles come differently each time: nothing can be told."""
        return self._restless > 0

    @property
    def is_open(self) -> bool:
        """True when too few places were told about: it is worth to look back once more."""
        told = len(self._same) + len(self._different)
        return self.is_restless or self._refused or bool(self._todo or self._flying) or told < 2 * self._silent

    @property
    def begins_before(self) -> bool:
        """True when the oldest answer that is remembered differs: there may have been others before it."""
        return 0 in self._different

    def doubtful(self) -> list[Ended]:
        """What is to be fetched again."""
        return [self._past[at] for at in sorted(self._in_doubt())]

    def _widen(self) -> bool:
        """Look beyond the rims of what is in doubt; False when that was done."""
        if not self._different or self._restless or self._refused:
            return False
        step = WIDE // RIM
        doubtful = self._in_doubt()
        beyond = {
            at + side * step * number
            for at in doubtful
            for side in (-1, 1)
            if at + side not in doubtful
            for number in range(1, RIM + 1)
        }
        wanted = sorted(at for at in beyond - doubtful - self._asked if 0 <= at < len(self._past))
        self._asked.update(wanted)
        self._todo = [(at, False) for at in wanted]
        return bool(wanted)

    def _in_doubt(self) -> set[int]:
        same = sorted(self._same)
        found: set[int] = set()
        for at in self._different:
            after, before = bisect_right(same, at - self._reach), bisect_left(same, at + self._reach)
            found.update(
                range(
                    same[after - 1] + 1 if after else 0,
                    same[before] if before < len(same) else len(self._past),
                )
            )
        return found
