"""What an interrupted run left beside the output: a swap is finished, an overwrite gone on with, remains cleared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harvester.caches.belongings import require_own
from harvester.caches.open import FORMATS, is_empty_or_missing
from harvester.database import remove_journal
from harvester.durable import Disk, set_apart
from harvester.edges import ServiceInfo
from harvester.errors import CacheError
from harvester.ledger import SqliteLedger, open_ledger
from harvester.ledger_reader import is_ledger
from harvester.output import OutputPaths, exists, file_stamp, finish_swap, recover, require_free
from harvester.planning import Plan
from harvester.tiling.scheme_json import scheme_from_json

SEALING = "sealing"
"""The ledger's fact that ``OUT.part`` is the run's own."""


async def settle(
    paths: OutputPaths, format: str, info: ServiceInfo, plan: Plan, disk: Disk, notices: list[str]
) -> None:
    """Make the output what a run of this plan can begin with. Raises CacheError where something lies there that is not
    an earlier run's. ``notices`` gets what a person should know of it."""
    for ledger in (paths.final_ledger, paths.new_ledger):
        set_apart(ledger, paths.held, disk)
    # The swap first: of a package that only waits for its name, the lock's note says no more than that it is the run's.
    await _finish_swap(paths, disk)
    recover(paths, disk)
    if paths.sealed:
        await _require_own_beside(paths)
    if paths.overwrite:
        await _prepare_new(paths, format, info, plan, disk, notices)
    elif paths.sealed and is_empty_or_missing(paths.work):
        disk.remove_tree(paths.work)
    if paths.sealed:
        disk.remove_tree(paths.part)


async def _finish_swap(paths: OutputPaths, disk: Disk) -> None:
    new = await _meta_of(paths.new_ledger, "swapping")
    finished = bool(new.get("swapping"))
    swapped = bool((await _meta_of(paths.final_ledger, "swapping")).get("swapping"))
    finish_swap(paths, new_is_finished=finished, out_is_swapped=swapped, disk=disk)
    if finished or swapped:
        await end_swap(paths)


async def end_swap(paths: OutputPaths) -> None:
    """Say in the ledger that the swap is over: what lies at ``OUT.old`` from now on is not the run's."""
    if is_ledger(paths.final_ledger) and not is_ledger(paths.new_ledger):
        ledger = await open_ledger(paths.final_ledger, create=False)
        try:
            await ledger.set_meta({"swapping": False, SEALING: False})
        finally:
            await ledger.close()


async def _require_own_beside(paths: OutputPaths) -> None:
    """The work folder and the half-made package of a sealed format are an earlier run's, or not there. Raises
    CacheError."""
    if exists(paths.work):
        require_own(paths.work, "compactv2", is_work=True)
    if exists(paths.part):
        facts = [await _meta_of(path, SEALING) for path in (paths.final_ledger, paths.new_ledger)]
        if not any(each.get(SEALING) for each in facts):
            require_free(paths, paths.part)


async def _prepare_new(
    paths: OutputPaths, format: str, info: ServiceInfo, plan: Plan, disk: Disk, notices: list[str]
) -> None:
    """An interrupted replacement is gone on with if it is of the same source, scheme, plan and format; any other
    remains are cleared: tiles that this job does not plan have no place in its cache."""
    meta = await _meta_of(paths.new_ledger, "identity", "scheme", "plan", "format", "replaces")
    if meta.get("replaces") != paths.out.name:
        # A ledger that says nothing yet was cut off while it was made.
        require_free(paths, paths.new, *[paths.new_ledger] * (meta.get("identity") is not None))
    if FORMATS[format].folder:
        require_free(paths, paths.old)
    facts = tuple(meta.get(name) for name in ("identity", "plan", "format"))
    same = facts == (info.identity, plan.fingerprint, format) and (
        scheme_from_json(meta["scheme"]).mismatch(info.scheme) is None if meta.get("scheme") else False
    )
    if same and exists(paths.new):
        notices.append("going on with the interrupted overwrite")
        return
    remove_journal(paths.new, disk)
    disk.remove_tree(paths.new) if paths.new.is_dir() else disk.remove(paths.new)
    if is_ledger(paths.new_ledger):
        remove_journal(paths.new_ledger, disk)
        disk.remove(paths.new_ledger)


async def stands_alone(ledger: SqliteLedger, package: Path) -> bool:
    """Does the ledger speak of this package, with nothing added since? Then a work folder beside it is a part of one: a
    kill came while it was removed, or unpacked."""
    if not package.is_file() or await ledger.get_meta("dirty"):
        return False
    return (await ledger.stamps([])).get(None) == file_stamp(package)


async def _meta_of(path: Path, *names: str) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        ledger = await open_ledger(path, create=False)
    except CacheError:
        return {}
    try:
        return {name: await ledger.get_meta(name) for name in names}
    finally:
        await ledger.close()
