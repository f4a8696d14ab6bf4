"""A few tiles, asked to learn something of the service: at each host's own pace, and where one says nothing, of
another."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harvester.edges import Answer, Outcome, Request, Source, Verdict, Wait, told, what_came
from harvester.engine.sites import IN_VAIN_PAUSES, Site, Sites
from harvester.engine.stop import StopReason
from harvester.engine.tally import Tally
from harvester.engine.witness import Witness
from harvester.pacing import Pacer
from harvester.tiling.tile import Tile
from harvester.wording import with_detail

LOOK_SECONDS = 1.0
"""How often somebody's wish to stop is looked for in a pause."""


@dataclass(slots=True)
class Asked:
    """A tile, and what came of it so far: the hosts that said nothing, and each answer with its seconds."""

    tile: Tile
    silent: list[Site] = field(default_factory=list)
    answers: list[tuple[Outcome, float]] = field(default_factory=list)
    fresh: bool = False
    trouble: str = ""
    """What was wrong with the last answer, as a ledger keeps it."""


class Refusals:
    """Answers "too busy" (429, 503) with none between them that says something of a tile."""

    def __init__(self, patience: float) -> None:
        self.since = math.inf
        """When the first of those in a row came."""
        self._patience = patience
        self._paused = 0.0  # seconds of pauses that were asked for since then
        self._pauses = 0
        self._pause_ends = -math.inf
        self._before = 0.0

    def saw(self, now: float, outcome: Outcome, asked: float | None) -> None:
        """An answer came; ``asked``: the seconds of a pause that it asks for."""
        if outcome in (Outcome.WHOLE, Outcome.ABSENT, Outcome.UNCHANGED):
            self._before = self.total(now)
            self.since, self._paused, self._pauses = math.inf, 0.0, 0
        elif outcome is Outcome.THROTTLED:
            self.since = min(self.since, now)
            if asked:
                self._pauses += now >= self._pause_ends
                self._paused += max(0.0, now + asked - max(now, self._pause_ends))
                self._pause_ends = max(self._pause_ends, now + asked)

    def are_enough(self, now: float) -> bool:
        """True when nobody should wait any longer."""
        if self.since == math.inf or self._patience == math.inf:
            return False
        return self._row(now) >= self._patience or self._pauses >= IN_VAIN_PAUSES

    def total(self, now: float) -> float:
        """Seconds of all such rows, pauses that were asked for left out; a row that was long enough by its pauses
        counts as one that was by its seconds."""
        return self._before + (max(self._row(now), self._patience) if self.are_enough(now) else self._row(now))

    def _row(self, now: float) -> float:
        return 0.0 if self.since == math.inf else max(0.0, now - self.since - self._paused)


