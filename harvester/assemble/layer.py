"""One layer into one cache: lock, collection, engine, report, and the cache's name at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from harvester.assemble.collect import Collection, is_sealed, open_collection
from harvester.assemble.doubted import TilemapDoubt
from harvester.assemble.finish import finish, judge_all_404
from harvester.assemble.made import Made
from harvester.assemble.paces import pacers_of
from harvester.assemble.placeholders import take_out_placeholders
from harvester.assemble.plan import PlannedLayer, require_size
from harvester.assemble.remember import absences, remember_job, remember_tried, remember_unlisted
from harvester.assemble.saved import with_saved
from harvester.assemble.sources import Layer, Opened, transport_for
from harvester.assemble.standing import Standing
from harvester.assemble.tile_index import index_of
from harvester.assemble.unpacking import UnpackingStopped
from harvester.caches.open import require_can_hold
from harvester.durable import Disk, behind_links, is_network_share, lock
from harvester.edges import State
from harvester.engine import Agreement, Engine, Outturn, StopReason, StopSwitch
from harvester.errors import CacheError
from harvester.events import Event, Notice
from harvester.job import Job, Limits
from harvester.ledger_reader import LISTED, LISTING
from harvester.output import OutputPaths, require_names, require_outside, require_own_names
from harvester.report import Report, Took
from harvester.version import __version__
from harvester.wording import counted

GENERATOR = f"harvester {__version__}"


@dataclass(slots=True, kw_only=True)
class LayerRun:
    """What one layer's harvest needs; ``run`` does it. ``command`` is shown where a person has to type it again."""

    job: Job
    opened: Opened
    planned: PlannedLayer
    out: Path
    format: str
    emit: Callable[[Event], None]
    switch: StopSwitch
    disk: Disk
    command: str
    began: float = field(default_factory=time.monotonic)
    told: int = 0
    fetching: tuple[float, float] | None = None
    """When the engine began and ended, by the clock of ``began``."""
    standing: Standing = field(init=False)

    def __post_init__(self) -> None:
        self.standing = Standing(self.emit)

    @property
    def layer(self) -> Layer:
        """The opened layer that is planned."""
        return self.opened.layers[self.planned.index]

    async def run(self) -> Report:
        """Harvest under the lock. Raises HarvesterError for whatever ends it before its first tile request; then no
        file stays that was not there."""
        job, planned, out, disk = self.job, self.planned, self.out, self.disk
        notices = list(planned.notices)
        notices += require_can_hold(self.format, planned.info, [lod.level for lod in planned.plan.lods])
        require_size(job, planned.plan, self.command)
        if self.format != "mbtiles" and (job.dedup or job.hash):
            notices.append("--dedup and --hash are for MBTiles: they change nothing here")
        if is_network_share(out):
            notices.append(
                f"{out} is on a network share: a local disk is safer and faster; copy the finished cache there"
            )
        paths = OutputPaths(out=behind_links(out), sealed=is_sealed(self.format), overwrite=job.mode == "overwrite")
        require_outside(paths.out)
        require_names(paths)
        folders, made = Made(disk), Made(disk)
        async with AsyncExitStack() as stack:
            # In this order they end: cache and ledger closed, what was made in vain removed, the lock, its folder.
            stack.enter_context(folders)
            folders.folders(paths.out.absolute().parent)
            paths = replace(paths, held=stack.enter_context(lock(paths.lock)))
            require_own_names(paths, self.format, rebuilding=True)
            stack.enter_context(made)
            for text in notices:
                self.emit(Notice(text=text))
            self.told = len(notices)
            collection = await stack.enter_async_context(
                open_collection(
                    planned.info, planned.plan, self.format, paths, disk=disk, made=made, dedup=job.dedup,
                    hash=job.hash, generator=GENERATOR,
                )
            )  # fmt: skip
            collection.notices = notices + collection.notices
            collection.stopped = lambda: self.switch.reason is not None
            collection.tell = lambda text: self._tell(collection, text)
            try:
                return await self._harvest(collection)
            finally:
                folders.kept = made.kept

    async def _harvest(self, collection: Collection) -> Report:
        planned, ledger, switch = self.planned, collection.ledger, self.switch
        agreement = await self._agreement(collection)
        fingerprint = planned.plan.fingerprint
        if await ledger.get_meta(LISTED) != fingerprint:
            await ledger.set_meta({LISTING: fingerprint})
        tally = await agreement.begin(planned.plan.blocks())
        await ledger.set_meta({LISTING: None, LISTED: fingerprint})
        named = agreement.named_absent
        absent_before = {n: states[State.ABSENT] - named.get(n, 0) for n, states in tally.levels.items()}
        await self._take_out_placeholders(collection, agreement)
        run = await ledger.add_run(str(collection.paths.out))
        named_job = await remember_job(ledger, run, self.job, planned.plan, self.layer.source)
        outturn = Outturn(tally=tally, stop=switch.reason, failures=())
        wanted = tally.counts().pending > 0 and switch.reason is None
        doubt = self._doubt(collection, run, named_job)
        await doubt.recall()
        if wanted:
            await doubt.begin()
            outturn = await self._fetch(collection, agreement, self.job.limits, probe=doubt.is_asked)
        if outturn.stop is None and (wanted or doubt.was_unproven):
            settled, outturn = await doubt.settle(agreement, outturn, absent_before)
            if settled is not agreement:
                agreement, tally, wanted, absent_before = settled, settled.tally, True, {}
        self._tell_index(collection, agreement)
        if wanted or named or tally.absences:
            try:
                known = await ledger.get_meta("absences")
                await ledger.set_meta({"absences": absences(tally, absent_before, known)})
                await remember_tried(ledger, run, outturn.tried)
            except CacheError as error:  # the ledger is lost, the report is not
                outturn = replace(outturn, stop=outturn.stop or StopReason.of(error))
        if outturn.stop is None or outturn.stop.exit_code != CacheError.exit_code:
            await remember_unlisted(ledger, fingerprint, agreement.unlisted)
            outturn = await judge_all_404(collection, planned, outturn, run=run, shard=self.job.shard is not None)
        await self._gather(collection, outturn)
        report = self._report(collection, outturn)
        if tally.tile_requests == 0 and not tally.ended and not report.complete:
            return report
        collection.made.kept = True

        async def record(cache: Path | None = None) -> None:
            nonlocal report
            report = report.with_took(self._took())
            report = report if cache is None else await with_saved(report, cache)
            await ledger.finish_run(run, report.to_dict())

        try:
            await record()
            await finish(collection, report, record)
        except CacheError as error:
            report = report if report.exit_code == CacheError.exit_code else report.with_error(error)
        if not collection.paths.overwrite and (not collection.sealed or report.stop is None):
            report = await with_saved(report, collection.paths.out)
        ended = (*getattr(collection.writer, "notices", ()), *collection.notices)
        late = [text for text in dict.fromkeys(ended) if text not in report.notices]
        if late:  # what the writer, or the sealing, says of the whole cache at its end
            for text in late:
                self.emit(Notice(text=text))
            report = replace(report, notices=(*report.notices, *late))
        if not collection.closed:
            with suppress(CacheError):  # a ledger that takes no more; the report says so
                await record()
        return report

    async def _agreement(self, collection: Collection) -> Agreement:
        return Agreement(
            collection.ledger,
            await collection.holding(),
            totals={lod.level: lod.planned for lod in self.planned.plan.lods},
            budget=self.job.limits.max_tiles,
            known=index_of(self.layer.source, self.opened.session),
        )

    def _doubt(self, collection: Collection, run: int, named_job: str) -> TilemapDoubt:
        """Of the tilemap; once it is not believed, it isn't asked."""
        return TilemapDoubt(
            job=self.job,
            run=run,
            named=named_job,
            layer=self.layer,
            plan=self.planned.plan,
            ledger=collection.ledger,
            stopped=lambda: self.switch.reason,
            tell=lambda text: self._notice(collection, text),
            agree=lambda: self._agreement(collection),
            fetch=lambda agreement, limits: self._fetch(collection, agreement, limits, probe=False),
            asks=lambda tally, what: self.standing.asks(tally, time.monotonic(), what),
        )

    async def _fetch(self, collection: Collection, agreement: Agreement, limits: Limits, *, probe: bool) -> Outturn:
        """Run the engine; with ``probe`` it asks the tilemap."""
        tally = agreement.tally
        job, layer, plan, ledger = self.job, self.layer, self.planned.plan, collection.ledger
        try:
            writer = await collection.open_for_writing()
        except UnpackingStopped:
            return Outturn(tally=tally, stop=self.switch.reason, failures=())
        agreement.goes_on_with(await collection.holding())
        self._tell(collection)
        await collection.begin_changes()
        transport = transport_for(job, layer)
        engine = Engine(
            blocks=plan.blocks,
            source=layer.source,
            transport=transport,
            cache=writer,
            ledger=ledger,
            tally=tally,
            settle=agreement.later,
            new_pacer=pacers_of(limits, time.monotonic()),
            limits=limits,
            clock=time.monotonic,
            probe=probe,
            planned=plan.contains,
            placeholders=job.placeholders,
            stored_body=collection.stored_body,
            elsewhere=lambda share: plan.tile_at(int(share * plan.total)) if plan.total else None,
            emit=self.standing,
        )
        self.switch.attach(engine.stop)
        began = time.monotonic()
        try:
            return await engine.run(layer.source.info.source, str(collection.paths.out))
        finally:
            self.fetching = (self.fetching or (began, 0.0))[0], time.monotonic()
            collection.made.kept = tally.tile_requests > 0
            self.switch.detach()
            await transport.close()

    async def _take_out_placeholders(self, collection: Collection, agreement: Agreement) -> None:
        planned = self.planned.plan.contains
        try:
            count = await take_out_placeholders(collection, agreement, self.job.placeholders, planned)
        except UnpackingStopped:
            return
        if count:
            text = f"{counted(count, 'stored tile')} had a body that --placeholder names: taken out, and absent"
            self._notice(collection, text)

    def _notice(self, collection: Collection, text: str) -> None:
        """Tell it now, and in the report."""
        collection.notices.append(text)
        self._tell(collection)

    def _tell(self, collection: Collection, text: str = "") -> None:
        """Tell what the collection noticed since the last time, and ``text``, which no report will hold."""
        for notice in collection.notices[self.told :]:
            self.emit(Notice(text=notice))
        self.told = len(collection.notices)
        if text:
            self.emit(Notice(text=text))

    def _tell_index(self, collection: Collection, agreement: Agreement) -> None:
        """Tiles that nobody asked for, since the source's own index does not name them."""
        count = sum(agreement.named_absent.values())
        if count:
            text = f"the service's tile index says that {count:,} tiles are not there; --tilemap off asks for them too"
            collection.notices.append(text)
            self.emit(Notice(text=text))

    async def _gather(self, collection: Collection, outturn: Outturn) -> None:
        """What a vector tile package holds beside its tiles, when these have come, in this run or in one before it."""
        unfinished = outturn.stop is not None or outturn.tally.counts().pending
        if collection.format != "vtpk" or collection.writer is None or unfinished:
            return
        from harvester.assemble.resources import gather_resources
        from harvester.sources.vector import VectorSource

        source, switch = self.layer.source, self.switch
        if isinstance(source, VectorSource):
            told = await gather_resources(
                source, self.opened.session, collection.paths, disk=self.disk, limits=self.job.limits,
                stopped=lambda: switch.reason is not None, tell=lambda text: self.emit(Notice(text=text)),
            )  # fmt: skip
            collection.notices += told
            for text in told:
                self.emit(Notice(text=text))

    def _took(self) -> Took:
        now = time.monotonic()
        first, last = self.fetching or (now, now)
        return Took(preparing=first - self.began, fetching=last - first, finishing=now - last)

    def _report(self, collection: Collection, outturn: Outturn) -> Report:
        counts = outturn.tally.counts()
        self.standing.ends(outturn.tally, time.monotonic())
        if counts.absent == counts.planned > 0 and outturn.stop is None:
            nothing = f"the source says that none of the {counts.planned:,} tiles exists"
            if outturn.tally.tile_requests < counts.planned and self.layer.source.info.tilemap:
                nothing += "; --tilemap off asks for the tiles themselves"
            collection.notices.append(nothing)
            self.emit(Notice(text=nothing))
        odd = (
            f"tiles come as {stated} ({tiles:,} of the first): their bytes are pictures, so they are stored"
            for stated, tiles in outturn.tally.odd_types.items()
        )
        for text in (*odd, *outturn.notices):
            collection.notices.append(text)
            self.emit(Notice(text=text))
        return Report.of(
            outturn,
            source=self.planned.info.source,
            output=str(collection.paths.out),
            format=collection.format,
            name=self.layer.name,
            lods=self.planned.plan.lods,
            took=self._took(),
            notices=tuple(dict.fromkeys(collection.notices)),
            documents=self.opened.take_requests(),
        )
