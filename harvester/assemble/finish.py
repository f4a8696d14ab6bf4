"""How a run ends on disk: the cache described, sealed or swapped under its name, as far as the run came."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from harvester.assemble.collect import SUMS, Collection
from harvester.assemble.interrupted import SEALING, end_swap
from harvester.assemble.plan import PlannedLayer
from harvester.assemble.remember import policies_of, remember_tried
from harvester.caches.open import seal
from harvester.edges import BlockChange, State
from harvester.engine import TRIED_REMEMBERED, Outturn, StopReason
from harvester.engine.agreement import AGREE_BLOCKS
from harvester.output import file_stamp, require_still_own, swap
from harvester.report import Report


async def judge_all_404(
    collection: Collection, planned: PlannedLayer, outturn: Outturn, *, run: int, shard: bool
) -> Outturn:
    """A service that answers 404 to everything is no empty success; its tiles are asked again another time, and are
    pending until then, in ``outturn`` too. ``run``: its number in the ledger."""
    tally, counts = outturn.tally, outturn.tally.counts()
    answered = outturn.tally.answered_404 + int(await collection.ledger.get_meta("answered_404") or 0)
    if outturn.tally.answered_404:
        await collection.ledger.set_meta({"answered_404": answered})
    if shard or not counts.planned or counts.absent != counts.planned or answered < counts.planned:
        return outturn
    await collection.ledger.set_meta({"answered_404": 0, "absences": None})
    for key, mask in planned.plan.blocks():
        indexes = [int(index) for index in mask.ravel().nonzero()[0]]
        await collection.ledger.record([BlockChange(key, State.PENDING, indexes)], {})
    for level, states in tally.levels.items():
        tally.taken_back(level, State.ABSENT, states[State.ABSENT])
    some = islice(
        (key.tile(int(at)) for key, mask in planned.plan.blocks() for at in mask.ravel().nonzero()[0]), TRIED_REMEMBERED
    )
    await remember_tried(collection.ledger, run, dict.fromkeys(some, "http_404"))
    stop = StopReason(
        code="every_tile_404",
        message="every tile answered 404",
        hint="Check the service and the credentials: some servers hide what may not be seen. The tiles are asked again "
        "when you run the same command again.",
        exit_code=3,
    )
    return replace(outturn, stop=outturn.stop or stop)


async def finish(collection: Collection, report: Report, record: Callable[[Path], Awaitable[None]]) -> None:
    """Describe the cache and give it its name, as far as the run came. ``record`` writes the report of a cache, by
    where it lies, into the ledger; it is called when only a swap is left, which closes the ledger."""
    paths, ledger, disk = collection.paths, collection.ledger, collection.disk
    collection.subject = replace(collection.subject, policies=await policies_of(ledger))
    complete, only_failed = report.exit_code == 0, report.exit_code == 1 and report.stop is None
    dirty = bool(await ledger.get_meta("dirty"))
    if collection.sealed and not paths.overwrite:
        await _finish_sealed(collection, complete=complete, may_seal=complete or only_failed)
        return
    if collection.writer is not None and (dirty or paths.overwrite or collection.hash):
        await _describe(collection, finished=complete or only_failed)
        if complete or only_failed:
            # A cache without a tile came into being only now; its absent tiles are not in doubt for that.
            await ledger.record([], collection.writer.stamps([]))
            await ledger.set_meta({"dirty": False})
    if paths.overwrite and complete:
        if collection.writer is not None:
            await collection.writer.close()
        if collection.sealed:
            await collection.claim_part()
            await _seal(collection, paths.new)
            await ledger.record([], {None: file_stamp(paths.part)})
        await record(paths.part if collection.sealed else paths.new)
        await ledger.set_meta({"swapping": True, "dirty": False})
        await collection.close()
        swap(paths, disk)
        await end_swap(paths)


async def _describe(collection: Collection, *, finished: bool) -> None:
    """Write what the cache says of itself; what was counted for it is kept for the next run."""
    assert collection.writer is not None
    await collection.writer.finish(replace(collection.subject, finished=finished))
    await collection.ledger.set_meta({SUMS: collection.writer.remembered()})


async def _seal(collection: Collection, work: Path) -> None:
    part, disk = collection.paths.part, collection.disk
    collection.notices += await asyncio.to_thread(seal, collection.format, work, part, collection.subject, disk=disk)


async def _finish_sealed(collection: Collection, *, complete: bool, may_seal: bool) -> None:
    """A work folder that is there may hold more than the package, whatever the ledger says: it may be a new one."""
    paths, ledger, disk = collection.paths, collection.ledger, collection.disk
    if collection.writer is None:
        return
    if not may_seal:
        await _describe(collection, finished=False)
        return
    await _describe(collection, finished=True)
    await _agree_on_other_jobs(collection)
    await collection.writer.close()
    await collection.claim_part()
    await _seal(collection, paths.work)
    require_still_own(paths)
    disk.replace(paths.part, paths.out)
    disk.sync_folder(paths.out.absolute().parent)
    await ledger.set_meta({"dirty": False, SEALING: False})
    if complete:
        # Only a package that stands alone is what the next run compares the ledger with; else it is the work folder.
        await ledger.record([], {None: file_stamp(paths.out)})
        await collection.writer.close()
        disk.remove_tree(paths.work)


async def _agree_on_other_jobs(collection: Collection) -> None:
    """A job that was killed may have left tiles in the work folder that the ledger has not heard of. They go into the
    package, and its one stamp would say that the ledger knows them all."""
    ledger, writer = collection.ledger, collection.writer
    assert writer is not None
    known = await ledger.keys()
    for first in range(0, len(known), AGREE_BLOCKS):
        part = known[first : first + AGREE_BLOCKS]
        then, now = await ledger.stamps(part), writer.stamps(part)
        doubtful = [key for key in part if then.get(key, "") != now.get(key, "")]
        if doubtful:
            await ledger.reconcile(
                [(key, writer.present(key)) for key in doubtful], {key: now.get(key, "") for key in doubtful}
            )
