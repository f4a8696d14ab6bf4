"""A run from job to report: sources opened, plans made, each layer harvested into its cache, the cache given its
name."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harvester.assemble.collect import Collection, file_stamp, is_sealed, open_collection
from harvester.assemble.plan import PlannedLayer, plan_layers, require_size
from harvester.assemble.remember import Absences, remember_job
from harvester.assemble.sources import Layer, Opened, open_job_source, transport_for
from harvester.caches.open import FORMATS, format_for, require_can_hold, seal
from harvester.durable import Disk, is_network_share, lock, unique_names
from harvester.edges import BlockChange, State
from harvester.engine import Engine, Outturn, StopReason, StopSwitch, Tally, agree
from harvester.errors import CacheError, HarvesterError, UsageError
from harvester.events import Event, Finished, Notice
from harvester.job import Job, Limits
from harvester.output import OutputPaths, exists, swap
from harvester.pacing import Pacer, RateLimit
from harvester.report import Report, WebMapReport
from harvester.version import __version__

GENERATOR = f"harvester {__version__}"


async def harvest_job(
    job: Job,
    *,
    emit: Callable[[Event], None] = lambda event: None,
    switch: StopSwitch | None = None,
    disk: Disk | None = None,
    command: str = "harvester run",
) -> Report | WebMapReport:
    """Harvest a job. Raises HarvesterError for whatever ends it before its first tile request; later, the report says
    it."""
    switch = switch or StopSwitch()
    disk = disk or Disk()
    if job.output is None or not job.output.absolute().name:
        raise UsageError("no output is named", hint='Add -o streets.mbtiles, or output = "..." in the job file.')
    if job.report is not None and not job.report.absolute().parent.is_dir():
        raise UsageError(f"--report {job.report}: its folder does not exist", hint="Make the folder first.")
    opened = await open_job_source(job)
    try:
        planned, left_out = await asyncio.to_thread(plan_layers, job, [layer.source.info for layer in opened.layers])
        report: Report | WebMapReport
        if opened.is_web_map:
            report = await _harvest_layers(job, opened, planned, emit, switch, disk, command)
            skipped = (*opened.skipped, *((opened.layers[index].name, reason) for index, reason in left_out))
            report = WebMapReport(source=report.source, layers=report.layers, skipped=skipped)
            if job.report is not None:
                disk.write_whole(job.report.absolute(), report.to_json().encode())
        else:
            format = format_for(job.output, job.format)
            report = await _harvest_layer(
                job, opened, opened.layers[0], planned[0], job.output, format, emit, switch, disk, command
            )
    finally:
        await opened.close()
    emit(Finished(report=report))
    return report


async def _harvest_layers(
    job: Job,
    opened: Opened,
    planned: Sequence[PlannedLayer],
    emit: Callable[[Event], None],
    switch: StopSwitch,
    disk: Disk,
    command: str,
) -> WebMapReport:
    """One cache for each layer in the folder ``output``; everything is checked before the first tile of the first."""
    assert job.output is not None
    if job.output.exists() and not job.output.is_dir():
        raise UsageError(f"{job.output} is a file", hint="A web map gives one cache for each layer: name a folder.")
    layers = [opened.layers[one.index] for one in planned]
    names = unique_names([layer.name for layer in layers])
    targets: list[tuple[Layer, PlannedLayer, Path, str]] = []
    for layer, one, name in zip(layers, planned, names, strict=True):
        format = job.format or "tpkx"
        if format not in FORMATS:
            format_for(job.output, format)
        target = job.output / (name + (FORMATS[format].suffix or ""))
        require_can_hold(format, one.info, [lod.level for lod in one.plan.lods])
        require_size(job, one.plan, command)
        targets.append((layer, one, target, format))
    reports: list[Report] = []
    for layer, one, target, format in targets:
        emit(Notice(text=f"layer {layer.name} -> {target}"))
        try:
            report = await _harvest_layer(job, opened, layer, one, target, format, emit, switch, disk, command)
        except HarvesterError as error:
            report = Report(source=one.info.source, output=str(target), format=format, name=layer.name).with_error(
                error
            )
        reports.append(report)
        if switch.reason is not None:
            break
    return WebMapReport(source=opened.source, layers=tuple(reports))


async def _harvest_layer(
    job: Job,
    opened: Opened,
    layer: Layer,
    planned: PlannedLayer,
    out: Path,
    format: str,
    emit: Callable[[Event], None],
    switch: StopSwitch,
    disk: Disk,
    command: str,
) -> Report:
    began = time.monotonic()
    info, plan = planned.info, planned.plan
    notices = list(planned.notices)
    notices += require_can_hold(format, info, [lod.level for lod in plan.lods])
    require_size(job, plan, command)
    if is_network_share(out):
        notices.append(f"{out} is on a network share: a local disk is safer and faster; copy the finished cache there")
    paths = OutputPaths(out=out, sealed=is_sealed(format), overwrite=job.mode == "overwrite")
    made = _make_folder(out, disk)
    try:
        with lock(paths.lock):
            for text in notices:
                emit(Notice(text=text))
            told = len(notices)
            collection = await open_collection(
                info, plan, format, paths, disk=disk, dedup=job.dedup, hash=job.hash, generator=GENERATOR
            )
            collection.notices = notices + collection.notices
            try:
                report = await _fetch_and_finish(job, layer, collection, planned, emit, switch, began, told, opened)
            except BaseException:
                await collection.close()
                if not collection.asked:
                    collection.remove_created()
                raise
            finally:
                await collection.close()
    finally:
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    if job.report is not None and not opened.is_web_map:
        disk.write_whole(job.report.absolute(), report.to_json().encode())
    return report


def pacer_of(limits: Limits, now: float) -> Pacer:
    """The pace of one source: at most ``rate`` requests a second over all its hosts, concurrency found as it goes."""
    rate = None if limits.rate is None else RateLimit(limits.rate, now)
    return Pacer(limit_max=limits.concurrency, now=now, draw=random.random, rate=rate)


def _make_folder(out: Path, disk: Disk) -> list[Path]:
    """Make the folder that the output lies in; gives the ones made, deepest first."""
    folder = out.absolute().parent
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    if missing:
        disk.make_dirs(missing[0])
    return missing


async def _fetch_and_finish(
    job: Job,
    layer: Layer,
    collection: Collection,
    planned: PlannedLayer,
    emit: Callable[[Event], None],
    switch: StopSwitch,
    began: float,
    told: int,
    opened: Opened,
) -> Report:
    plan, ledger, paths = planned.plan, collection.ledger, collection.paths
    tally = await agree(plan.blocks(), ledger, collection.package or await collection.open_for_writing())
    todo = tally.counts().pending
    run = await ledger.add_run(str(paths.out))
    await remember_job(ledger, run, job, plan, layer.source)
    outturn = Outturn(tally=tally, stop=switch.reason, failures=())
    if todo and switch.reason is None:
        writer = await collection.open_for_writing()
        for text in collection.notices[told:]:
            emit(Notice(text=text))
        await ledger.set_meta({"dirty": True, "swapping": False})
        transport = transport_for(job, layer)
        source = Absences(layer.source, tally)
        engine = Engine(
            blocks=plan.blocks,
            source=source,
            transport=transport,
            cache=writer,
            ledger=ledger,
            tally=tally,
            pacer=pacer_of(job.limits, time.monotonic()),
            limits=job.limits,
            clock=time.monotonic,
            probe=job.tilemap and layer.source.info.tilemap,
            planned=plan.contains,
            placeholders=job.placeholders,
            emit=emit,
        )
        switch.attach(engine.stop)
        collection.asked = True
        try:
            outturn = await engine.run(layer.source.info.source, str(paths.out))
        finally:
            switch.detach()
            await transport.close()
        await ledger.set_meta({"absences": source.counted(tally, await ledger.get_meta("absences"))})
    outturn = await _judge_all_404(job, collection, planned, outturn)
    report = _report(layer, collection, planned, outturn, began, opened.requests)
    if tally.tile_requests == 0 and report.exit_code not in (0, 1):
        await collection.close()
        collection.remove_created()
        return report
    await ledger.finish_run(run, report.to_dict())
    try:
        await _finish(collection, report)
    except CacheError as error:
        report = report.with_error(error)
    late = [text for text in getattr(collection.writer, "notices", ()) if text not in report.notices]
    if late:  # what the writer says of the whole cache, at its end
        for text in late:
            emit(Notice(text=text))
        report = replace(report, notices=(*report.notices, *late))
    if not collection.closed and (late or report.stop is not None):
        await ledger.finish_run(run, report.to_dict())
    return report


def _report(
    layer: Layer, collection: Collection, planned: PlannedLayer, outturn: Outturn, began: float, documents: int
) -> Report:
    return Report.of(
        outturn,
        source=planned.info.source,
        output=str(collection.paths.out),
        format=collection.format,
        name=layer.name,
        lods=planned.plan.lods,
        seconds=time.monotonic() - began,
        notices=tuple(dict.fromkeys(collection.notices)),
        documents=documents,
    )


async def _judge_all_404(job: Job, collection: Collection, planned: PlannedLayer, outturn: Outturn) -> Outturn:
    """A service that answers 404 to everything is no empty success; its tiles are asked again another time."""
    counts = outturn.tally.counts()
    answered = outturn.tally.answered_404 + int(await collection.ledger.get_meta("answered_404") or 0)
    if outturn.tally.answered_404:
        await collection.ledger.set_meta({"answered_404": answered})
    if job.shard is not None or not counts.planned or counts.absent != counts.planned or answered < counts.planned:
        return outturn
    await collection.ledger.set_meta({"answered_404": 0, "absences": None})
    for key, mask in planned.plan.blocks():
        indexes = [int(index) for index in mask.ravel().nonzero()[0]]
        await collection.ledger.record([BlockChange(key, State.PENDING, indexes)], {})
    stop = StopReason(
        code="every_tile_404",
        message="every tile answered 404",
        hint="Check the service and the credentials: some servers hide what may not be seen. The tiles are asked again "
        "when you run the same command again.",
        exit_code=3,
    )
    return Outturn(tally=outturn.tally, stop=outturn.stop or stop, failures=outturn.failures)


async def _finish(collection: Collection, report: Report) -> None:
    """Describe the cache and give it its name, as far as the run came."""
    paths, ledger, disk = collection.paths, collection.ledger, collection.disk
    complete, only_failed = report.exit_code == 0, report.exit_code == 1 and report.stop is None
    dirty = bool(await ledger.get_meta("dirty"))
    if collection.sealed and not paths.overwrite:
        await _finish_sealed(collection, complete=complete, may_seal=complete or only_failed, dirty=dirty)
        return
    if collection.writer is not None and (dirty or paths.overwrite):
        await collection.writer.finish(collection.subject)
        if complete or only_failed:
            await ledger.set_meta({"dirty": False})
    if paths.overwrite and complete:
        if collection.writer is not None:
            await collection.writer.close()
        if collection.sealed:
            await asyncio.to_thread(seal, collection.format, paths.new, paths.part, collection.subject, disk=disk)
            await ledger.record([], {None: file_stamp(paths.part)})
        await ledger.set_meta({"swapping": True, "dirty": False})
        await collection.close()
        swap(paths, disk)


async def _finish_sealed(collection: Collection, *, complete: bool, may_seal: bool, dirty: bool) -> None:
    paths, ledger, disk = collection.paths, collection.ledger, collection.disk
    if collection.writer is None:
        return
    if not may_seal:
        await collection.writer.finish(collection.subject)
        return
    if dirty or not exists(paths.out):
        await collection.writer.finish(collection.subject)
        await collection.writer.close()
        await asyncio.to_thread(seal, collection.format, paths.work, paths.part, collection.subject, disk=disk)
        disk.replace(paths.part, paths.out)
        disk.sync_folder(paths.out.absolute().parent)
        await ledger.set_meta({"dirty": False})
    if complete:
        # Only a package that stands alone is what the next run compares the ledger with; else it is the work folder.
        await ledger.record([], {None: file_stamp(paths.out)})
        await collection.writer.close()
        disk.remove_tree(paths.work)


__all__ = ["Tally", "harvest_job"]
