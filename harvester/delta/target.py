"""The cache that a verb writes: locked, made beside and swapped in, or added to where its format grows in place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from harvester.caches.belongings import second_name
from harvester.caches.open import (
    FORMATS,
    is_empty_or_missing,
    open_cache,
    open_writer,
    require_can_hold,
    seal,
    unpack,
)
from harvester.caches.placed import place_levels
from harvester.database import remove_journal
from harvester.delta.schemes import levels_in, scheme_for
from harvester.delta.statements import joined_format, joined_format_name, joined_texts, listed, service_info, union
from harvester.delta.undisturbed import undisturbed
from harvester.durable import BEGINS_AGAIN, GOES_ON, Disk, behind_links, is_network_share, lock, set_apart
from harvester.edges import CacheWriter, ServiceInfo, Stored, Subject
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.output import (
    NEW,
    PART,
    OutputPaths,
    exists,
    recover,
    remove_ledger,
    require_free,
    require_outside,
    require_own_names,
    require_still_own,
    swap,
)
from harvester.tiling.tile import Tile
from harvester.version import __version__

GENERATOR = f"harvester {__version__}"

BATCH_TILES = 16384
BATCH_BYTES = 32 << 20
"""A batch is one durable commit; a block of small tiles, else as large as a run's. This and a few megabytes of tiles
that were read are what is in memory."""

Carry = Callable[[Path, Disk], None]
"""Puts more into the finished cache (a folder or a file) before it gets its name."""


@dataclass(kw_only=True)
class Target:
    """One output while it is written; tiles are put in the levels of ``scheme`` as the caller gave it."""

    out: Path
    format: str
    paths: OutputPaths
    disk: Disk
    subject: Subject
    writer: CacheWriter
    in_place: bool
    """True where the cache grows under its final name; then what was stored stays, whatever ends the verb."""
    fresh: bool
    """True where nothing of what was there stays."""
    changed: bool = False
    """True once a tile, or what belongs to the tiles, came or went."""
    linked: CacheError | None = None
    """What to say of a file that is changed in its place and has a second name: nothing is written to it."""
    notices: list[str] = field(default_factory=list)
    shifts: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """By level of the caller's: the writer's level, and what to add to rows and columns."""
    _batch: list[Stored] = field(default_factory=list)
    _bytes: int = 0
    _gone: list[Tile] = field(default_factory=list)

    def there(self, tile: Tile) -> Tile:
        """The tile in the writer's own levels."""
        level, row, col = tile
        to, rows, cols = self.shifts[level]
        return Tile(to, row + rows, col + cols) if rows or cols or to != level else tile

    async def put(self, tile: Tile, body: bytes, kind: str) -> None:
        """Write a tile, sooner or later; durable after ``flush``."""
        if self.add(tile, body, kind):
            await self.flush()

    def add(self, tile: Tile, body: bytes, kind: str) -> bool:
        """``put`` for callers with millions: True where ``flush`` must come before the next tile."""
        self._batch.append(Stored(self.there(tile), body, kind))
        self._bytes += len(body)
        return len(self._batch) >= BATCH_TILES or self._bytes >= BATCH_BYTES

    async def drop(self, tile: Tile) -> None:
        """Take a tile out, sooner or later."""
        self._gone.append(self.there(tile))
        if len(self._gone) >= BATCH_TILES:
            await self.flush()

    async def flush(self) -> None:
        """Make everything durable that was put and dropped."""
        if self.linked is not None and (self._batch or self._gone):
            raise self.linked
        self.changed = self.changed or bool(self._batch or self._gone)
        if self._batch:
            await undisturbed(self.writer.store(self._batch))
        if self._gone:
            await undisturbed(self.writer.remove(self._gone))
        self._batch, self._bytes, self._gone = [], 0, []

    async def mark(self, delta: str) -> None:
        """Say in the cache, durably, that a delta is being applied to it; ``finish`` takes it back."""
        if self.in_place:
            await undisturbed(self.writer.finish(replace(self.subject, finished=False, applying=delta)))

    async def finish(self, release: Callable[[], None] = lambda: None, carry: Carry | None = None) -> None:
        """Describe the cache, seal it, give it its name. ``release`` closes whoever reads what is replaced. A package
        to which nothing came stays as it is, byte for byte, as does a file that has a second name."""
        await self.flush()
        if self.linked is not None:
            return
        if self.paths.sealed and not (self.fresh or self.changed or carry is not None):
            await undisturbed(self.writer.close())
            release()
            await undisturbed(asyncio.to_thread(_clear, self.paths, self.disk))
            return
        await undisturbed(self.writer.finish(self.subject))
        for text in getattr(self.writer, "notices", ()):
            notice = text.replace(str(self.paths.new), str(self.out))
            if notice not in self.notices:
                self.notices.append(notice)
        await undisturbed(self.writer.close())
        release()
        if not self.in_place:
            await undisturbed(asyncio.to_thread(self._give_name, carry))

    def _give_name(self, carry: Carry | None) -> None:
        paths, disk = self.paths, self.disk
        ready = paths.new
        if paths.sealed:
            self.notices += seal(self.format, paths.new, paths.part, self.subject, disk=disk)
            ready = paths.part
        if carry is not None:
            carry(ready, disk)
        if self.fresh:
            require_still_own(paths)
            # The ledger of what was there says nothing of what will be.
            remove_ledger(paths, disk)
        swap(paths, disk)


