"""What one of several equal hosts says is not there (404, 204, a blank tile) is believed as far as the others bear it
out."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, auto

from xxhash import xxh3_64_intdigest

from harvester.edges import Request
from harvester.engine.opinions import Opinions
from harvester.engine.parts import Parts
from harvester.engine.sites import Site
from harvester.engine.words import Words
from harvester.tiling.tile import Tile

FIRST_ASKED = 8
"""Absences of each host that are asked of all others before they are believed: a host that knows no tile is found at
once, also where others have lost the same."""

ONE_IN = 64
"""Of those after them, so many: 1.6 % more requests where really nothing is there; of a host that has lost a hundredth
of its tiles, a thousand absences show it with four chances in five to one, and all that it said is asked again."""

NO_SITES: tuple[Site, ...] = ()


class Belief(Enum):
    """What becomes of a tile that is said not to be there."""

    ABSENT = auto()
    ANOTHER = auto()
    """Another host is asked."""
    FAILED = auto()
    """All were asked: some refuse it, and those that say so were wrong before."""


class Claim:
    """A tile that waits for another host's word. ``said``: the hosts by whose word it is not there, and whether that
    word alone is not enough; ``reason`` of the last of them; ``times``: how often they said so."""

    __slots__ = ("of_all", "reason", "said", "times")

    def __init__(self) -> None:
        self.said: dict[Site, bool] = {}
        self.reason = ""
        self.times = 0
        self.of_all = False
        """Every other host is asked: two may have lost the same tiles."""

    @property
    def sound(self) -> list[Site]:
        """Those that were never found wrong."""
        return [site for site in self.said if not site.is_in_doubt]


class Absences:
    """Asked by ``Flow`` where there are several hosts. A host that says so of a tile that another one serves is in
    doubt from then on: all that ended on its word alone is pending again, and each further word is asked of another."""

    def __init__(self, parts: Parts, opinions: Opinions) -> None:
        self.claims: dict[Tile, Claim] = {}
        """No more than there are tiles that wait. Looked at by the hot path: empty, nothing is to be told."""
        self._sites = parts.sites
        self._feed = parts.feed
        self._doubt = parts.doubt
        self._opinions = opinions
        self._words = Words()
        parts.doubt.words = self._words

    def __repr__(self) -> str:
        return f"Absences({len(self.claims)} claims, {self._words})"

    def by(self, tile: Tile) -> Collection[Site]:
        """The hosts that said so of a tile: it waits for another word."""
        claim = self.claims.get(tile)
        return NO_SITES if claim is None else claim.said

    def said(self, now: float, request: Request, reason: str) -> Belief:
        """A host says that a tile is not there.

        Where all others are out, it is believed alone, unless it was found wrong before.
        """
        tile, site = request.tile, self._sites.of(request.host)
        claim = self.claims.get(tile)
        if claim is None:
            if not self._is_asked_about(site, tile):
                self._words.add(site, tile, reason)
                return Belief.ABSENT
            claim = self.claims[tile] = Claim()
            claim.of_all = site.asked_about < FIRST_ASKED
            site.asked_about += 1
        if site not in claim.said:
            claim.said[site] = self._is_asked_about(site, tile)
        claim.reason = reason
        claim.times += 1
        sound = claim.sound
        if not claim.of_all and (len(sound) > 1 or (sound and not claim.said[sound[0]])):
            return self._believed(now, tile)
        refused = self._opinions.by(tile)
        others = [one for one in self._sites.all if one not in claim.said and one not in refused]
        if any(not one.is_out(now) for one in others) or (others and not sound):
            return Belief.ANOTHER
        if sound or not refused:
            return self._believed(now, tile)
        del self.claims[tile]
        return Belief.FAILED

    def stands(self, now: float, tile: Tile) -> Claim | None:
        """The other host says nothing of the tile: the word of one that was never wrong stands, and ends it."""
        claim = self.claims.get(tile)
        if claim is None or not claim.sound:
            return None
        self._believed(now, tile)
        return claim

    def served(self, now: float, tile: Tile) -> None:
        """It is there: those that said otherwise are in doubt, and fail as much as if they had not answered."""
        claim = self.claims.pop(tile, None)
        if claim is None:
            return
        for site in claim.said:
            site.contradicted += 1
            breaker = site.pacer.breaker
            if breaker.open_since is None:
                breaker.on_result(now, ok=False, first_try=True)
            if site.contradicted == 1:
                self._take_back(site)

    def _is_asked_about(self, site: Site, tile: Tile) -> bool:
        if site.is_in_doubt or site.asked_about < FIRST_ASKED:
            return True
        return xxh3_64_intdigest(b"%d/%d/%d" % tile) % ONE_IN == 0

    def _believed(self, now: float, tile: Tile) -> Belief:
        claim = self.claims.pop(tile)
        for site in claim.said:
            if site.is_in_doubt:
                if site.pacer.breaker.open_since is None:
                    site.pacer.breaker.on_result(now, ok=True, first_try=True)
                continue
            self._words.add(site, tile, claim.reason)
            if len(claim.said) == 1:
                site.asked_about -= 1  # nobody was there to be asked
        return Belief.ABSENT

    def _take_back(self, site: Site) -> None:
        for one in self._sites.all:
            one.asked_about = 0  # what this host bore out of their words counts no more
        site.is_cut = site in self._words.are_cut
        taken = self._words.take(site)
        self._doubt.take_absences_out(taken)
        for key, _, positions in taken:
            self._feed.again(key, positions)
