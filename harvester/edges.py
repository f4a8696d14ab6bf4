"""The contracts between the rooms: what is asked (Request), what came (Answer), what it means (Verdict), and what
Source,
Transport, Cache and Ledger promise. The engine knows these and no class behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from harvester.manifest import Manifest
from harvester.tiling.scheme import Box, TilingScheme
from harvester.tiling.tile import BlockKey, Tile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    """A block's tiles: shape (128, 128), row-major, True where it holds."""

    States = NDArray[np.uint8]
    """A block's states: shape (128, 128), row-major, values of ``State``."""

MAX_TILE_BYTES = (1 << 24) - 1
"""Esri's bundle index has 24 bits for a tile's size; nothing larger is fetched."""


# ---------------------------------------------------------------------------------------------- states


class State(IntEnum):
    """Where a planned tile stands. Every planned tile ends in exactly one of STORED, UNCHANGED, ABSENT, FAILED."""

    UNPLANNED = 0
    PENDING = 1
    STORED = 2
    ABSENT = 3
    FAILED = 4
    UNCHANGED = 5


# ---------------------------------------------------------------------------------------------- asking


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One server to ask, and what every request to it carries.

    ``headers`` may hold secrets: they go to this host only, and ``repr`` leaves them out.
    Two hosts are equal when all four fields are: a renewed token makes a new Host.
    """

    scheme: str
    name: str
    port: int
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def origin(self) -> str:
        """``https://name:port``, the port left out where it is the scheme's own."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        if self.port == {"http": 80, "https": 443}.get(self.scheme):
            return f"{self.scheme}://{name}"
        return f"{self.scheme}://{name}:{self.port}"


class Request(NamedTuple):
    """One thing to ask: a GET of ``path`` at ``host``, for ``tile`` or for a tilemap window whose top left is ``tile``.

    ``path`` starts with ``/``, is percent-encoded, holds the query, and may hold a token: never print it, print
    ``tile``.
    """

    host: Host
    path: str
    tile: Tile
    window: int = 0
    """0: a tile. n: a tilemap window of n x n tiles."""
    attempt: int = 0
    """Tries of the same tile before this one."""
    credential: int = 0
    """The generation of the source's token that the path or the host carries."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of this one request (conditions of a refresh)."""
    fresh: bool = False
    """Over a connection that is made for it: an old one was gone before its answer began."""


class Wait(NamedTuple):
    """Nothing to ask just now: ask again after ``seconds``, or when woken (None: only when woken)."""

    seconds: float | None = None


class Fault(StrEnum):
    """How a request ended without a whole answer. The value is the reason that a person reads."""

    CONNECT = "connect"
    DNS = "dns"
    TLS = "tls"
    RESET = "reset"
    TRUNCATED = "truncated"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    TOO_LARGE = "too_large"


class Answer(NamedTuple):
    """What came back. ``fault`` is set when no whole HTTP answer arrived; then ``status`` is 0 or what was read
    before."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names; repeated headers joined by ``, ``."""
    body: bytes
    seconds: float
    """From the request's first byte to the answer's last, on the monotonic clock."""
    delimited: bool = True
    """False when only the connection's end said that the body is complete (no Content-Length, not chunked)."""
    fault: Fault | None = None
    detail: str = ""
    """What a person reads about the fault; holds no URL and no secret."""
    stale: bool = False
    """RESET on a connection that had served before, and no byte of an answer came: it was closed while the request was
    on its way, which says nothing of the tile or of the host."""


# ---------------------------------------------------------------------------------------------- judging


class Outcome(Enum):
    """What a verdict means for the tile; the engine acts on nothing else."""

    WHOLE = "whole"
    """``body`` is a whole tile: store it."""
    ABSENT = "absent"
    """The source says that there is no such tile."""
    UNCHANGED = "unchanged"
    """304 to a conditional request: what the cache holds is current."""
    RETRY = "retry"
    """The tile's own fault: try again, up to the retry limit, then FAILED with this reason."""
    THROTTLED = "throttled"
    """The host is busy (429, 503, 502, 504): wait and try again without using up the tile's tries."""
    DENIED = "denied"
    """401, 498, 499: renew the credential and ask once more."""
    FAILED = "failed"
    """Wrong in a way that asking again won't mend (403, 400, placeholder of another size ...)."""


