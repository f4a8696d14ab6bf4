"""What cannot be read of a cache: said before anything is made of it, and never left out in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from harvester.caches.counted import manifest_of
from harvester.durable import behind_links
from harvester.edges import CacheReader, Damage
from harvester.errors import CacheError
from harvester.ledger_reader import LedgerReader, read_ledger

HINT = "harvester verify lists what is damaged; a run of the same job mends it, or make the cache anew."

HINT_STAYS = "harvester verify lists what is damaged, which no run mends: move it away, or make the cache anew."


def lost_in(reader: CacheReader, path: str) -> Iterator[Damage]:
    """The tiles that ``reader`` leaves out because they are damaged. Raises CacheError where more than tiles is."""
    for damage in reader.lost():
        if damage.tile is None:
            raise CacheError(f"{path} is damaged: {damage.where}: {damage.what}", hint=HINT_STAYS, code="damaged")
        yield damage


class Gone(NamedTuple):
    """Tiles of a LOD (the cache's own number) that are not there, though its manifest counts them."""

    level: int
    tiles: int
    counted: int

    def __str__(self) -> str:
        return f"LOD {self.level}: {self.tiles:,} of the {self.counted:,} tiles that its manifest counts are gone"


def gone_from(reader: CacheReader, path: str, lost: Counter[int]) -> Iterator[Gone]:
    """What nothing in the tiles' own index shows, by LOD; ``lost``: tiles that are known to be damaged.

    The manifest is written when a run or a verb is finished; that of a cache whose run goes on still is of before it.
    """
    manifest = manifest_of(reader)
    if manifest is None or not manifest.lods or manifest.applying or _is_being_changed(Path(path)):
        return
    levels = set(reader.levels())
    for lod in manifest.lods:
        keys = reader.blocks(lod.level) if lod.level in levels else ()
        there = sum(int(reader.present(key).sum()) for key in keys) + lost[lod.level]
        if there < lod.tiles:
            yield Gone(lod.level, lod.tiles - there, lod.tiles)


def unfinished(path: str) -> str:
    """What the ledger beside a cache says is still to come or failed; empty where nothing is, or nobody knows."""
    with suppress(CacheError), _ledger_of(Path(path)) as ledger:
        counts = ledger.counts().values()
        pending = sum(each.pending for each in counts) + sum((ledger.meta("unlisted") or {}).values())
        failed = sum(each.failed for each in counts)
        if pending or failed:
            return f"{failed:,} failed, {pending:,} pending"
        if not ledger.is_listed:
            return "not all tiles of its plan are known yet"
        if ledger.unproven:
            return "what the service's tilemap denied was not held against any tile yet"
    return ""


def half_applied(reader: CacheReader, path: str) -> str:
    """What a person should hear of a cache that is not all old nor all new; empty where it is one of them."""
    said = manifest_of(reader)
    if said is None or not said.applying:
        return ""
    return f"{path} is half applied: `harvester apply {said.applying} {path}` completes it; copied as it is"


def require_finished(path: str) -> None:
    """Raises CacheError where tiles of a plan have not come: compared with another cache, they'd be deleted ones."""
    left = unfinished(path)
    if left:
        hint = "Run its job again; or compare a copy: harvester convert takes what is there, and leaves the ledger."
        raise CacheError(f"{path} is not complete: {left}", hint=hint, code="incomplete")


def _ledger_of(path: Path) -> LedgerReader:
    path = behind_links(path)
    return read_ledger(path.with_name(path.name + ".ledger"))


def _is_being_changed(path: Path) -> bool:
    with suppress(CacheError), _ledger_of(path) as ledger:
        return bool(ledger.meta("dirty"))
    return False


def require_whole(reader: CacheReader, path: str) -> None:
    """Raises CacheError where anything is left out: what is made of such a cache would take it for deleted."""
    for damage in lost_in(reader, path):
        message = f"{path} is damaged: {damage.where}: tile {damage.tile}: {damage.what}"
        raise CacheError(message, hint=HINT_STAYS if damage.stays else HINT, code="damaged")
    for gone in gone_from(reader, path, Counter()):
        hint = f"{HINT} If they were taken out on purpose: a cache that harvester convert makes of it counts anew."
        raise CacheError(f"{path} is damaged: {gone}", hint=hint, code="damaged")
