"""The question that is under way: a tile asked only to see whether it is served, and who wants to know."""

from __future__ import annotations

import math
from collections.abc import Callable

from harvester.edges import Answer, Outcome, Request, Verdict, Wait
from harvester.engine.access import Access
from harvester.engine.ends import Ends
from harvester.engine.parts import Parts
from harvester.engine.sites import Site
from harvester.engine.throttling import Throttling
from harvester.engine.trial import Trial
from harvester.engine.vouching import is_followed
from harvester.engine.witness import AGAIN

HOLD = Wait(None)
"""Nothing to ask before an answer comes or something wakes the lanes."""


class Questions:
    """``access``, ``trial`` and ``demand`` ask alone, with nothing else in flight; the ``Vouching`` of each host in
    its breaker's probes. There is never more than one question of a host under way.

    ``again`` takes what is to be asked at once, ``uncount`` how many whole tiles were taken back; ``opened`` is told
    when something is to be asked alone.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        ends: Ends,
        again: Callable[[Request], None],
        uncount: Callable[[int], None],
        opened: Callable[[], None],
    ) -> None:
        clock = parts.clock
        self.throttling = Throttling(parts, fail=ends.failed, opened=opened)
        self.trial, self.demand = self.throttling.trial, self.throttling.demand
        self.access = Access(
            parts, again=again, fail=lambda denied: ends.denied(clock(), denied), uncount=uncount, opened=opened
        )
        self._sites = parts.sites
        self._tally = parts.tally
        self._asker: Access | Trial | None = None
        """Whose it is; None: Vouching's."""
        self._fresh = False

    def __repr__(self) -> str:
        return f"Questions({self.access}, {self.throttling})"

    @property
    def is_open(self) -> bool:
        """True while one is to be asked alone, or nothing may be asked."""
        return self.access.is_open or self.trial.is_open or self.demand.is_open or self.access.renewing

    def alone(self, now: float, in_flight: int) -> Request | Wait:
        """While ``is_open``: the next step. A Request whose ``attempt`` is not AGAIN is a tile to be tried again."""
        if in_flight or self.access.renewing:
            return HOLD
        sites = self._sites
        if self.demand.is_open and not self.access.is_open and not self.trial.is_open:
            return self._of_demand(now)
        asker = self.access if self.access.is_open else self.trial
        seconds = asker.ready_in(now)
        site = sites.of(asker.host)
        if asker is self.access and site.is_out(now):
            site = next((one for one in sites.all if not one.is_out(now)), site)
        if seconds <= 0.0:
            seconds = site.may_start(now)
        if seconds > 0.0:
            return HOLD if seconds == math.inf else Wait(seconds)
        site.in_flight += sites.are_several
        request = sites.at(asker.step(), site)
        self._asker = asker
        return self._counted(request) if request.attempt == AGAIN else request

    def _of_demand(self, now: float) -> Request | Wait:
        demand = self.demand
        seconds = demand.ready_in(now)
        if not demand.is_open:
            return Wait(0.0)
        if seconds <= 0.0:
            seconds = self._sites.first.pacer.may_ask_apart(now)
        if seconds > 0.0:
            return HOLD if seconds == math.inf else Wait(seconds)
        return demand.step(now)

    def is_probe(self, now: float, retry: Request | None) -> bool:
        """True when the next probe of the one host's breaker is a question. ``retry``: a tile that failed and is
        due."""
        return self._sites.first.vouching.is_next(now, retry)

    def is_followed(self, retry: Request) -> bool:
        """True for a tile that failed, or was refused, more than once, and goes on while nothing is served."""
        return is_followed(retry) or self.demand.goes_on(retry)

    def probe(self, site: Site | None = None) -> Request | None:
        """That question, once the pacer let it go; None: there is no tile left to ask."""
        site = site or self._sites.first
        request = site.vouching.ask()
        self._asker = None
        return None if request is None else self._counted(self._sites.at(request, site))

    def probe_of_any(self, now: float, retry: Request | None) -> Request | None:
        """The same where there are several hosts, and one of them takes it now."""
        for site in self._sites.all:
            if site.vouching.is_next(now, retry) and site.may_start(now) <= 0.0:
                request = self.probe(site)
                if request is not None:
                    site.in_flight += 1
                    return request
                site.pacer.unheard()  # then a tile may be the probe
        return None

    def _counted(self, request: Request) -> Request:
        self._tally.tile_requests += 1
        self._tally.questions += 1
        return request._replace(fresh=True) if self._fresh else request

    def stale(self, request: Request) -> None:
        """An old connection was gone before the answer began: it is asked again over a new one."""
        self._sites.of(request.host).pacer.breaker.asking = False
        self._fresh = True

    def answered(self, now: float, request: Request, answer: Answer, verdict: Verdict) -> None:
        """Told to the pacer first, then to who asked."""
        site, outcome = self._sites.of(request.host), verdict.outcome
        breaker = site.pacer.breaker
        breaker.asking = self._fresh = False
        was_open = breaker.open_since is not None
        if request.credential <= self.access.refused and outcome is not Outcome.DENIED:
            site.pacer.unheard()  # asked with a token that has ended: it is no answer
            return
        if outcome is Outcome.ABSENT and site.is_in_doubt:
            verdict, outcome = verdict._replace(outcome=Outcome.RETRY), Outcome.RETRY  # that is no sign that it is well
        self._sites.heard(now, request, outcome, answer.seconds, verdict.retry_after)
        if self._asker is not None:
            self._asker.answered(now, request, verdict)
        else:
            self._tally.throttled += outcome is Outcome.THROTTLED
            site.vouching.answered(now, request, verdict, was_open=was_open)
