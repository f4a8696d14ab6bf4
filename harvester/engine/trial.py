"""Does a host refuse everything, or is it the tile? One that is refused and one that is known to be good are asked in
turn, alone and evenly spaced.

A host that is busy refuses both alike; where the one is refused each time and the other served each time, what is
refused is refused for its own sake.
"""

from __future__ import annotations

from collections.abc import Callable

from harvester.edges import Host, Outcome, Request, Verdict
from harvester.engine.busy import Busy, Seen
from harvester.engine.parts import Parts
from harvester.engine.vouching import IN_VAIN
from harvester.engine.witness import AGAIN
from harvester.pacing import backoff
from harvester.tiling.tile import Tile

PAIRS = 3
"""Times that the refused tile is refused and the known one served: some three seconds."""

SOON_SECONDS = 1.0
OFTEN = 2
"""Where the host serves most, each time another one that was refused so often, if one is due by then."""

SKIPPED = 64
"""Most occasions that are let pass before the next trial: after each that found the host itself busy twice as many."""


class Trial:
    """One trial after another. While it ``is_open`` nothing else is asked: ``step`` says what.

    ``busy``: what is known of a host's refusals; ``seen``: the tiles that were refused; ``keep`` takes one that is to
    be asked again after so many seconds; ``opened`` is told when a trial begins. Times in monotonic seconds.
    """

    def __init__(
        self,
        parts: Parts,
        busy: Callable[[Host], Busy],
        seen: Seen,
        *,
        keep: Callable[[float, Request, float], None],
        opened: Callable[[], None],
    ) -> None:
        self.is_open = False
        self.served = 0
        """Known tiles that were, in all."""
        self._busy = busy
        self._seen = seen
        self._keep = keep
        self._opened = opened
        self._sites = parts.sites
        self._source = parts.source
        self._witness = parts.witness
        self._waiting = parts.waiting
        self._tally = parts.tally
        self._draw = parts.draw
        self._skip = self._skips = 0
        self._in_vain = 0
        self._refused: Request | None = None  # None: only the known one is asked
        self._known: Request | None = None
        self._refusals = 0
        self._tiles: set[Tile] = set()  # these refusals'
        self._is_of_several = False
        self._known_is_next = True
        self._due = 0.0

    def __repr__(self) -> str:
        return f"Trial({f'of {self._refused and self._refused.tile}: {self._refusals}' if self.is_open else ''})"

    # ------------------------------------------------------------------------------------------ when one begins

    def begin(self, now: float, refused: Request | None, host: Host, *, is_check: bool = False) -> bool:
        """From now on nothing else is asked but this tile (None: nothing) and a known one; False where none is known.
        ``is_check``: once is enough, and at once; what is served now was refused by the host."""
        known = self._witness.at(host)
        if known is None or (refused is not None and known.tile == refused.tile):
            return False
        self.is_open = True
        self._refused, self._known = refused, known
        self._refusals = PAIRS - 1 if is_check else 0
        self._tiles.clear()
        self._is_of_several = refused is not None and self._busy(host).wants_trial
        self._known_is_next = True
        pause = 0.0 if refused is None else self._pause()
        self._due = now + (0.0 if is_check else pause)
        self._opened()
        return True

    def begin_in_turn(self, now: float, refused: Request) -> bool:
        """The same, unless this occasion is to pass."""
        if self._skip:
            self._skip -= 1
            return False
        return self.begin(now, refused, refused.host)

    def skip_none(self) -> None:
        """Refusals are the tiles' own, or pass: a trial is worth its time again."""
        self._skips = 0

    # ------------------------------------------------------------------------------------------ what is asked

    @property
    def host(self) -> Host:
        """Whom the trial is about."""
        assert self._known is not None
        return self._known.host

    def ready_in(self, now: float) -> float:
        """Seconds until the next step."""
        return self._due - now

    def step(self) -> Request:
        """The known tile (``attempt`` is AGAIN) or the refused one; call while ``is_open``, with nothing in flight."""
        if not self._known_is_next and self._refused is not None:
            return self._refused
        assert self._known is not None
        return self._source.request(self._known.tile, AGAIN)

    # ------------------------------------------------------------------------------------------ what came

    def is_about(self, tile: Tile) -> bool:
        """True for the refused tile that is asked in turn with the known one."""
        return self.is_open and self._refused is not None and self._refused.tile == tile

    @property
    def is_of_all(self) -> bool:
        """True where what was refused in the last one stands for whatever is refused; False: it was one tile of many
        that are served."""
        return len(self._tiles) > 1 or not self._is_of_several

    def refused(self, now: float, tile: Tile) -> bool:
        """The tile that it is about is refused again. True when that closes it: it is refused for its own sake."""
        self._refusals += 1
        self._known_is_next = True
        self._due = now + self._pause()
        self._tiles.add(tile)
        if self._refusals >= PAIRS:
            self.close()
            self._skips = 0
            return True
        if (other := self._another(now)) is not None:
            self._refused = other
        return False

    def _another(self, now: float) -> Request | None:
        """A refused tile that is due soon, to go on with: what is true of one alone is not of all."""
        due = self._waiting.next_due()
        if not self._is_of_several or due is None or due > now + SOON_SECONDS:
            return None
        request = self._waiting.first()
        seen = None if request.window else self._seen.get(request.tile)
        return None if seen is None or seen.number < OFTEN else self._waiting.pop()

    def answered(self, now: float, request: Request, verdict: Verdict) -> None:
        """The known tile's answer, of which the pacer knows."""
        busy, outcome, refused = self._busy(request.host), verdict.outcome, self._refused
        if outcome in (Outcome.WHOLE, Outcome.UNCHANGED, Outcome.ABSENT):
            self.served += 1
            self._sites.of(request.host).good += 1
            busy.check()
            if outcome is not Outcome.ABSENT:
                self._witness.was_served(request.tile)
            if refused is None:
                self.close()
            else:
                self._known_is_next = False
                self._due = now if busy.is_presumed else now + self._pause()
            return
        if outcome is Outcome.THROTTLED or self._sites.of(request.host).pacer.faults.are_refusals:
            self._tally.throttled += 1
            busy.doubt()
        if not self._witness.is_known and self._in_vain < IN_VAIN:
            other = self._witness.at(request.host)
            if other is not None:
                # It may be as bad as the refused one: nobody knows of either.
                self._in_vain += 1
                self._known = other
                self._due = now + self._pause()
                return
        self._skips = self._skip = min(2 * self._skips or 1, SKIPPED)
        self.close()
        if refused is not None:
            self._keep(now, refused, self._pause())

    def close(self) -> None:
        """It is over."""
        self.is_open = False
        self._refused = self._known = None

    def _pause(self) -> float:
        return backoff(1, self._draw(), throttled=True)
