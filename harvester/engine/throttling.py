"""Answers that say "too busy" (429, 503): the host's word, or a tile's own trouble. Where the host seems to refuse
everything, a ``Trial`` tells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harvester.edges import Answer, Host, Outcome, Request, Verdict
from harvester.engine.busy import LONGEST_WAIT, OWN_TIMES, Busy, Seen
from harvester.engine.demand import Demand
from harvester.engine.parts import Parts
from harvester.engine.trial import Trial
from harvester.pacing import backoff

ROW = 2
"""Refusals in a row before a trial: one alone is what any host may do, and a trial holds all others up for a second."""


class Throttling:
    """Tells them apart, keeps what waits on the retry heap, and says when a ``trial`` begins.

    Where there are several hosts, another one tells sooner: a refused tile is asked there first, and a trial, which
    holds all up, begins only when every host refuses.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        fail: Callable[[float, Request, Answer, str], None],
        opened: Callable[[], None],
    ) -> None:
        self.refused_tiles: Seen = {}
        """Looked at by the hot path: empty, nothing is to be told of a tile that is served."""
        self.demand = Demand(parts, self.refused_tiles, proven=parts.sites.first.pacer.begin_again, opened=opened)
        self.trial = Trial(parts, self._busy, self.refused_tiles, keep=self._keep, opened=opened)
        self._hosts: dict[tuple[str, int], Busy] = {}
        self._sites = parts.sites
        self._waiting = parts.waiting
        self._tally = parts.tally
        self._draw = parts.draw
        self._fail = fail
        self._good = -1  # good answers there were by the last refusal
        self._row = 0  # refusals since then
        self._gave_up = False

    def __repr__(self) -> str:
        return f"Throttling({list(self._hosts.values())}, {self.trial})"

    @property
    def is_presumed(self) -> bool:
        """True while refusals are taken for the tiles' own from the first."""
        return any(busy.is_presumed for busy in self._hosts.values())

    def _busy(self, host: Host) -> Busy:
        key = (host.name, host.port)
        busy = self._hosts.get(key)
        if busy is None:
            busy = self._hosts[key] = Busy(self.refused_tiles)
        return busy

    # ------------------------------------------------------------------------------------------ what came

    def refused(
        self, now: float, request: Request, answer: Answer, verdict: Verdict, good: int, *, others: float, ended: bool
    ) -> int:
        """A tile is throttled, or failed where that is taken for the same. ``good``: whole tiles that came so far;
        ``others``: tiles that are left besides it, infinite until all were asked; ``ended``: a tile had an end in this
        run. Gives 0; for a fault that is the tile's own, which is the caller's: how many of its tries failed so."""
        site, tile, busy = self._sites.of(request.host), request.tile, self._busy(request.host)
        pacer, several, demand, trial = site.pacer, self._sites.are_several, self.demand, self.trial
        presumed, again = busy.is_presumed, tile in self.refused_tiles
        number = 1 + (self.refused_tiles[tile].number if again else 0)
        here = site.good if several else good + trial.served
        at_last = not several and others < len(self.refused_tiles) + (not again)
        on_demand = demand.is_expected(number, at_last=at_last)
        is_fault = verdict.outcome is Outcome.RETRY
        times, own = busy.saw(
            tile, here, verdict.reason,
            alone=not several, on_demand=on_demand, at_last=at_last, is_fault=is_fault, now=now,
        )  # fmt: skip
        demand.refused(tile)
        self._row = self._row + 1 if good == self._good else 1
        self._good = good
        on_trial = trial.is_about(tile)
        if on_trial and trial.refused(now, tile):
            if others == 0 or trial.is_of_all:
                busy.presume()
            elif not busy.is_presumed:
                times = busy.is_own(tile, verdict.reason)
            own = True
        on_trial = on_trial and trial.is_about(tile)
        if own:
            pacer.unheard()
        elif again and not demand.is_known and verdict.retry_after and not several:
            pacer.refused_again(now, answer.seconds, first_try=request.attempt == 0, asked=verdict.retry_after)
        else:
            pacer.ended(
                now, verdict.outcome, answer.seconds, first_try=request.attempt == 0, retry_after=verdict.retry_after
            )
        if (busy.is_presumed and not presumed) or (
            not several and self._was_not_ready(now, number, good - busy.served_later)
        ):
            # What was concluded for the pace came of tiles that say nothing about it.
            pacer.begin_again(now)
        if own and is_fault and times >= OWN_TIMES:
            if on_trial:
                trial.close()
            return min(times, self.refused_tiles[tile].faults)
        self._tally.throttled += 1
        asked = verdict.retry_after or 0.0
        if not own and self._sites.is_too_long(now, site, asked, ended=ended):
            self._waiting.push_at(request, now + asked)
            return 0
        if own and (
            busy.is_bad(times, seconds=now - self.refused_tiles[tile].since if at_last else 0.0)
            or (self._gave_up and times >= OWN_TIMES)
        ):
            del self.refused_tiles[tile]
            if on_trial:
                trial.close()
            self._fail(now, request, answer, verdict.reason)
            return 0
        elsewhere = several and not own and self._sites.others_take(now, site)
        if elsewhere and not again:
            self._waiting.push_at(request, now)
            return 0
        if on_trial or ((busy.wants_trial or not own) and self._tries(now, request, only_one=others == 0)):
            return 0
        may_check = busy.wants_check and not trial.is_open and not several
        if may_check and trial.begin(now, request, request.host, is_check=True):
            return 0
        # Being throttled uses up no tries. Others go first once a pause is over: it may be this tile's own trouble.
        own_wait = backoff(min(times, LONGEST_WAIT), 1.0, throttled=True) if own else 0.0
        wait = demand.ready_seconds if on_demand else own_wait
        spread = 0.0 if own else backoff(times, self._draw(), throttled=True)
        self._keep(now, request, max(0.0 if elsewhere else asked, wait) + spread)
        if (busy.wants_check or (at_last and (busy.is_presumed or (again and is_fault)))) and not trial.is_open:
            if not trial.begin(now, None, request.host) and busy.wants_check:
                busy.doubt()  # no tile is known that could bear it out
        elif not several and not again and not own and not trial.is_open and demand.is_wanted(now):
            demand.begin(now)
        return 0

    def _keep(self, now: float, request: Request, seconds: float) -> None:
        """Ask again after so long; first of all where one host serves nothing, and the tile may be there next time."""
        if self.demand.goes_on(request) and not self._sites.are_several and self._sites.first.pacer.is_silent:
            self._waiting.push_first(request, now)
        else:
            self._waiting.push_at(request, now + seconds)

    def _was_not_ready(self, now: float, number: int, at_once: int) -> bool:
        """One host's tile is refused for the ``number``-th time: to be told to ``demand``; so many were served when
        they were first asked for."""
        if number > 1:
            return self.demand.later(number - 1, refused=True)
        self.demand.first_refused(now, at_once)
        return False

    def _tries(self, now: float, request: Request, *, only_one: bool) -> bool:
        """Begin a trial, when the host is as good as silent or nothing else is left; True when the tile is part of
        it."""
        site = self._sites.of(request.host)
        silent = self._row >= ROW and all(one.is_silent(now) for one in self._sites.all)
        is_asking = self.trial.is_open or self.demand.is_open
        if (
            is_asking
            or site.pacer.breaker.open_since is not None
            or not (silent or only_one or self._busy(request.host).wants_trial)
        ):
            return False
        return self.trial.begin_in_turn(now, request)

    def heard(self, request: Request, *, well: bool) -> None:
        """A tile that was refused before is answered otherwise; ``well``: served, or known to be absent."""
        if self.trial.is_about(request.tile):
            self.trial.close()
            if well:
                self._busy(request.host).doubt()
        if not well:
            self.demand.heard_nothing(request.tile)
        elif request.tile in self.refused_tiles:
            self.trial.skip_none()
            self.demand.later(self.refused_tiles[request.tile].number, refused=False)
            self._busy(request.host).served(request.tile)

    # ------------------------------------------------------------------------------------------ giving up

    def give_up(self, now: float, waiting: Sequence[Request]) -> list[Request]:
        """No tile ended for a long time: of these that wait, those whose own trouble it is are failed; gives the
        others."""
        self._gave_up = True
        others = []
        for request in waiting:
            reason = "" if request.window else self._busy(request.host).own_reason(request.tile)
            if reason:
                del self.refused_tiles[request.tile]
                self._fail(now, request, Answer(0, {}, b"", 0.0), reason)
            else:
                others.append(request)
        return others
