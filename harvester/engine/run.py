"""One run from start to orderly end: ledger and cache agree, lanes pull, the writer writes, the clock ticks, and a
stop loses nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harvester.edges import CacheWriter, Done, Ledger, LedgerFailure, Next, Source, Transport
from harvester.engine.doubt import Doubt
from harvester.engine.feed import Feed
from harvester.engine.flow import Flow
from harvester.engine.parts import Parts
from harvester.engine.progress import ProgressTeller
from harvester.engine.renewal import Renewal
from harvester.engine.repeats import Repeat, Repeats
from harvester.engine.review import Review
from harvester.engine.settling import Settling
from harvester.engine.sites import Sites
from harvester.engine.stop import StopReason
from harvester.engine.tally import FAILURES_KEPT, Tally
from harvester.engine.unproven import Unproven
from harvester.engine.witness import Elsewhere, Witness, aside
from harvester.engine.writer import Batch, Writer
from harvester.errors import CacheError, HarvesterError
from harvester.events import Event, Started, TileFailed
from harvester.job import Limits
from harvester.pacing import Pacer, RetryHeap
from harvester.tiling.tile import BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges import Mask

GRACE_SECONDS = 10.0
"""How long a stop waits for answers that are under way."""

TICK_SECONDS = 0.25
"""How often the clock is looked at: batches close within a second of their age, budgets end within a quarter of one."""

FAILURES_READ = 100_000
"""Failed tiles that are looked at for those of this job: the ledger may hold those of others before them."""

STALL_FACTOR = 2.0
"""No answer at all for this many request timeouts, with requests in flight all that time: the connections are dropped
and made anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outturn:
    """How a run ended. ``stop`` is None when every planned tile reached an end."""

    tally: Tally
    stop: StopReason | None
    failures: tuple[LedgerFailure, ...]
    repeats: tuple[Repeat, ...] = ()
    tried: Mapping[Tile, str] = field(default_factory=dict)
    """Tiles that may have no end though an answer came, and why it was none; the last ones of many."""
    notices: tuple[str, ...] = ()
    """What a person should know of hosts that did not serve, and of tiles that a refusal put in doubt."""


def _leaves(errors: BaseExceptionGroup[HarvesterError]) -> Iterator[HarvesterError]:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


