"""When a run looks back at what came before a refusal, and what it does with what it finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from harvester.edges import Done, Next, Source, State, Transport
from harvester.engine.doubt import Ended
from harvester.engine.flow import Flow
from harvester.engine.lookback import LookBack
from harvester.engine.sites import Sites
from harvester.engine.stop import StopReason
from harvester.engine.tally import Tally
from harvester.engine.unproven import Unproven
from harvester.engine.writer import Writer
from harvester.errors import CacheError
from harvester.tiling.tile import Tile


class Review:
    """``drain`` asks until there is nothing more to ask, ``wake`` lets the lanes look whether there is."""

    def __init__(
        self,
        unproven: Unproven,
        *,
        flow: Flow,
        source: Source,
        sites: Sites,
        writer: Writer,
        tally: Tally,
        in_flight: int,
        transport: Transport,
        clock: Callable[[], float],
        drain: Callable[[Next, Done], Awaitable[None]],
        stop: Callable[[StopReason], None],
    ) -> None:
        self.unproven = unproven
        self._transport = transport
        self._unasked = transport.unasked
        self._flow = flow
        self._source = source
        self._sites = sites
        self._writer = writer
        self._tally = tally
        self._in_flight = in_flight
        self._clock = clock
        self._drain = drain
        self._stop = stop

    async def begin(self, planned: Callable[[Tile], bool]) -> None:
        """Before the feed reads what is pending: what an earlier run left to be looked back at."""
        if await self.unproven.load(planned):
            await self._look_back()
            await self._writer.flush()

    async def tick(self, now: float) -> None:
        """Looked at now and then."""
        if self._transport.unasked > self._unasked:
            self._pause()
        if self.unproven.is_refused():
            await self._keep(self.unproven.keep())
        elif self.unproven.is_due(now):
            self._pause()

    async def refused(self) -> None:
        """A credential was refused, and is renewed next."""
        self.unproven.wanted = True
        await self._keep(self.unproven.keep())

    def renewed(self) -> None:
        """It is renewed, refused or not."""
        if self.unproven.wanted:
            self._pause()

    def _pause(self) -> None:
        """Ask nothing more until ``goes_on``, which comes when all answers under way are there."""
        self._flow.asking.stopping = True
        self._transport.wake()

    async def goes_on(self) -> bool:
        """Look back where that is wanted; True when the run goes on after it. Call while nothing else is asked."""
        self.unproven.is_refused()
        asking = self._flow.asking
        await self._transport.linger()
        paused, asking.stopping = asking.stopping, False
        if self._transport.unasked > self._unasked:
            paused = await self._ask_all_again() or paused
        if self.unproven.wanted:
            await self._writer.flush()
            doubtful = await self._look_back()
            self._flow.ask_again(doubtful)
            paused = paused or bool(doubtful)
        return paused

    async def _ask_all_again(self) -> bool:
        """An answer came that nobody had asked for: what came before may have been other tiles'. True when something
        did."""
        self._unasked = self._transport.unasked
        await self._writer.flush()
        try:
            doubtful = await self.unproven.all_that_came(self._clock())
        except CacheError as error:
            self._stop(StopReason.of(error))
            return False
        self._flow.doubt.take_out(doubtful)
        self._flow.ask_again(doubtful)
        return bool(doubtful)

    async def stopped(self) -> None:
        """Something ends the run, and the writer writes still: what is in doubt by now is the next one's to fetch."""
        await self._transport.linger()
        if self._transport.unasked > self._unasked:
            await self._ask_all_again()

    async def end(self) -> None:
        """The run ends: what was not done is the next one's."""
        await self._keep(self.unproven.end())

    async def _look_back(self) -> list[Ended]:
        """Take out of the cache what doesn't come the same once more."""
        try:
            past = await self.unproven.standing()
        except CacheError as error:
            self._stop(StopReason.of(error))
            return []
        look = LookBack(
            past, self._source, in_flight=self._in_flight, sites=self._sites, tally=self._tally, clock=self._clock
        )
        await self._drain(look.next_request, look.done)
        doubtful = self.unproven.settle(self._clock(), look, past)
        self._flow.doubt.take_out(doubtful)
        earlier = sum(one.state is State.STORED and one.credential < 0 for one in doubtful)
        self._tally.kept -= earlier
        self._tally.fetched += earlier  # which taking them back takes away again
        await self._keep(self.unproven.keep())
        return doubtful

    async def _keep(self, kept: Awaitable[None]) -> None:
        try:
            await kept
        except CacheError as error:
            self._stop(StopReason.of(error))