class Few:
    """In ``Transport.drain``'s terms: ``next_request`` and ``done``. ``saw`` is told how each tile ended.

    ``tries``: answers to a tile, of which all but the last may be its own fault or a busy host's; with more hosts than
    that, one of each. All ends when ``stopped``, when a host asks for a pause that no run waits for, and when it gives
    nothing but failures for ``patience`` seconds; where there are several, when all of them do (``stop`` says why).
    It ends, too, when nothing but refusals (429, 503) came for ``busy_patience`` seconds, those of pauses that were
    asked for not counted, or after the fourth such pause in a row.
    """

    def __init__(
        self,
        tiles: Sequence[Tile],
        source: Source,
        *,
        new_pacer: Callable[[int], Pacer],
        connections: int,
        tries: int,
        tally: Tally,
        clock: Callable[[], float],
        saw: Callable[[Tile, Verdict], None],
        stopped: Callable[[], StopReason | None] = lambda: None,
        patience: float = 0.0,
        busy_patience: float = math.inf,
    ) -> None:
        self.stop: StopReason | None = None
        self.answers: list[tuple[Outcome, float]] = []
        """What came, with the seconds it took. Where there are several hosts, without what one of them failed to answer
        and another one did: a run leaves such a host alone soon."""
        self.trouble = ""
        """Why the last tile was wrong."""
        self.told = ""
        """The same as a ledger keeps it."""
        self._todo = deque(Asked(tile) for tile in tiles)
        self._flying: dict[Tile, Asked] = {}
        self._source = source
        self._tally = tally
        self._clock = clock
        self._saw = saw
        self._stopped = stopped
        self._patience = patience
        self._down_since = math.inf
        self._busy = Refusals(busy_patience)
        self._sites = sites = Sites(
            source=source, new_pacer=new_pacer, connections=connections, max_duration_seconds=None,
            witness=Witness(source, None, lambda share: None), tally=tally, clock=clock, stop=self._end,
        )  # fmt: skip
        self._tries = max(tries, len(sites.all))

    def __repr__(self) -> str:
        return f"Few({len(self._todo)} left, {len(self._flying)} in flight, {self._sites})"

    @property
    def left(self) -> int:
        """Tiles that nothing was learned of when it ended."""
        return len(self._todo)

    @property
    def unended(self) -> dict[Tile, str]:
        """These, each with what was wrong with its last answer as a ledger keeps it; empty where none came."""
        return {asked.tile: asked.trouble for asked in self._todo}

    @property
    def busy_seconds(self) -> float:
        """How long nothing but refusals came, all such times together, without the pauses that were asked for."""
        return self._busy.total(self._clock())

    def next_request(self) -> Request | Wait | None:
        """The next tile, at a host that takes it."""
        now = self._clock()
        if self.stop is None and self._todo:
            if (reason := self._stopped()) is not None:
                self._end(reason)
            elif not self._sites.all_are_down(now):
                self._down_since = math.inf
            else:
                self._down_since = min(self._down_since, now)
                if now - self._down_since >= self._patience:
                    self._end(StopReason.failing(self.trouble))
            if self._busy.are_enough(now):
                ever, quiet = self._tally.counts().stored > 0, now - self._busy.since
                self._end(StopReason.gave_up(quiet, ever=ever, breaker_open=False, last=self.trouble))
        if self.stop is not None or not self._todo:
            return Wait(None) if self._flying else None
        asked = self._todo[0]
        request = self._source.request(asked.tile, len(asked.answers))
        started = self._sites.start(now, request, asked.silent)
        if not isinstance(started, Request):
            return Wait(None if started == math.inf else min(started, LOOK_SECONDS))
        self._flying[asked.tile] = self._todo.popleft()
        self._tally.requests += 1
        self._tally.tile_requests += 1
        return started._replace(fresh=True) if asked.fresh else started

    def done(self, request: Request, answer: Answer) -> None:
        """Judge it: an end, or another try."""
        asked, now = self._flying.pop(request.tile), self._clock()
        sites, site = self._sites, self._sites.of(request.host)
        site.in_flight -= 1
        self._tally.bytes += len(answer.body)
        if answer.stale:
            site.pacer.unheard()
            asked.fresh = True
            self._todo.appendleft(asked)
            return
        verdict = self._source.judge(request, answer)
        outcome = verdict.outcome
        site.pacer.ended(
            now, outcome, answer.seconds, first_try=not asked.answers, retry_after=verdict.retry_after
        )  # fmt: skip
        asked.answers.append((outcome, answer.seconds))
        self._busy.saw(now, outcome, verdict.retry_after)
        if outcome in (Outcome.WHOLE, Outcome.ABSENT, Outcome.UNCHANGED):
            self.answers += asked.answers[-1:] if sites.are_several else asked.answers
            self._saw(asked.tile, verdict)
            return
        self.trouble = with_detail(verdict.reason, what_came(request, answer))
        self.told = asked.trouble = told(verdict.reason, what_came(request, answer))
        self._tally.throttled += outcome is Outcome.THROTTLED
        if site not in asked.silent:
            asked.silent.append(site)
        is_passing = outcome in (Outcome.RETRY, Outcome.THROTTLED)
        if len(asked.answers) < self._tries and (is_passing or len(asked.silent) < len(sites.all)):
            self._todo.append(asked)
        else:
            self.answers += asked.answers
            self._saw(asked.tile, verdict)
        if outcome is Outcome.THROTTLED:
            sites.is_too_long(now, site, verdict.retry_after, ended=bool(self.answers))

    def _end(self, reason: StopReason) -> None:
        self.stop = self.stop or reason