class Engine:
    """Fetches what is pending of a plan. Knows contracts only; made for one run."""

    def __init__(
        self,
        *,
        blocks: Callable[[], Iterable[tuple[BlockKey, Mask]]],
        source: Source,
        transport: Transport,
        cache: CacheWriter,
        ledger: Ledger,
        tally: Tally,
        settle: Callable[[int, Sequence[tuple[BlockKey, Mask]]], Awaitable[None]] | None = None,
        new_pacer: Callable[[int], Pacer],
        limits: Limits,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        probe: bool = True,
        planned: Callable[[Tile], bool] = lambda tile: True,
        placeholders: Iterable[str] = (),
        stored_body: Callable[[Tile], bytes | None] = lambda tile: None,
        elsewhere: Elsewhere = lambda share: None,
        emit: Callable[[Event], None] = lambda event: None,
        grace_seconds: float = GRACE_SECONDS,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._transport = transport
        self._ledger = ledger
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._emit = emit
        self._grace = grace_seconds
        self._planned = planned
        self._repeats = Repeats(placeholders)
        self._tally = tally
        self._stop: StopReason | None = None
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._renew = asyncio.Event()
        self._writer = Writer(cache, ledger, clock=clock, on_recorded=self._recorded, on_room=transport.wake)
        self._feed = Feed(
            blocks(),
            ledger,
            probe=probe,
            settle=settle,
            on_ready=transport.wake,
            rows_together=len(source.hosts),
        )
        witness = Witness(source, tally.one_kept, aside(elsewhere, tally.failed_before, tally.counts().planned))
        self._sites = sites = Sites(
            source=source, new_pacer=new_pacer, connections=limits.concurrency,
            max_duration_seconds=limits.max_duration_seconds, witness=witness, tally=tally, clock=clock, stop=self.stop,
        )  # fmt: skip
        self._flow = Flow(
            Parts(
                source=source, feed=self._feed, writer=self._writer, sites=sites, witness=witness, tally=tally,
                doubt=Doubt(self._writer, tally), repeats=self._repeats, waiting=RetryHeap(draw, sites.budget),
                limits=limits, clock=clock, draw=draw, wake=transport.wake, stop=self.stop, renew=self._renew.set,
                stored_body=stored_body,
            )
        )  # fmt: skip
        self._review = Review(
            Unproven(self._flow.doubt, ledger, tally, guarded=self._flow.access.guarded), flow=self._flow,
            source=source, sites=sites, writer=self._writer, tally=tally, in_flight=limits.concurrency,
            transport=transport, clock=clock, drain=self._look_back, stop=self.stop,
        )  # fmt: skip
        self._settling = Settling(
            source=source, flow=self._flow, review=self._review, sites=sites, tally=tally, clock=clock,
            drain=self._drain, reason=lambda: self._stop, stop=self.stop,
        )  # fmt: skip
        self._renewal = Renewal(
            source=source, sites=sites, tally=tally, limits=limits, clock=clock, sleep=sleep, emit=emit
        )
        self._progress = ProgressTeller(tally=tally, sites=sites, limits=limits, emit=emit)

    def __repr__(self) -> str:
        return f"Engine({self._flow!r}, {self._feed!r}, {self._writer!r}, {self._sites!r}, stop={self._stop})"

    def stop(self, reason: StopReason) -> None:
        """End in order: take no more work, let answers under way arrive, write, record. A second call ends at once."""
        if self._stop is None:
            self._stop = reason
            self._flow.asking.stopping = True
            self._stopping.set()
            self._transport.wake()
        elif reason.by_person:
            self._stop = reason
            self._at_once.set()

    async def run(self, source_name: str, output_name: str) -> Outturn:
        """Fetch until every planned tile has an end or a reason to stop comes; whatever happened is recorded on
        return."""
        tally = self._tally
        tally.started = tally.last_ended = self._clock()
        self._progress.begin(tally.started)
        self._emit(Started(source=source_name, output=output_name, counts=tally.counts()))
        if tally.counts().pending:
            await self._fetch()
            if self._stop is None:
                self._stop = self._flow.access.reason()
        self._progress.tell(self._clock())
        failures: list[LedgerFailure] = []
        try:
            failures = [one for one in await self._ledger.failures(FAILURES_READ) if self._planned(one.tile)]
        except CacheError as error:
            # What was counted is still worth a report.
            self.stop(StopReason.of(error))
        return Outturn(
            tally=tally, stop=self._stop, failures=tuple(failures[:FAILURES_KEPT]), repeats=self._repeats.told(),
            tried=self._flow.ends.tried,
            notices=(
                *self._review.unproven.notices(complete=not tally.counts().pending), *self._sites.notices(self._clock())
            ),
        )  # fmt: skip

    async def _fetch(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [group.create_task(self._tick()), group.create_task(self._renewals())]
                writing = group.create_task(self._write())
                await self._review.begin(self._planned)
                helpers.append(group.create_task(self._fill()))
                await self._drain(self._flow.asking.next_request, self._flow.done)
                while await self._settling.goes_on():
                    await self._drain(self._flow.asking.next_request, self._flow.done)
                if self._stop is not None:
                    await self._review.stopped()
                self._writer.finish()
                await writing
                await self._review.end()
                for helper in helpers:
                    helper.cancel()
        except* HarvesterError as errors:
            # What the caller handles, without the group that the tasks put around it.
            raise next(_leaves(errors)) from None

    async def _look_back(self, next_request: Next, done: Done) -> None:
        """What a stop finds unasked is the next run's."""
        await self._drain(lambda: None if self._stopping.is_set() else next_request(), done)

    async def _drain(self, next_request: Next, done: Done) -> None:
        drain = asyncio.create_task(self._transport.drain(next_request, done))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({drain, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not drain.done():
                at_once = asyncio.create_task(self._at_once.wait())
                await asyncio.wait({drain, at_once}, timeout=self._grace, return_when=asyncio.FIRST_COMPLETED)
                at_once.cancel()
        finally:
            stopping.cancel()
            if not drain.done():
                drain.cancel()
            await asyncio.wait({drain})
        if not drain.cancelled():
            drain.result()

    async def _fill(self) -> None:
        try:
            await self._feed.fill()
        except HarvesterError as error:
            self.stop(StopReason.of(error))

    async def _write(self) -> None:
        try:
            await self._writer.run()
        except CacheError as error:
            self._writer.has_room = False
            self.stop(StopReason.of(error))

    async def _renewals(self) -> None:
        while True:
            await self._renew.wait()
            refused = self._flow.access.refused
            if refused >= self._source.credential:
                await self._review.refused()
            try:
                await self._renewal.ask(accepted=self._flow.whole > 0)
            except HarvesterError as error:
                self.stop(StopReason.of(error))
                return
            self._renew.clear()
            self._flow.renewed()
            self._review.renewed()

    def _recorded(self, batch: Batch) -> None:
        for (key, state), indexes in batch.changes.items():
            self._tally.moved(key.level, state, len(indexes))
        for (key, state), indexes in batch.taken_back.items():
            self._tally.taken_back(key.level, state, len(indexes))
        self._tally.ended += batch.ended
        self._review.unproven.saw(batch)
        for key, reasons in batch.reasons.items():
            for index, reason in reasons.items():
                failure = LedgerFailure.of(key.tile(index), reason)
                self._emit(TileFailed(tile=failure.tile, reason=failure.reason, detail=failure.detail))

    async def _tick(self) -> None:
        """Close old batches, end what has run too long, renew what runs out, shake off a stalled pool."""
        limits, tally = self._limits, self._tally
        stall = limits.timeout_seconds * STALL_FACTOR
        while True:
            await self._sleep(TICK_SECONDS)
            now = self._clock()
            self._writer.close_old(now)
            self._progress.tick(now, self._writer.waiting)
            if limits.max_duration_seconds is not None and now - tally.started >= limits.max_duration_seconds:
                self.stop(StopReason.budget("--max-duration", f"{limits.max_duration_seconds:g} s"))
            quiet = now - tally.last_ended
            if quiet >= limits.give_up_after_seconds and not self._stopping.is_set() and not self._flow.give_up():
                self.stop(
                    StopReason.gave_up(
                        quiet,
                        ever=self._flow.any_ended,
                        breaker_open=self._sites.all_are_down(now),
                        last=self._flow.ends.trouble,
                    )
                )
            if not self._flow.asking.in_flight:
                self._flow.last_answer = now  # what isn't asked doesn't stall, however long the pause is
            elif now - self._flow.last_answer > stall:
                self._flow.last_answer = now
                self._transport.rebuild()
            await self._review.tick(now)
            renews_in = self._source.renews_in
            if renews_in is not None and renews_in <= 0 and not self._renew.is_set():
                self._flow.access.renew()
