"""A run from job to report: sources opened, plans made, each layer harvested into its cache."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from harvester.assemble.layer import LayerRun
from harvester.assemble.listener import Listener
from harvester.assemble.place import (
    format_of,
    format_of_layer,
    plain,
    require_folder,
    require_output,
    require_place,
    target_of_layer,
)
from harvester.assemble.plan import PlannedLayer, plan_layers, require_size
from harvester.assemble.sources import Layer, Opened, open_job_source
from harvester.caches.open import require_can_hold
from harvester.durable import Disk, kept_open, unique_names
from harvester.engine import StopSwitch
from harvester.errors import HarvesterError, UsageError
from harvester.events import Event, Finished, Notice
from harvester.job import Job
from harvester.output import require_elsewhere, require_unread
from harvester.report import LeftOut, Report, WebMapReport


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
    began = time.monotonic()
    switch = switch or StopSwitch()
    emit = listener = Listener(emit, switch)
    disk = disk or Disk()
    output = require_output(job)
    if job.report is None:
        return await _harvest(job, output, emit, listener, switch, disk, command, began)
    require_elsewhere(job.report, "--report", output)
    require_unread(job.report, "--report", job.files)
    place = job.report.absolute()
    disk.try_whole(place)  # now, not after the harvest
    with ExitStack() as stack:
        try:
            stack.enter_context(kept_open(place))
        except OSError as cause:
            hint = "Start its reader first, or name a file; nothing was changed."
            raise UsageError(f"--report {job.report}: {cause.strerror}", hint=hint) from cause
        return await _harvest(job, output, emit, listener, switch, disk, command, began)


async def _harvest(
    job: Job,
    output: Path,
    emit: Callable[[Event], None],
    listener: Listener,
    switch: StopSwitch,
    disk: Disk,
    command: str,
    began: float,
) -> Report | WebMapReport:
    opened = await open_job_source(job)
    try:
        planned, left_out = await asyncio.to_thread(
            plan_layers, job, [one.source.info for one in opened.layers], [one.name for one in opened.layers]
        )
        report: Report | WebMapReport
        if opened.is_web_map:
            folder = require_folder(job, output)
            found = await _harvest_layers(job, opened, planned, folder, emit, switch, disk, command, began)
            unmatched = (LeftOut(opened.layers[index].name, reason) for index, reason in left_out)
            report = replace(
                found,
                skipped=(*(LeftOut(*pair) for pair in opened.skipped), *unmatched),
                lost=tuple(LeftOut(name, error.message, error.hint) for name, error in opened.lost),
            )
            if job.report is not None:
                disk.write_named(job.report.absolute(), report.to_json().encode())
        else:
            if job.report is not None:
                require_elsewhere(job.report, "--report", output, inside=True)
            one = LayerRun(
                job=job, opened=opened, planned=planned[0], out=output, format=format_of(job, output), emit=emit,
                switch=switch, disk=disk, command=command, began=began,
            )  # fmt: skip
            report = await one.run()
            if job.report is not None:
                disk.write_named(job.report.absolute(), report.to_json().encode())
    finally:
        await opened.close()
    emit(Finished(report=report))
    listener.close()
    return report


async def _harvest_layers(
    job: Job,
    opened: Opened,
    planned: Sequence[PlannedLayer],
    folder: Path,
    emit: Callable[[Event], None],
    switch: StopSwitch,
    disk: Disk,
    command: str,
    began: float,
) -> WebMapReport:
    """One cache for each layer in the folder; everything is checked before the first tile of the first."""
    layers = [opened.layers[one.index] for one in planned]
    names = unique_names([plain(layer.name) for layer in layers])
    targets: list[tuple[Layer, PlannedLayer, Path, str]] = []
    for layer, one, name in zip(layers, planned, names, strict=True):
        format = format_of_layer(job, one.info)
        target = target_of_layer(folder, name, format)
        require_place(target)
        if job.report is not None:
            require_elsewhere(job.report, "--report", target, inside=True)
        require_can_hold(format, one.info, [lod.level for lod in one.plan.lods])
        require_size(job, one.plan, command)
        targets.append((layer, one, target, format))
    reports: list[Report] = []
    for layer, one, target, format in targets:
        if switch.reason is not None:
            break
        emit(Notice(text=f"layer {layer.name} -> {target}"))
        try:
            report = await LayerRun(
                job=job, opened=opened, planned=one, out=target, format=format, emit=emit, switch=switch, disk=disk,
                command=command, began=began,
            ).run()  # fmt: skip
        except HarvesterError as error:
            report = Report(source=one.info.source, output=str(target), format=format, name=layer.name).with_error(
                error
            )
        reports.append(report)
        began = time.monotonic()
    rest = tuple(LeftOut(layer.name, "not begun") for layer, *_ in targets[len(reports) :])
    return WebMapReport(
        source=opened.source, layers=tuple(reports), not_begun=rest, stop=switch.reason if rest else None
    )