@asynccontextmanager
async def locked(out: Path, format: str, *, disk: Disk) -> AsyncIterator[OutputPaths]:
    """Hold an output's lock; what a killed verb left is cleared away. Raises CacheError where a run isn't finished."""
    out = behind_links(out)
    require_outside(out)
    paths = OutputPaths(out=out, sealed=FORMATS[format].sealed, overwrite=True)
    made = _make_folder(out, disk)
    try:
        with lock(paths.lock) as held:
            paths = replace(paths, held=held)
            require_own_names(paths, format)
            for path, what in ((paths.new_ledger, paths.new), (paths.work, paths.work)):
                if exists(path):
                    raise CacheError(
                        f"{what} belongs to a run that is not finished",
                        hint="Run that command again until it is complete, or remove what it left; "
                        "or choose another output.",
                        code="unfinished",
                    )
            recover(paths, disk)
            set_apart(paths.final_ledger, held, disk)
            require_free(paths, paths.new)
            if paths.sealed:
                require_free(paths, paths.part)
            if FORMATS[format].folder:
                require_free(paths, paths.old)
            yield paths
    finally:
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _clear(paths: OutputPaths, disk: Disk) -> None:
    for path in (paths.new, paths.part) if paths.sealed else (paths.new,):
        remove_journal(path, disk)
        disk.remove_tree(path)


def _make_folder(out: Path, disk: Disk) -> list[Path]:
    missing = [folder for folder in out.absolute().parents if not folder.exists()]
    if missing:
        disk.make_dirs(missing[0])
    return missing


@asynccontextmanager
async def open_target(
    paths: OutputPaths,
    format: str,
    info: ServiceInfo,
    levels: Sequence[int],
    *,
    keep: bool,
    dedup: bool = False,
    policies: Sequence[str] = (),
    sources: Sequence[str] = (),
    mixed: bool | None = None,
    disk: Disk,
) -> AsyncIterator[Target]:
    """Open a locked output to be written in the levels of ``info``; what was made beside goes unless it is finished.

    ``keep``: what is there already stays, else it is replaced. ``mixed``: as Subject has it. Raises
    UnsupportedFormatError, before anything is written, where the format can't hold these levels.
    """
    out = paths.out
    notices = list(require_can_hold(format, info, levels))
    if is_network_share(out):
        notices.append(f"{out} is on a network share: a local disk is safer and faster; copy the finished cache there")
    kept = keep and not is_empty_or_missing(out)
    # What is written says where the tiles are from, not where the file lay that they were read from.
    told = replace(info, source=info.identity or info.name)
    scheme, subject = (
        info.scheme,
        Subject(
            info=told,
            levels=tuple(levels),
            extent=info.extent,
            generator=GENERATOR,
            policies=tuple(policies),
            sources=tuple(sources),
            mixed=mixed,
        ),
    )
    if kept:
        subject = _with_what_is_there(out, format, subject)
        scheme = subject.info.scheme
    in_place = kept and not paths.sealed
    places = place_levels(info.scheme, scheme)
    target: Target | None = None
    if not in_place:
        paths.claim(NEW, PART) if paths.sealed else paths.claim(NEW)
    try:
        if kept and paths.sealed:
            await undisturbed(asyncio.to_thread(unpack, format, out, paths.new, scheme, disk=disk))

        async def opening() -> Target:
            nonlocal target
            writer = await open_writer(
                format,
                out if in_place else paths.new,
                subject,
                disk=disk,
                dedup=dedup,
                hash=True,
            )
            shifts = {level: (place.level, place.rows, place.cols) for level, place in places.items()}
            # Known before the caller hears of a cancellation: then it is closed.
            target = Target(
                out=out, format=format, paths=paths, disk=disk, subject=subject, writer=writer, in_place=in_place,
                fresh=not kept, notices=notices, shifts=shifts, linked=second_name(out, format) if in_place else None,
            )  # fmt: skip
            return target

        yield await undisturbed(opening())
    except BaseException as error:
        if not in_place:
            if target is not None:
                await undisturbed(target.writer.close())
            with suppress(CacheError):
                _clear(paths, disk)
            if isinstance(error, CacheError) and error.hint == GOES_ON:
                raise CacheError(error.message, hint=BEGINS_AGAIN, code=error.code) from error
        if isinstance(error, UnsupportedFormatError) and str(out) not in error.message:
            # Writers know no name; in a verb over several files nobody should guess which of them has no place for it.
            raise UnsupportedFormatError(f"{out}: {error.message}", hint=error.hint, code=error.code) from error
        raise
    finally:
        if target is not None:
            await undisturbed(target.writer.close())


def _with_what_is_there(out: Path, format: str, subject: Subject) -> Subject:
    """The subject of a cache that is added to: its own name, both attributions, the levels and the extent of both."""
    with open_cache(out) as reader:
        there, ours = service_info(out, reader), subject.info
        scheme = scheme_for(format, str(out), reader, ours.scheme, subject.levels)
        places = place_levels(ours.scheme, scheme)
        levels = {places[level].level for level in subject.levels if level in places}
        levels.update(levels_in(reader, scheme))
    order = {lod.level: -lod.resolution for lod in scheme.lods}
    info = replace(
        ours,
        scheme=scheme,
        tile_format=joined_format(ours.tile_format, there.tile_format, str(out)),
        format_name=joined_format_name(there.format_name, ours.format_name),
        compression_quality=there.compression_quality or ours.compression_quality,
        name=there.name or ours.name,
        description=there.description or ours.description,
        attribution=", ".join(joined_texts([there.attribution, ours.attribution])),
        extent=union(there.extent, ours.extent),
        vector_layers=listed((there.vector_layers, ours.vector_layers)),
    )
    return replace(subject, info=info, levels=tuple(sorted(levels, key=order.__getitem__)), extent=info.extent)
