"""A compact cache V1 as a folder, read: pairs of .bundle and .bundlx where V2 has one file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from harvester.caches import bundle_v1, compact
from harvester.caches.bundle_folder import FileSpan, FolderBundles
from harvester.caches.bundle_v1 import (
    DATA_START,
    ENTRY_SIZE,
    HEADER_SIZE,
    INDEX_END,
    INDEX_FILE_SIZE,
    INDEX_START,
)
from harvester.caches.bundle_v2 import PREFIX_SIZE
from harvester.caches.bundles import BundleReader, Bundles
from harvester.caches.compact import COMPACT_V1
from harvester.caches.records import Span
from harvester.durable import Disk
from harvester.edges import CacheInfo, Damage
from harvester.errors import CacheError
from harvester.tiling.tile import BlockKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harvester.caches.bundle_v2 import Index, Problem

FORMAT = COMPACT_V1.format


class Pair(Span, Protocol):
    """The bytes of one .bundle, and of the .bundlx beside it."""

    def entries(self, size: int, offset: int) -> bytes:
        """Bytes of the .bundlx, fewer where it ends, none where it isn't there."""


def twin_of(path: Path) -> Path:
    """The .bundlx beside a .bundle."""
    return path.with_suffix(".bundlx")


class FilePair(FileSpan):
    """A pair of files."""

    def __init__(self, files: PairFolder, path: Path) -> None:
        super().__init__(files, path)
        self._twin = twin_of(path)

    def entries(self, size: int, offset: int) -> bytes:
        """Where each tile of the block starts."""
        try:
            return self._files.read(self._twin, size, offset)
        except CacheError as error:
            if error.code != "missing":
                raise
            return b""


class PairFolder(FolderBundles):
    """Pairs of files in level folders."""

    def open(self, key: BlockKey) -> FilePair | None:
        """A block's bundle; None where there is none."""
        path = self.find(key)
        return FilePair(self, path) if path is not None else None

    def misplaced(self) -> Iterator[Damage]:
        """A .bundlx without its .bundle; not one that names no tile: a writer makes it first."""
        for folder in sorted({self.path(BlockKey(level, 0, 0)).parent for level in self.levels()}):
            for file in sorted(folder.glob("*.bundlx")) if folder.is_dir() else ():
                if not file.with_suffix(".bundle").is_file() and not self._names_none(file):
                    yield Damage(str(file), "its .bundle is not there")

    def _names_none(self, twin: Path) -> bool:
        starts = bundle_v1.parse_starts(self.read(twin, INDEX_FILE_SIZE, 0))
        return starts is not None and not starts.any()


MAX_WALKED = 16
"""Blocks of which is kept where their records are: 260 KB each when full."""


class PairReader(BundleReader):
    """A CacheReader over pairs: what V1 has in another place than V2."""

    def __init__(self, info: CacheInfo, bundles: Bundles) -> None:
        super().__init__(info, bundles)
        self._walked: OrderedDict[str, tuple[int, NDArray[np.int64], int]] = OrderedDict()

    def entry(self, span: Span, number: int) -> tuple[int, int]:
        """Read until two looks agree: five bytes that a writer changes are not changed at once."""
        pair, position, seen = cast(Pair, span), bundle_v1.entry_position(number), b""
        while (found := pair.entries(ENTRY_SIZE, position)) != seen:
            seen = found
        start = int.from_bytes(found, "little") if len(found) == ENTRY_SIZE else 0
        size = bundle_v1.record_size(start, span.size(), span.read)
        if size and bundle_v1.may_be_torn(number) and not self._is_record(span, start):
            return 0, 0
        return start + PREFIX_SIZE, size

    def _is_record(self, span: Span, start: int) -> bool:
        """Does a record start there, not the middle of one? Behind those that follow each other nothing is known."""
        file_size = span.size()
        walked = self._walked.get(span.where)
        if walked is None or walked[0] != file_size:
            starts, _, end = bundle_v1.walk(file_size, span.read)
            walked = self._walked[span.where] = (file_size, starts, end)
            while len(self._walked) > MAX_WALKED:
                self._walked.popitem(last=False)
        _, starts, end = walked
        at = int(np.searchsorted(starts, start))
        return start >= end or (at < starts.size and int(starts[at]) == start)

    def index(self, span: Span) -> Index | None:
        """The entries whose record is whole; None where header or .bundlx aren't."""
        starts = bundle_v1.parse_starts(all_entries(cast(Pair, span)))
        if starts is None or bundle_v1.parse_header(span.read(HEADER_SIZE, 0)) is None:
            return None
        return bundle_v1.sound_index(starts, span.size(), span.read)[0]

    def is_bundle(self, span: Span) -> bool:
        """Are both files there, with header and index?"""
        pair = cast(Pair, span)
        whole = pair.size() >= DATA_START and bundle_v1.parse_header(pair.read(HEADER_SIZE, 0)) is not None
        return whole and bundle_v1.begins_index(pair.entries(INDEX_START, 0)) and bool(pair.entries(1, INDEX_END - 1))

    def sound(self, span: Span, index: Index) -> NDArray[np.int64]:
        """The entries that name a whole record."""
        return np.flatnonzero(index)

    def blocks(self, level: int) -> Iterator[BlockKey]:
        """Blocks of a level that hold at least one tile: one is looked for, not all of them are."""
        for key in self.bundles.keys(level):
            span = self.bundles.open(key)
            if span is not None and self._holds_any(span):
                yield key

    def _holds_any(self, span: Span) -> bool:
        starts = bundle_v1.parse_starts(all_entries(cast(Pair, span)))
        if starts is None or bundle_v1.parse_header(span.read(HEADER_SIZE, 0)) is None:
            return False
        return any(self.entry(span, number)[1] for number in np.flatnonzero(starts).tolist())

    def lost_of(self, span: Span) -> Iterator[tuple[str, int | None]]:
        """What ``tiles`` leaves out of one bundle."""
        return ((problem.what, problem.number) for problem in self.problems(span) if not problem.warning)

    def problems(self, span: Span) -> Iterator[Problem]:
        """What is wrong with a bundle."""
        entries = all_entries(cast(Pair, span))
        return bundle_v1.problems(span.read(HEADER_SIZE, 0), entries, span.size(), span.read)


def all_entries(pair: Pair) -> bytes:
    """The whole .bundlx, read until two looks agree."""
    seen = pair.entries(INDEX_FILE_SIZE, 0)
    while (again := pair.entries(INDEX_FILE_SIZE, 0)) != seen:
        seen = again
    return seen


def open_reader(path: str | Path) -> BundleReader:
    """Open a compact cache V1 by its folder, the folder above it, or its conf.xml. Raises CacheError."""
    path, disk = Path(path), Disk()
    layout = compact.locate(path)
    if layout is None:
        what = "is not there" if not path.exists() else "is no compact cache: it has neither conf.xml nor root.json"
        raise CacheError(f"{path} {what}", hint="Name the folder that holds conf.xml.", code="not_a_cache")
    about, folder = compact.describe(layout, disk, COMPACT_V1)
    return PairReader(compact.cache_info(about, FORMAT, compact.read_manifest(layout, disk)), PairFolder(folder, disk))
