"""The cache and the ledger of one run: found, checked against each other and the job, created, taken over, unpacked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harvester.assemble.holding import PackageHolding, WrittenHolding
from harvester.assemble.interrupted import SEALING, settle, stands_alone
from harvester.assemble.linked import require_one_name_to_add
from harvester.assemble.made import Made
from harvester.assemble.unpacking import unpack_beside
from harvester.caches.belongings import or_replace, require_cache_or_nothing, require_one_name
from harvester.caches.counted import CountedWriter, manifest_of
from harvester.caches.open import FORMATS, is_empty_or_missing, open_cache, open_writer
from harvester.caches.placed import PlacedReader, place_levels
from harvester.database import remove_journal
from harvester.durable import Disk
from harvester.edges import CacheReader, ServiceInfo, Subject, TileFormat
from harvester.errors import CacheError
from harvester.ledger import SqliteLedger, open_ledger
from harvester.ledger_reader import is_ledger
from harvester.output import PART, OutputPaths, exists, put_aside
from harvester.planning import Plan
from harvester.tiling.scheme import Box
from harvester.tiling.scheme_json import scheme_from_json, scheme_to_json
from harvester.tiling.tile import Tile
from harvester.version import __version__

SUMS = "sums"
"""The ledger's fact that holds what the writer counted (harvester/caches/counted.py)."""


@dataclass(slots=True)
class Collection:
    """Everything on disk that one run works with. ``writer`` is None while a finished package needs no work folder."""

    paths: OutputPaths
    format: str
    info: ServiceInfo
    subject: Subject
    disk: Disk
    ledger: SqliteLedger
    made: Made
    writer: CountedWriter | None = None
    package: PackageHolding | None = None
    notices: list[str] = field(default_factory=list)
    dedup: bool = False
    hash: bool = False
    stopped: Callable[[], bool] = lambda: False
    """True once somebody asked to stop; long work is given up then."""
    tell: Callable[[str], None] = lambda text: None
    """Says at once what was noticed, and a text that no report will hold."""
    closed: bool = False

    @property
    def sealed(self) -> bool:
        """True for formats that are collected beside and appear by rename."""
        return self.paths.sealed

    async def holding(self) -> PackageHolding | WrittenHolding:
        """What says which tiles are there: the package as long as nothing is written, else the cache."""
        return self.package or WrittenHolding(await self.open_for_writing(), self.paths.collect)

    async def begin_changes(self) -> None:
        """Before tiles come or go: until the cache is described anew, its ledger says so. Raises CacheError where a
        file that is changed in its place has a second name."""
        if self.paths.collect == self.paths.out:
            require_one_name(self.paths.out, self.format)
        await self.ledger.set_meta({"dirty": True, "swapping": False})

    async def open_for_writing(self) -> CountedWriter:
        """The cache to write to; an existing package is unpacked into the work folder first.

        Raises CacheError, and UnpackingStopped where that was asked for meanwhile.
        """
        if self.writer is None:
            target, unpacked = self.paths.collect, self.package is not None
            self.made.note(target)
            if self.package is not None:
                self.notices.append(f"unpacking {self.paths.out.name} to add to it")
                self.tell("")
                await self.claim_part()
                await unpack_beside(
                    self.format, self.paths, target, self.info.scheme, disk=self.disk, stopped=self.stopped,
                    tell=self.tell,
                )  # fmt: skip
                self.package.close()
                self.package = None
            self.writer = await open_writer(
                self.format, target, self.subject, disk=self.disk, dedup=self.dedup, hash=self.hash
            )
            self.writer.recall(await self.ledger.get_meta(SUMS))
            self.notices += self.writer.notices
            if unpacked:
                # The ledger agrees with the package, so it does with what came out of it: absent tiles stay absent.
                await self.ledger.record([], self.writer.stamps(await self.ledger.keys()))
        return self.writer

    async def claim_part(self) -> None:
        """Before a package is made or taken apart: whoever finds ``OUT.part`` knows that it is ours."""
        self.paths.claim(PART)
        await self.ledger.set_meta({SEALING: True})

    def stored_body(self, tile: Tile) -> bytes | None:
        """A tile's bytes as an earlier run stored them, in the source's levels; None where they can't be read now."""
        try:
            with open_cache(self.paths.collect) as reader:
                return PlacedReader(reader, self.info.scheme).read(tile)
        except CacheError:
            return None

    async def close(self) -> None:
        """Release everything; no journal stays behind. May be called twice."""
        self.closed = True
        try:
            if self.writer is not None:
                await self.writer.close()
            if self.package is not None:
                self.package.close()
        finally:
            # A ledger that stays open keeps its thread, and the process would never end.
            await self.ledger.close()


