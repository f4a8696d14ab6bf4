"""The hosts that tiles are asked of, each with a pace of its own; where there are several, which of them takes a
request."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator

from harvester.edges import Host, Outcome, Request, Source
from harvester.engine.stop import StopReason
from harvester.engine.tally import Tally
from harvester.engine.vouching import Vouching
from harvester.engine.witness import Witness
from harvester.pacing import LONGEST_PAUSE_SECONDS, Pacer, RetryBudget
from harvester.pacing.learned import RESTS
from harvester.wording import counted

IN_VAIN_PAUSES = 4
"""Pauses that it asked for, one after the other with nothing served in between, after which a host is silent: it may be
a few tiles that are not ready yet."""

KEPT_FREE = 4
"""One in so many connections is kept free of each host where there are several: one that stalls holds no more, and the
others go on over the rest."""


class Site:
    """One host: its pace, who asks whether it is well, and what is in flight there (counted where there are
    several)."""

    __slots__ = (
        "_unusable",
        "asked_about",
        "away_until",
        "contradicted",
        "good",
        "host",
        "in_flight",
        "is_cut",
        "pacer",
        "vouching",
        "was_wrong",
    )

    def __init__(self, host: Host, pacer: Pacer, vouching: Callable[[Site], Vouching]) -> None:
        self.host = host
        self.pacer = pacer
        self.in_flight = 0
        self.away_until = -math.inf
        """It asked for a pause that the run cannot wait for, until then: it is left alone."""
        self.good = 0
        """Whole tiles that it gave (counted where there are several)."""
        self.was_wrong = False
        """It refused what another host served."""
        self.contradicted = 0
        """Tiles that it said are not there, and another host served."""
        self.asked_about = 0
        """Absences that another host was asked about, since any host was last found wrong about one."""
        self.is_cut = False
        """Older absences were forgotten when it was found wrong."""
        self._unusable: float | None = None
        self.vouching = vouching(self)

    def may_start(self, now: float) -> float:
        """As ``Pacer.may_start``: 0.0 is counted as started."""
        if now < self.away_until:
            return self.away_until - now
        return self.pacer.may_start(now, self.in_flight)

    @property
    def is_in_doubt(self) -> bool:
        """True once it said of a tile that it is not there, and another host served it: its absences prove nothing."""
        return self.contradicted > 0

    def is_silent(self, now: float) -> bool:
        """True where it has nothing left to give but pauses."""
        pacer = self.pacer
        learned = pacer.learned
        return (
            pacer.limit == 1
            or (learned is not None and learned.refused >= RESTS)
            or pacer.in_vain >= IN_VAIN_PAUSES
            or now < self.away_until
            or pacer.breaker.open_since is not None
        )

    def is_out(self, now: float) -> bool:
        """True while it takes nothing but probes, or nothing at all."""
        pacer = self.pacer
        return now < self.away_until or now < pacer.pause.until or pacer.breaker.open_since is not None

    def mark_unusable(self, now: float) -> None:
        """All that it says speaks of the whole service: nothing but probes, until one is answered well."""
        breaker = self.pacer.breaker
        if breaker.open_since is None:
            breaker.open(now)
        self._unusable = breaker.open_since

    @property
    def is_unusable(self) -> bool:
        """True from ``mark_unusable`` until its breaker closes."""
        return self._unusable is not None and self._unusable == self.pacer.breaker.open_since

    def __repr__(self) -> str:
        return f"Site({self.host.origin}, {self.in_flight} in flight, {self.pacer}, {self.vouching})"


class Sites:
    """All of them. ``new_pacer`` makes the pace of one host that is given at most so many requests in flight.

    All hosts of a source serve the same tiles: each has those that the source asks there, and takes others' while
    theirs takes none. So none waits for a host that is slow, paused or gone, and nothing is kept back for it.
    """

    def __init__(
        self,
        *,
        source: Source,
        new_pacer: Callable[[int], Pacer],
        connections: int,
        max_duration_seconds: float | None,
        witness: Witness,
        tally: Tally,
        clock: Callable[[], float],
        stop: Callable[[StopReason], None],
    ) -> None:
        self._source = source
        self._max_duration = max_duration_seconds
        self._tally = tally
        self._connections = connections
        self._clock = clock
        self._stop = stop
        hosts = {_place(host): host for host in source.hosts} or {("", "", 0): Host(scheme="", name="", port=0)}
        self.are_several = len(hosts) > 1
        most = connections
        if self.are_several:
            most = max(1, connections - max(1, connections // KEPT_FREE))
        self.all: tuple[Site, ...] = tuple(
            Site(host, new_pacer(most), lambda site: Vouching(site.pacer, witness, lambda why: self._cannot(site, why)))
            for host in hosts.values()
        )
        self._by_place = dict(zip(hosts, self.all, strict=True))
        self.tilemaps_differ = False
        """The tilemap of one denied what that of another one knows."""
        self.first = self.all[0]
        self.budget = RetryBudget() if self.are_several else self.first.pacer.budget
        """For a heap of all that waits: where there are several, each host's own is charged as it takes a retry."""

    def __repr__(self) -> str:
        return f"Sites({', '.join(map(repr, self.all))})"

    def of(self, host: Host) -> Site:
        """The site of a host, whatever requests to it carry."""
        return self._by_place[_place(host)] if self.are_several else self.first

    def _cannot(self, site: Site, reason: StopReason) -> None:
        """One host can't be used. The run ends when none can."""
        if self.are_several:
            site.mark_unusable(self._clock())
        if not self.are_several or all(one.is_unusable for one in self.all):
            self._stop(reason)

    # ------------------------------------------------------------------------------------------ who takes it

    def start(self, now: float, request: Request, avoid: Collection[Site] = ()) -> Request | float:
        """The request for a host that takes it now, counted as started there; else seconds until one may
        (``math.inf``: when an answer comes).

        Its own host comes first. Those to ``avoid`` are asked only where all others are out.
        """
        soonest = math.inf
        for site in self._willing(now, self.of(request.host), avoid):
            seconds = site.may_start(now)
            if seconds <= 0.0:
                site.in_flight += 1
                return self.at(request, site)
            soonest = min(soonest, seconds)
        return soonest

    def at(self, request: Request, site: Site) -> Request:
        """The same asked there."""
        is_there = not self.are_several or _place(request.host) == _place(site.host)
        return request if is_there else self._source.at(request, site.host)

    def _willing(self, now: float, own: Site, avoid: Collection[Site]) -> Iterator[Site] | list[Site]:
        first = self.all.index(own)
        order = [*self.all[first:], *self.all[:first]]
        if not avoid:
            return order
        return [site for site in order if site not in avoid and not site.is_out(now)] or order

    def others_take(self, now: float, site: Site) -> bool:
        """True when another host is there that is not out."""
        return any(not other.is_out(now) for other in self.all if other is not site)

    # ------------------------------------------------------------------------------------------ what is known of all

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return min(self._connections, sum(site.pacer.limit for site in self.all))

    @property
    def retries_wait(self) -> bool:
        """True when first tries, where any are left, go before retries that are due, at every host."""
        return all(site.pacer.retries_wait for site in self.all)

    @property
    def are_silent(self) -> bool:
        """True while none of them answers well, and little is asked for that, or each pause they ask for is in vain."""
        return all(site.pacer.is_silent or site.pacer.in_vain >= IN_VAIN_PAUSES for site in self.all)

    def all_are_down(self, now: float) -> bool:
        """True while every host's breaker is open, or it asked for a pause that is too long."""
        return all(now < site.away_until or site.pacer.breaker.open_since is not None for site in self.all)

    def paused_seconds(self, now: float) -> float:
        """What is left of the pause that is over first."""
        return max(0.0, min(max(site.pacer.pause.until, site.away_until) for site in self.all) - now)

    def notices(self, now: float) -> tuple[str, ...]:
        """At the end of a run: hosts that gave nothing at last, or not what is there, though others gave tiles."""
        if not self.are_several or not any(site.good for site in self.all):
            return ()
        found = []
        if self.tilemaps_differ:
            found.append("the tilemaps of the tile servers differ: whatever any of them knows of was asked for")
        for site in self.all:
            server = f"tile server {site.host.origin}"
            if site.is_in_doubt:
                found.append(
                    f"{server} said of tiles that another one serves that they are not there "
                    f"({counted(site.contradicted, 'tile')}): whatever it said so of was asked of the others"
                )
            elif site.is_out(now):
                found.append(f"{server} did not serve at the end: its tiles were asked of the others")
            if site.is_cut:
                found.append(
                    f"{server} said so of more than a million tiles before, the oldest of which were not asked again: "
                    "--mode overwrite harvests them anew"
                )
        return tuple(found)

    def forget_in_flight(self) -> None:
        """Nothing is: what was, was broken off."""
        for site in self.all:
            site.in_flight = 0

    def heard(self, now: float, request: Request, outcome: Outcome, seconds: float, retry_after: float | None) -> bool:
        """A question was answered: no first try of a tile. That one of several hosts refuses what others may serve
        is no sign that it is well. True when that ends the run."""
        site = self.of(request.host)
        pacer = site.pacer
        if self.are_several and pacer.breaker.open_since is not None and outcome in (Outcome.FAILED, Outcome.DENIED):
            outcome = Outcome.RETRY
        pacer.ended(now, outcome, seconds, first_try=False, retry_after=retry_after)
        ended = self._tally.last_ended > self._tally.started
        return outcome is Outcome.THROTTLED and self.is_too_long(now, site, retry_after, ended=ended)

    def is_too_long(self, now: float, site: Site, asked: float | None, *, ended: bool) -> bool:
        """A pause that the run cannot wait for stops it, unless another host goes on. ``asked``: its seconds;
        ``ended``: a tile had an end in this run, recorded or not."""
        left = self._longest_pause(now)
        if not asked or asked <= left:
            return False
        site.away_until = max(site.away_until, now + asked)
        away = min(one.away_until for one in self.all) - now
        if away <= left:
            return False
        self._come_back(away, ended=ended)
        return True

    def is_too_long_for_a_token(self, now: float, asked: float) -> bool:
        """The same of the pause that a token service asks for, without which no host serves."""
        if asked <= self._longest_pause(now):
            return False
        self._come_back(asked, ended=self._tally.last_ended > self._tally.started, who="the token service")
        return True

    def _longest_pause(self, now: float) -> float:
        if self._max_duration is None:
            return LONGEST_PAUSE_SECONDS
        return min(LONGEST_PAUSE_SECONDS, self._max_duration - (now - self._tally.started))

    def _come_back(self, away: float, *, ended: bool, who: str = "the server") -> None:
        counts = self._tally.counts()
        ever = ended or counts.pending < counts.planned or away <= LONGEST_PAUSE_SECONDS
        self._stop(StopReason.come_back(away, ever=ever, who=who))


def _place(host: Host) -> tuple[str, str, int]:
    return host.scheme, host.name, host.port
