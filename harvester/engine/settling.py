"""What is in doubt when nothing else is left to ask: looked back at, and the credential put to the proof."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from harvester.edges import Done, Next, Request, Source, Wait
from harvester.engine.flow import Flow
from harvester.engine.proof import ASKED_AFTER, ENDED, UNPROVEN, Proof
from harvester.engine.review import Review
from harvester.engine.sites import Sites
from harvester.engine.stop import StopReason
from harvester.engine.tally import Tally
from harvester.errors import CacheError


class Settling:
    """``drain`` asks until there is nothing more to ask; ``reason`` gives why the run stops, if it does, and ``stop``
    stops it."""

    def __init__(
        self,
        *,
        source: Source,
        flow: Flow,
        review: Review,
        sites: Sites,
        tally: Tally,
        clock: Callable[[], float],
        drain: Callable[[Next, Done], Awaitable[None]],
        reason: Callable[[], StopReason | None],
        stop: Callable[[StopReason], None],
    ) -> None:
        self._source = source
        self._flow = flow
        self._review = review
        self._sites = sites
        self._tally = tally
        self._clock = clock
        self._drain = drain
        self._reason = reason
        self._stop = stop
        self._left_by_last = -1
        """Whole tiles that were left when a credential was last found to have ended in silence."""

    async def goes_on(self) -> bool:
        """Settle it, with and without a refusal; True when something is to be asked again."""
        if self._reason() is None and await self._review.goes_on():
            return True
        access, stop = self._flow.access, self._reason()
        question = access.question()
        if question is None or (stop is not None and stop.exit_code == CacheError.exit_code):
            return False
        proof = Proof(question, self._source, sites=self._sites, tally=self._tally, clock=self._clock)
        if stop is None or stop.code in ASKED_AFTER:
            await self._prove(proof)
        if proof.holds:
            access.holds()
            return False
        access.ended()
        left = self._flow.whole
        if proof.holds is None:
            self._stop(UNPROVEN)
        elif left <= self._left_by_last or not self._source.can_renew:
            self._stop(ENDED)
        if self._reason() is not None:
            return False
        self._left_by_last = left
        access.renew()
        return True

    async def _prove(self, proof: Proof) -> None:
        """Also after a stop, but then no host that is paused or down is waited for."""

        def next_request() -> Request | Wait | None:
            item = proof.next_request()
            if self._reason() is not None and isinstance(item, Wait) and item.seconds is not None:
                now = self._clock()
                return None if all(site.is_out(now) for site in self._sites.all) else item
            return item

        await self._drain(next_request, proof.done)
