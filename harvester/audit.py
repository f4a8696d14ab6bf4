"""Is every planned tile there and sound: ledger and cache, held against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harvester.audited import Audited
from harvester.caches.counted import manifest_of, sum_of_block
from harvester.edges import CacheReader, Damage, Outcome, State
from harvester.errors import CacheError
from harvester.manifest import TileSum
from harvester.payload import decode_check, judge
from harvester.tiling.tile import BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges import Mask

DAMAGES_KEPT = 1000
"""Damages that a verification lists one by one; all are counted."""


@dataclass(slots=True)
class Finding:
    """What a verification found. ``planned = present + absent + missing``."""

    output: str
    planned: int = 0
    present: int = 0
    absent: int = 0
    missing: int = 0
    damaged_tiles: int = 0
    other_damages: int = 0
    """Of indexes, headers, documents: what is no single tile's."""
    damages: list[Damage] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    applying: str = ""
    """The delta that an ``apply`` was interrupted over: some of its tiles may be in, others not."""
    unmade: str = ""
    """Where no planned tile is missing and yet the package is not made of them: what there is instead."""
    unlisted: str = ""
    """Where the ledger lacks a part of the plan, perhaps all of it: what came of the run that was to list it."""
    unproven: str = ""
    """Where tiles count as absent by a tilemap that was not held against any of them: what is known of these."""

    @property
    def damaged(self) -> int:
        """Damaged tiles; where none is, what else is damaged."""
        return self.damaged_tiles or self.other_damages

    @property
    def complete(self) -> bool:
        """True when no planned tile is missing, the whole plan known, what a tilemap denied held against tiles, no
        delta half applied, and the package made."""
        return self.missing == 0 and not (self.applying or self.unmade or self.unlisted or self.unproven)

    @property
    def sound(self) -> bool:
        """True when nothing is damaged."""
        return self.damaged == 0

    @property
    def exit_code(self) -> int:
        """0 whole, 1 incomplete, 4 damaged."""
        return 4 if not self.sound else 0 if self.complete else 1

    def add(self, damage: Damage) -> None:
        """Count a damage, and keep it as long as the list is short."""
        if damage.tile is None:
            self.other_damages += 1
        else:
            self.damaged_tiles += 1
        if len(self.damages) < DAMAGES_KEPT:
            self.damages.append(damage)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``verify --json``."""
        return {
            "output": self.output,
            "complete": self.complete,
            "sound": self.sound,
            "planned": self.planned,
            "present": self.present,
            "absent": self.absent,
            "missing": self.missing,
            "damaged": self.damaged,
            "damages": [{"where": damage.where, "what": damage.what} for damage in self.damages],
            **({"applying": self.applying} if self.applying else {}),
            **({"unmade": self.unmade} if self.unmade else {}),
            **({"unlisted": self.unlisted} if self.unlisted else {}),
            **({"unproven": self.unproven} if self.unproven else {}),
        }


def verify(out: Path, *, deep: bool = False, on_block: Callable[[Finding], None] = lambda finding: None) -> Finding:
    """Hold the cache against its ledger, check its structure and the bytes of every tile; ``deep`` decodes each
    picture and counts anew what the manifest says of each LOD.

    Without a ledger, planned = present. Raises CacheError when there is nothing to verify or it can't be opened.
    """
    finding = Finding(output=str(out))
    with Audited(out) as audited:
        if audited.ledger is None:
            finding.notices.append("there is no ledger beside it: planned means present")
        if audited.reader is not None:
            said = manifest_of(audited.reader)
            finding.applying = said.applying if said is not None else ""
            for damage in audited.reader.check():
                finding.add(damage)
        broken = {damage.tile for damage in finding.damages if damage.tile is not None}
        lacks: Counter[int] = Counter()
        for key, states in audited.blocks():
            planned = states != State.UNPLANNED
            present = audited.present(key)
            absent = planned & (states == State.ABSENT) & ~present
            missing = planned & ~present & ~absent
            finding.planned += int(planned.sum())
            finding.present += int((planned & present).sum())
            finding.absent += int(absent.sum())
            finding.missing += int(missing.sum())
            lacks[key.level] += int(missing.sum())
            for tile, what in _troubles(audited, key, planned & present, deep=deep):
                if what is not None and tile not in broken:
                    finding.add(Damage(str(tile), what, tile))
            on_block(finding)
        if deep and audited.reader is not None:
            _hold_against_manifest(audited, audited.reader, finding, lacks)
        if audited.ledger is not None:
            # Of a plan beyond all measure the ledger lists what its budget came to; the rest is counted.
            unlisted = sum((audited.ledger.meta("unlisted") or {}).values())
            finding.planned += unlisted
            finding.missing += unlisted
        finding.unlisted = audited.unlisted
        if finding.missing == 0 and not finding.unlisted:
            finding.unproven = audited.unproven
            finding.unmade = audited.unmade
    return finding


def _hold_against_manifest(audited: Audited, reader: CacheReader, finding: Finding, lacks: Counter[int]) -> None:
    """Each LOD's tiles and hash, counted anew; LODs that grew since the manifest was written are no damage, nor are
    those that lack no more than what is missing already: ``lacks``, tiles by LOD of the source."""
    manifest = manifest_of(reader)
    if manifest is None or not manifest.lods:
        return
    if audited.ledger is not None and audited.ledger.meta("dirty"):
        finding.notices.append("the manifest is of before the run that is not finished: it is not compared")
        return
    for lod in manifest.lods:
        total = TileSum()
        with suppress(CacheError):  # of a tile that can't be read, listed above
            for key in reader.blocks(lod.level):
                total.join(sum_of_block(reader, key))
        if total.tiles > lod.tiles:
            finding.notices.append(
                f"LOD {lod.level} has {total.tiles - lod.tiles:,} tiles more than when its manifest was written"
            )
        elif total.tiles < lod.tiles:
            ours = audited.placed.level_here(lod.level) if audited.placed is not None else None
            if ours is not None and lod.tiles - total.tiles <= lacks[ours]:
                continue
            what = f"{lod.tiles - total.tiles:,} of the {lod.tiles:,} tiles that its manifest counts are gone"
            finding.add(Damage(f"LOD {lod.level}", what))
        elif total.text != lod.hash:
            finding.add(Damage(f"LOD {lod.level}", "its tiles are not those whose hash its manifest has"))


def _troubles(audited: Audited, key: BlockKey, mask: Mask, *, deep: bool) -> Iterator[tuple[Tile, str | None]]:
    """Each of these tiles of a block and what is wrong with its bytes; None when it is whole."""
    left = mask.ravel().copy()
    # Together they come many times as fast as one by one. Where one can't be read, what is left is asked for singly.
    with suppress(CacheError):
        for tile, body in audited.tiles(key):
            number = key.position(tile)
            if left[number]:
                left[number] = False
                yield tile, _trouble(audited, body, deep=deep)
    for number in np.flatnonzero(left).tolist():
        tile = key.tile(number)
        try:
            found = audited.read(tile)
        except CacheError as error:
            yield tile, error.message
            continue
        yield tile, "listed, but not readable" if found is None else _trouble(audited, found, deep=deep)


def _trouble(audited: Audited, body: bytes, *, deep: bool) -> str | None:
    """What is wrong with a tile's bytes; None when it is whole."""
    scheme = audited.scheme
    verdict = judge(body, stated=audited.tile_format, width=scheme.tile_width, height=scheme.tile_height)
    if verdict.outcome is not Outcome.WHOLE:
        return verdict.reason
    return decode_check(body, verdict.kind) if deep else None
