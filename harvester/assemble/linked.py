"""A cache that has a second name (a copy by hard links, ``cp -al``): a run that has nothing to add goes on with it."""

from __future__ import annotations

from contextlib import suppress

from harvester.caches.belongings import require_one_name
from harvester.caches.open import is_empty_or_missing, open_cache
from harvester.caches.placed import PlacedReader
from harvester.edges import ServiceInfo, State
from harvester.errors import CacheError
from harvester.ledger_reader import LedgerReader, read_ledger
from harvester.output import OutputPaths
from harvester.planning import Plan


def require_one_name_to_add(paths: OutputPaths, format: str, info: ServiceInfo, plan: Plan, *, hash: bool) -> None:
    """Raises CacheError where a file of the cache that would be changed in its place has a second name. Nothing was
    changed then: whether tiles are to come is seen by reading alone."""
    if paths.overwrite or is_empty_or_missing(paths.out):
        return
    try:
        require_one_name(paths.out, format)
    except CacheError:
        if hash or not _has_all(paths, info, plan):
            raise


def _has_all(paths: OutputPaths, info: ServiceInfo, plan: Plan) -> bool:
    """Is each planned tile there, or absent, and the cache described?"""
    with suppress(CacheError), open_cache(paths.out) as reader:
        if not paths.final_ledger.exists():
            return _lacks_none(PlacedReader(reader, info.scheme), plan, None)
        with read_ledger(paths.final_ledger) as ledger:
            return not ledger.meta("dirty") and _lacks_none(PlacedReader(reader, info.scheme), plan, ledger)
    return False


def _lacks_none(held: PlacedReader, plan: Plan, ledger: LedgerReader | None) -> bool:
    for key, mask in plan.blocks():
        lacking = mask & ~held.present(key)
        if ledger is not None and lacking.any():
            lacking &= ledger.states(key) != State.ABSENT
        if lacking.any():
            return False
    return True