class Verdict(NamedTuple):
    """What an answer means. ``reason`` is a stable word such as ``http_500``, ``not_an_image``, ``truncated``."""

    outcome: Outcome
    reason: str = ""
    body: bytes = b""
    kind: str = ""
    """Of a whole tile: ``png``, ``jpg``, ``webp``, ``gif``, ``lerc``, ``pbf``."""
    retry_after: float | None = None
    """Seconds that the server asked to wait, already made sane."""


class WindowAnswer(NamedTuple):
    """What a tilemap window says: ``present[i, j]`` for tile (top + i, left + j). Tiles outside it were not
    answered."""

    level: int
    top: int
    left: int
    present: Mask


# ---------------------------------------------------------------------------------------------- source


class TileFormat(StrEnum):
    """What a source says its tiles are. MIXED: PNG or JPEG, tile by tile."""

    PNG = "png"
    JPEG = "jpg"
    MIXED = "mixed"
    WEBP = "webp"
    LERC = "lerc"
    PBF = "pbf"
    UNKNOWN = "unknown"


class VectorLayer(NamedTuple):
    """One layer of vector tiles, as ``vector_layers`` of TileJSON 3.0 (3.3) and MBTiles 1.3 lists it."""

    id: str
    """The layer's name in the tiles."""
    fields: tuple[tuple[str, str], ...] = ()
    """Names and what describes each: ``String``, ``Number``, ``Boolean``, or the maker's own words."""
    minzoom: int | None = None
    maxzoom: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInfo:
    """Everything that a source says of itself before the first tile; no secrets in any field."""

    source: str
    """What a person would type again: the URL without its token."""
    identity: str
    """Scheme, host and path, lower-cased host, without query: what a cache belongs to."""
    kind: str
    """``arcgis-map``, ``arcgis-image``, ``arcgis-vector``, ``wmts``, ``xyz``, ``cache``."""
    name: str
    scheme: TilingScheme
    extent: Box | None
    """``fullExtent`` in the scheme's CRS; None when the source states none."""
    tile_format: TileFormat
    format_name: str = ""
    """The source's own word for it: ``PNG8``, ``MIXED``, ``JPEG`` ..."""
    compression_quality: float = 0.0
    min_lod: int | None = None
    max_lod: int | None = None
    attribution: str = ""
    description: str = ""
    tilemap: bool = False
    export_tiles: bool = False
    max_export_tiles: int | None = None
    min_scale: float | None = None
    """A web map layer's own visible range (0 and None: none); a service's own is not kept here, since it is no tile
    range."""
    max_scale: float | None = None
    notices: tuple[str, ...] = ()
    vector_layers: tuple[VectorLayer, ...] = ()
    """Of vector tiles, where the source lists them; a writer finds them in the tiles where it doesn't."""


class Source(Protocol):
    """Where tiles come from. Pure apart from ``renew``: it says what to ask and what an answer means, and never asks.

    Promises: the same tile gives the same request until ``renew``; ``judge`` never raises, whatever bytes it is given;
    secrets are only in ``Request.path`` and ``Host.headers``.
    """

    info: ServiceInfo

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every host that requests may go to, with the headers of now."""

    @property
    def credential(self) -> int:
        """Generation of the token in use; grows by one with each renewal."""

    @property
    def renews_in(self) -> float | None:
        """Seconds until the token should be renewed ahead of its end; None when nothing expires."""

    @property
    def can_renew(self) -> bool:
        """True when a new token can be had without a person."""

    def request(self, tile: Tile, attempt: int) -> Request:
        """What to ask for a tile."""

    def judge(self, request: Request, answer: Answer) -> Verdict:
        """What the answer to a tile request means: status, errors in a 200, and whether the bytes are a whole tile."""

    def window(self, key: BlockKey) -> Request | None:
        """The tilemap window of one block; None where the source has no tilemap."""

    def read_window(self, request: Request, answer: Answer) -> WindowAnswer | None:
        """What a tilemap answer says; None when it can't be trusted (then the tiles are asked)."""

    async def renew(self) -> None:
        """Get a new token. Raises AuthError when refused."""


# ---------------------------------------------------------------------------------------------- transport

Next = Callable[[], "Request | Wait | None"]
"""Gives the next request, or a Wait, or None at the end. Never blocks, never raises."""

Done = Callable[[Request, Answer], None]
"""Takes each answer, exactly once for each request given. Never blocks, never raises."""


