"""Refusals where none should be: at a pace that the host bore, or far below it. A limit has none there; chance has as
many as anywhere."""

from __future__ import annotations

import math

BEST_SECONDS = 2.0
"""Shortest time over which a goodput counts as borne: hosts that count whole seconds let two of them through in one."""

LOW_SECONDS = 1.0
"""Shortest time between two refusals that both count: those of one second have one cause."""

SHORT_SECONDS = 0.01
"""Shortest time between pauses: answers that came during one make no endless pace."""

PRESUMED = 6.0
"""Answers a second that any host is presumed to bear until an experiment has failed: at one or two a second refusals
by chance are too rare to learn anything from."""

BELOW = 0.85
"""Share of the best goodput below which a pace is far below it."""

FAR = 0.6
FAR_WEIGHT = 2
"""And below which no limit is left that could explain a refusal, even of a rate that is new: one counts as two."""

NEAR = 1.02
"""Over the best goodput by more, a pace is a new one, and its refusal no wonder."""

TIMES = 3
"""Refusals where none should be from which an experiment is worth it: one or two come of a limit that became lower."""

BEARABLE = 0.2
"""Largest share of refusals that is put up with: a host that refuses more wants to be asked less, for any cause."""

LEAST_SHARE = 0.004
"""Smallest share that matters: below it the refusals of a rate's own probes are as many."""

HIGHER = 1.15
"""The experiment's pace over the low one, at least: it must bring refusals if they come of a limit."""

LESS = 0.95
"""And its share of the best goodput, which may have been a burst."""

FIRST_AGAIN_SECONDS = 8.0
LAST_AGAIN_SECONDS = 256.0
"""Time until the next experiment after one that failed, at least: doubled by each, so that a host with a limit has to
refuse a dozen requests in a quarter of an hour for it."""


class Doubts:
    """Told of every refusal (``on_refused``); ``is_due`` when an experiment at ``pace`` answers a second is worth it.

    ``refused`` of ``asked`` requests were refused where none should be.
    """

    __slots__ = (
        "_again",
        "_again_every",
        "_best",
        "_goods",
        "_last",
        "_low",
        "_refusals",
        "_rested",
        "_since",
        "_times",
        "asked",
        "is_due",
        "refused",
    )

    def __init__(self, now: float) -> None:
        self.is_due = False
        self.asked = self.refused = 0
        self._best = PRESUMED
        self._low = 0.0  # the last pace with refusals where none should be
        self._times = 0
        self._since = now
        self._rested = 0.0  # seconds of all pauses by then
        self._goods = 0  # good answers there were by then
        self._refusals = 0  # since then; those with no good answer between them count once
        self._last = 0  # good answers there were by the last refusal
        self._again = -math.inf
        self._again_every = FIRST_AGAIN_SECONDS

    def on_refused(
        self, now: float, goods: int, rate: float, borne: float, *, is_fresh: bool, rested: float = 0.0
    ) -> None:
        """A request was refused. ``goods``: good answers so far; ``rate``: starts a second that were allowed (0.0: as
        many as there is room for), ``borne``: the highest that was used without a refusal (0.0: none is known);
        ``is_fresh``: the request was started at the pace of now, and not in the wake of another refusal;
        ``rested``: seconds of all pauses so far. What was borne counts them, since a limit recovers in a pause; the
        pace at which it is asked does not."""
        self._refusals += goods > self._last
        self._last = goods
        seconds = now - self._since
        if not is_fresh or seconds < LOW_SECONDS:
            return
        goodput = (goods - self._goods) / seconds
        pace = max((goods - self._goods) / max(seconds - (rested - self._rested), SHORT_SECONDS), rate)
        is_far = pace < FAR * self._best
        if pace > NEAR * self._best or (rate > borne > 0.0 and not is_far):
            if seconds < BEST_SECONDS:
                return
            if goodput > NEAR * self._best:
                self._best = goodput
                self.forget()
        else:
            if pace >= BELOW * self._best:
                self._best = max(self._best, goodput)
            self._low = pace
            self._times += FAR_WEIGHT if is_far else 1
            self.asked += goods - self._goods + self._refusals
            self.refused += self._refusals
        self._begin(now, goods, rested)
        self.is_due = (
            self._times >= TIMES
            and now >= self._again
            and self.refused > 0
            and LEAST_SHARE * self.asked <= self.refused <= BEARABLE * self.asked
        )

    @property
    def pace(self) -> float:
        """Starts a second of the experiment."""
        return max(HIGHER * self._low, LESS * self._best)

    def forget(self) -> None:
        """What was refused so far has been looked into, or has an explanation."""
        self._times = 0
        self.asked = self.refused = 0
        self.is_due = False

    def answered(self, now: float, goods: int, pace: float, *, was_chance: bool, rested: float = 0.0) -> None:
        """The experiment at this pace is over. If it was no chance, the next one is at a lower pace, and later."""
        if was_chance:
            self._best = pace
            self._again_every = FIRST_AGAIN_SECONDS
        else:
            self._best = math.sqrt(pace * self._low)
            if self._best < HIGHER * self._low:
                self._best = 0.0
            self._again = now + self._again_every
            self._again_every = min(2 * self._again_every, LAST_AGAIN_SECONDS)
        self._begin(now, goods, rested)

    def _begin(self, now: float, goods: int, rested: float) -> None:
        self._since, self._goods, self._last, self._refusals = now, goods, goods, 0
        self._rested = rested

    def __repr__(self) -> str:
        return f"Doubts({self.refused} of {self.asked} refused, {self._times} times, best {self._best:.3g}/s)"
