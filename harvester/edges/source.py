"""Where tiles come from: what a Source says of itself, and what it promises."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from harvester.edges.asking import Answer, Host, Request
from harvester.edges.judging import Verdict, WindowAnswer
from harvester.tiling.scheme import Box, TilingScheme
from harvester.tiling.tile import BlockKey, Tile


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
    beside: tuple[str, ...] = ()
    """What the source has beside its tiles, in words: ``style``, ``sprites``, ``fonts``."""


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

    def at(self, request: Request, host: Host) -> Request:
        """The same asked at another of ``hosts``: all of them serve the same tiles."""

    def judge(self, request: Request, answer: Answer) -> Verdict:
        """What the answer to a tile request means: status, errors in a 200, and whether the bytes are a whole tile."""

    def window(self, key: BlockKey) -> Request | None:
        """The tilemap window of one block; None where the source has no tilemap."""

    def read_window(self, request: Request, answer: Answer) -> WindowAnswer | None:
        """What a tilemap answer says; None when it can't be trusted (then the tiles are asked)."""

    async def renew(self, *, accepted: bool = False) -> None:
        """Get a new token. ``accepted``: tiles were served with one as it travels now, so that is not to blame. Raises
        AuthError when refused."""