class Transport(Protocol):
    """How to ask. Pulls requests and pushes answers; keeps no queue of its own.

    A Wait holds for every idle lane at once: after one, ``next_request`` is not called again before ``done`` of another
    request, ``wake`` or the end of its seconds; then it is called until it gives a Wait again or no lane is idle.

    Promises: for each Request taken from ``next`` exactly one ``done``; at most ``connections`` requests in flight;
    every request ends within its deadline (``Fault.TIMEOUT``); bodies over MAX_TILE_BYTES, decoded, end as
    ``TOO_LARGE``;
    a ``fresh`` request goes over a connection of its own, and its answer is never ``stale``;
    redirects are never followed; no header of one host is sent to another; no exception crosses ``drain`` but
    cancellation, which closes every connection.
    """

    async def drain(self, next_request: Next, done: Done) -> None:
        """Ask until ``next_request`` gives None and all that is in flight has ended."""

    def wake(self) -> None:
        """Something can be asked again: call ``next_request`` for every idle lane. Callable from the loop's thread
        only."""

    def rebuild(self) -> None:
        """Drop every connection, idle or stalled; what is in flight ends with ``Fault.RESET``."""

    async def close(self) -> None:
        """Close all connections. May be called twice."""


# ---------------------------------------------------------------------------------------------- cache

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


class CacheReader(Protocol):
    """A cache opened for reading; speaks the cache's own scheme, row 0 on top, always.

    Promises: ``read`` gives whole tiles or None; damage gives CacheError from ``open`` or is listed by ``check``, and
    never
    gives wrong bytes; nothing on disk is changed, not even a time; usable in a ``with`` block.
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

    def close(self) -> None:
        """Release the files. May be called twice."""

    def __enter__(self) -> CacheReader: ...

    def __exit__(self, *exc: object) -> None: ...


class Stored(NamedTuple):
    """A whole tile on its way to the cache, in the source's own levels."""

    tile: Tile
    body: bytes
    kind: str


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
    manifest: Manifest | None = None
    """What the cache holds; None leaves the one that is there."""


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


# ---------------------------------------------------------------------------------------------- ledger


class BlockChange(NamedTuple):
    """Tiles of one block that reached one state. ``indexes`` are row-major positions in the block
    (``BlockKey.position``)."""

    key: BlockKey
    state: State
    indexes: Sequence[int]
    reasons: Mapping[int, str] = {}
    """Of failed tiles, by index."""


class LedgerFailure(NamedTuple):
    """A failed tile and why."""

    tile: Tile
    reason: str


class Ledger(Protocol):
    """The durable state of every planned tile, one row a block.

    Promises: what ``record`` was given is durable when it returns; states only come from ``enlist`` (PENDING),
    ``record`` and
    ``reconcile``; a ledger that was killed at any moment opens again with every returned ``record`` in it.
    """

    async def enlist(self, blocks: Sequence[tuple[BlockKey, Mask]]) -> None:
        """Add tiles to the plan: those not planned before become PENDING, the others keep their state."""

    async def keys(self) -> list[BlockKey]:
        """Every block that the ledger has, of this job and of others before it; 16,384 tiles each, so never many."""

    async def states(self, keys: Sequence[BlockKey]) -> list[States]:
        """States of these blocks, all UNPLANNED where the ledger has no row."""

    async def stamps(self, keys: Sequence[BlockKey]) -> Stamps:
        """Stamps as last recorded, of these blocks and, under None, of the whole cache."""

    async def reconcile(self, blocks: Sequence[tuple[BlockKey, Mask]], stamps: Stamps) -> None:
        """The cache's own index decides: tiles there become STORED, STORED and UNCHANGED tiles that aren't become
        PENDING,
        ABSENT tiles become PENDING (asked again); planned tiles only."""

    async def record(self, changes: Sequence[BlockChange], stamps: Stamps) -> None:
        """Tiles that reached a state, with the stamps of the cache commit that holds them; durable on return."""

    async def failures(self, limit: int) -> list[LedgerFailure]:
        """Failed tiles with their reasons, in plan order."""

    async def set_meta(self, values: Mapping[str, Any]) -> None:
        """Facts about cache and job (JSON values), durable on return."""

    async def get_meta(self, name: str) -> Any:
        """One fact, None when unknown."""

    async def close(self) -> None:
        """Leave no journal behind. May be called twice."""
