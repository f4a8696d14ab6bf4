"""Where several equal hosts serve the same tiles: what one of them says of a tile, before it is believed."""

from __future__ import annotations

from harvester.edges import Answer, Outcome, Request, Verdict
from harvester.engine.absences import Absences, Belief
from harvester.engine.denials import Denials
from harvester.engine.ends import Ends
from harvester.engine.opinions import Opinions
from harvester.engine.parts import Parts
from harvester.engine.suspicion import SUSPECTS
from harvester.engine.throttling import Throttling
from harvester.tiling.tile import Tile


class Equals:
    """Told by ``Flow`` of each answer where there are several. ``opinions`` knows who refused, ``absences`` who said
    that there is no such tile, ``denials`` whose tilemap did."""

    def __init__(self, parts: Parts, *, ends: Ends) -> None:
        self.opinions = Opinions(parts.sites)
        self.absences = Absences(parts, self.opinions)
        self.denials = Denials(parts.sites, parts.feed)
        self.throttling: Throttling
        self._refused = self.opinions.refused
        self._claims = self.absences.claims
        self._source = parts.source
        self._sites = parts.sites
        self._waiting_tries = parts.waiting
        self._ends = ends

    def __repr__(self) -> str:
        return f"Equals({self.opinions}, {self.absences})"

    def served(self, now: float, tile: Tile) -> None:
        """A tile is there: hosts that said otherwise were wrong."""
        if self._refused:
            self.opinions.allowed(now, tile)
        if self._claims:
            self.absences.served(now, tile)

    def renewed(self) -> None:
        """A new credential is there: what was said before was the old one's trouble, no host's."""
        self._refused.clear()
        self._claims.clear()
        self.denials.renewed()

    def failed(self, tile: Tile) -> None:
        """A tile is wrong after all tries."""
        self._claims.pop(tile, None)

    def is_no_end(self, now: float, request: Request, answer: Answer, verdict: Verdict) -> bool:
        """A tile's own answer that is no picture, of no ended credential: True when it was seen to here."""
        outcome = verdict.outcome
        if outcome in (Outcome.ABSENT, Outcome.UNCHANGED):
            return False
        if outcome is Outcome.DENIED and request.credential != self._source.credential:
            return False  # one that was renewed meanwhile: no word of the host
        if self._claims and self._says_nothing(now, request, answer, verdict):
            return True
        return outcome is not Outcome.RETRY and self._is_refused_here(now, request, answer, verdict)

    def _says_nothing(self, now: float, request: Request, answer: Answer, verdict: Verdict) -> bool:
        """It was asked whether a tile is there that another host says is not: True when that one's word stands."""
        claim = self.absences.stands(now, request.tile)
        if claim is None:
            return False
        if verdict.outcome is Outcome.RETRY:
            self._sites.heard(now, request, verdict.outcome, answer.seconds, verdict.retry_after)
        else:
            self.opinions.refuses(now, request, answer.seconds)
        self._refused.pop(request.tile, None)
        self.throttling.heard(request, well=False)
        self._ends.absent(now, request, answer, claim.reason)
        return True

    def _is_refused_here(self, now: float, request: Request, answer: Answer, verdict: Verdict) -> bool:
        """It refuses a tile: True when another one is asked before that is believed."""
        claim = self._claims.get(request.tile)
        if not self.opinions.asks_another(now, request, claim.said if claim is not None else ()):
            return False
        self.throttling.heard(request, well=False)
        self.opinions.refuses(now, request, answer.seconds)
        self._ask_another(now, request)
        if verdict.reason in SUSPECTS:
            self._sites.of(request.host).vouching.suspect(now, verdict, answer)
        return True

    def absent(self, now: float, request: Request, answer: Answer, reason: str) -> None:
        """It says that there is no such tile."""
        belief = self.absences.said(now, request, reason)
        if belief is Belief.ANOTHER:
            self._ask_another(now, request, self._claims[request.tile].times)
        elif belief is Belief.FAILED:
            self._refused.pop(request.tile, None)
            self._ends.failed(now, request, answer, reason)
        else:
            if self._refused:
                self.opinions.allowed(now, request.tile)
            self._ends.absent(now, request, answer, reason)

    def _ask_another(self, now: float, request: Request, times: int = 1) -> None:
        """At once, if one is there; ``times``: so often it was asked in vain."""
        again = request._replace(attempt=max(request.attempt, 1))
        sites = self._sites
        if times <= len(sites.all) and sites.others_take(now, sites.of(request.host)):
            self._waiting_tries.push_at(again, now)
        else:
            self._waiting_tries.push(again, now, tries=max(again.attempt, times), throttled=False)
