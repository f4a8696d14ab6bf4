"""Where tiles go: what a CacheReader and a CacheWriter promise, and what passes between them and the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from harvester.edges.batch import Stored
from harvester.edges.source import ServiceInfo, TileFormat, VectorLayer
from harvester.manifest import Manifest
from harvester.tiling.scheme import Box, TilingScheme
from harvester.tiling.tile import BlockKey, Tile

if TYPE_CHECKING:
    from harvester.edges.states import Mask


Stamps = Mapping[BlockKey | None, str]
"""Short texts that change whenever a block (or, under None, the whole cache) may have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheInfo:
    """What a cache says of itself, in its own levels."""

    format: str
    """``mbtiles``, ``compactv2``, ``tpkx`` ..."""
    scheme: TilingScheme
    tile_format: TileFormat
    name: str = ""
    attribution: str = ""
    extent: Box | None = None
    """Of the data, in the scheme's CRS."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Whatever else the format states (metadata rows, storage format ...), for ``info``."""
    vector_layers: tuple[VectorLayer, ...] = ()
    """Of vector tiles, where the cache lists them; zooms are those of the Google grid."""


class Damage(NamedTuple):
    """Something unsound in a cache: where (a tile where it is known) and what."""

    where: str
    what: str
    tile: Tile | None = None
    stays: bool = False
    """True where no tile that comes could mend it: a run refuses such a cache."""


class CacheReader(Protocol):
    """A cache opened for reading; speaks the cache's own scheme, row 0 on top, always.

    Promises: ``read`` gives whole tiles or None; damage gives CacheError from ``open`` or is listed by ``check``, and
    never gives wrong bytes; nothing on disk is changed, not even a time; usable in a ``with`` block.
    """

    info: CacheInfo

    def read(self, level: int, row: int, col: int) -> bytes | None:
        """The tile's bytes, or None when the cache holds none."""

    def levels(self) -> Sequence[int]:
        """Levels that hold at least one tile, ascending by number."""

    def blocks(self, level: int) -> Iterator[BlockKey]:
        """Blocks of a level that hold at least one tile, by row, then column."""

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block are there; shape (128, 128)."""

    def tiles(self, key: BlockKey) -> Iterator[tuple[Tile, bytes]]:
        """The tiles of one block by row, then column."""

    def check(self) -> Iterator[Damage]:
        """Structural damage, the whole cache over, without decoding tiles."""

    def lost(self) -> Iterator[Damage]:
        """Of that what ``levels``, ``blocks`` and ``tiles`` leave out in silence."""

    def unmendable(self) -> Iterator[Damage]:
        """Of that what stays whatever tiles come: a run refuses such a cache. Seen without reading every index."""

    def close(self) -> None:
        """Release the files. May be called twice."""

    def __enter__(self) -> CacheReader: ...

    def __exit__(self, *exc: object) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a new cache is about: all that a format may want to write of its source and its job. No secrets."""

    info: ServiceInfo
    levels: tuple[int, ...]
    """Planned levels, coarsest first."""
    extent: Box | None
    """Of the planned area, in the scheme's CRS."""
    generator: str = ""
    policies: tuple[str, ...] = ()
    """What chose the tiles, in words."""
    finished: bool = True
    """False while tiles are missing that a later run will bring."""
    sources: tuple[str, ...] = ()
    """Where the tiles are from, those of what is there included, where caches are joined; empty for a run's own."""
    applying: str | None = None
    """The delta that is being applied; "" when it is; None leaves what is said there."""
    manifest: Manifest | None = None
    """What the cache holds; None leaves the one that is there."""
    mixed: bool | None = None
    """Where caches are joined: does one of them say of itself that its tiles are of several kinds? None: ``info`` is
    one source's own word."""
    kinds: Mapping[str, int] | None = None
    """The tiles that the cache holds, by kind; None where they were not counted."""
    held: TileFormat | None = None
    """What the tiles that the cache holds are; None where that is not known."""


class CacheWriter(Protocol):
    """A cache opened for writing; speaks the *source's* levels and maps them itself (MBTiles: zoom and offset).

    Promises: ``store`` returns when every tile of the batch is durable, whole and readable under its name, and raises
    CacheError when any is not (then none of the batch may be taken as stored); storing a tile again replaces it;
    at every moment another process that opens the cache sees whole tiles only.
    """

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block (source's levels) are there."""

    def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """The stamps now, of these blocks or under None of the whole, whichever the format has."""

    async def store(self, batch: Sequence[Stored]) -> Stamps:
        """Write a batch durably; gives the stamps of what it touched."""

    async def remove(self, tiles: Sequence[Tile]) -> Stamps:
        """Take tiles out again (a refresh found them absent), durably."""

    async def finish(self, subject: Subject) -> None:
        """Write what describes the cache (metadata, conf.xml, root.json), durably; writes nothing that is there
        already."""

    async def close(self) -> None:
        """Release the files; leaves no journal behind. May be called twice."""