@asynccontextmanager
async def open_collection(
    info: ServiceInfo,
    plan: Plan,
    format: str,
    paths: OutputPaths,
    *,
    disk: Disk,
    made: Made,
    dedup: bool,
    hash: bool,
    generator: str,
) -> AsyncIterator[Collection]:
    """Open or create cache and ledger for a run that holds the lock; both are closed at the end, however it comes.

    Raises CacheError; then ``OUT`` is untouched. What is made anew is noted in ``made``.
    """
    notices: list[str] = []
    require_cache_or_nothing(paths.out, format, replaced=paths.overwrite)
    require_one_name_to_add(paths, format, info, plan, hash=hash)
    await settle(paths, format, info, plan, disk, notices)
    made.note(paths.ledger)
    ledger = await _open_or_rebuild(paths.ledger, notices, disk)
    collection: Collection | None = None
    try:
        meta = await _check_identity(ledger, info, paths)
        if paths.sealed and not paths.overwrite and exists(paths.work) and await stands_alone(ledger, paths.out):
            disk.remove_tree(paths.work)
        if not is_empty_or_missing(paths.collect):
            _check_held(paths.collect, info, paths.out)
        elif not paths.overwrite and not is_empty_or_missing(paths.out):
            _check_held(paths.out, info, paths.out)
        subject = _subject(info, plan, meta, generator)
        await ledger.set_meta(
            {
                "identity": info.identity,
                "source": info.source,
                "name": info.name,
                "format": format,
                "scheme": scheme_to_json(info.scheme),
                "tile_format": info.tile_format.value,
                "plan": plan.fingerprint,
                "levels": list(subject.levels),
                "extent": list(subject.extent) if subject.extent else None,
                "version": __version__,
                "replaces": paths.out.name if paths.overwrite else None,
            }
        )
        collection = Collection(
            paths=paths, format=format, info=info, subject=subject, disk=disk, ledger=ledger, made=made,
            notices=notices, dedup=dedup, hash=hash,
        )  # fmt: skip
        if paths.sealed and not paths.overwrite and not exists(paths.work) and not is_empty_or_missing(paths.out):
            collection.package = PackageHolding(paths.out, info)
        else:
            await collection.open_for_writing()
        yield collection
    finally:
        await (collection or ledger).close()


async def _open_or_rebuild(path: Path, notices: list[str], disk: Disk) -> SqliteLedger:
    try:
        return await open_ledger(path, create=True, disk=disk)
    except CacheError as error:
        if error.code != "ledger_damaged":
            raise
    remove_journal(path, disk)
    kept = ""
    if is_ledger(path):
        disk.remove(path)
    else:
        kept = f"; what was there is in {put_aside(path, disk).name}"
    notices.append(f"{path.name} was damaged: it is rebuilt from the cache, absent tiles are asked again{kept}")
    return await open_ledger(path, create=True, disk=disk)


async def _check_identity(ledger: SqliteLedger, info: ServiceInfo, paths: OutputPaths) -> Mapping[str, Any]:
    meta = {name: await ledger.get_meta(name) for name in ("identity", "scheme", "levels", "extent")}
    if meta["identity"] is not None and meta["identity"] != info.identity:
        raise _other_source(paths.out, meta["identity"], info.identity)
    if meta["scheme"] is not None and (why := scheme_from_json(meta["scheme"]).mismatch(info.scheme)):
        message = f"{paths.out} has another tiling scheme: {why}"
        raise CacheError(message, hint=or_replace(paths.out), code="other_scheme")
    return meta


def _other_source(out: Path, theirs: str, ours: str) -> CacheError:
    message = f"{out} belongs to another source: {theirs}, not {ours}"
    return CacheError(message, hint=or_replace(out), code="other_source")


def _check_held(held: Path, info: ServiceInfo, out: Path) -> None:
    """What the cache says of itself, whatever its ledger says: it may have come without one, or in another's place."""
    with open_cache(held) as reader:
        _require_mendable(reader, held, out)
        said = manifest_of(reader)
        if said is not None and said.disowns(info.source):
            raise _other_source(out, said.source, info.source)
        theirs = reader.info
        if not theirs.scheme.lods:
            return
        places = place_levels(info.scheme, theirs.scheme)
        if not places:
            why = info.scheme.mismatch(theirs.scheme) or "no LOD in common"
            raise CacheError(f"{held} has another tiling scheme: {why}", hint=or_replace(out), code="other_scheme")
        vector = {TileFormat.PBF, TileFormat.LERC}
        pair = {info.tile_format, theirs.tile_format}
        if len(pair) == 2 and pair & vector and TileFormat.UNKNOWN not in pair:
            raise CacheError(
                f"{held} holds {theirs.tile_format} tiles, not {info.tile_format}",
                hint=or_replace(out),
                code="other_source",
            )


def _require_mendable(reader: CacheReader, held: Path, out: Path) -> None:
    """Raises CacheError where a cache stays damaged whatever tiles come: no run of it would be complete."""
    for damage in reader.unmendable():
        first_hint = "harvester convert leaves it out, and a run adds to what that makes."
        if damage.tile is None:
            first_hint = "harvester verify lists all that is: move it away."
        raise CacheError(
            f"{held} is damaged: {damage.where}: {damage.what}",
            hint=" ".join((first_hint, or_replace(out))),
            code="damaged",
        )


def _subject(info: ServiceInfo, plan: Plan, meta: Mapping[str, Any], generator: str) -> Subject:
    """What the whole cache is about: this plan and those of the jobs before it."""
    order = {lod.level: lod.resolution for lod in info.scheme.lods}
    levels = {lod.level for lod in plan.lods if lod.planned} | set(meta["levels"] or ()) & order.keys()
    extent = plan.extent
    if meta["extent"] is not None:
        old = Box(*meta["extent"])
        extent = old if extent is None else Box(
            min(old.xmin, extent.xmin), min(old.ymin, extent.ymin), max(old.xmax, extent.xmax), max(old.ymax,
            extent.ymax)
        )  # fmt: skip
    return Subject(
        info=info, levels=tuple(sorted(levels, key=lambda level: -order[level])), extent=extent, generator=generator
    )


def is_sealed(format: str) -> bool:
    """True for formats that appear by rename when the run ends."""
    return FORMATS[format].sealed
