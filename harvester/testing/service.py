"""An ArcGIS tiled service whose every tile is known in advance: document, tiles, tilemap, tokens.

``with FaultyService(ArcGisSite(grid=schemes.RIO)) as service: service.url`` gives a URL that any ArcGIS client can use.
What it says follows the ArcGIS REST API reference (Map Service, Map Tile, Tile Map, Image Service, Generate Token).
"""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from harvester.testing.images import tile_jpeg, tile_png
from harvester.testing.lab import FaultServer
from harvester.testing.log import Asked, Place
from harvester.testing.reply import Headers, Reply
from harvester.testing.schemes import WEB_MERCATOR, Grid
from harvester.testing.script import Script
from harvester.testing.tickets import TicketOffice
from harvester.testing.tilemaps import JSON, answer_window, json_reply
from harvester.testing.vector import tile_mvt
from harvester.testing.vector_service import described, indexed, listed, resources
from harvester.tiling.tile import Tile

ROOT = "/arcgis/rest/services"

TILEMAPS = ("off", "on", "short", "single", "invalid", "adjusted", "moved", "422", "error", "html")
"""What the tilemap resource may do: nothing; the truth; or one of the ways in which real ones go wrong."""

CONTENT_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "pbf": "application/x-protobuf"}

_KINDS = {"map": "MapServer", "image": "ImageServer", "vector": "VectorTileServer"}


@dataclass(kw_only=True, eq=False)
class ArcGisSite:
    """What the service is. Any field may be changed while it runs (a tile changes, a tilemap begins to lie)."""

    grid: Grid = WEB_MERCATOR
    kind: str = "map"
    """``map``, ``image`` or ``vector``; vector tiles come with a style, sprites and fonts (``resources``)."""
    name: str = "Streets"
    """May hold a folder: ``City/Streets``."""
    format: str = "PNG"
    """As the document says it; JPEG, JPG give JPEG tiles, MIXED gives JPEG where row + col is odd, others PNG."""
    tile: Callable[[Tile], bytes] | None = None
    """The bytes of a tile; None: a picture of the scheme's size that is unique for the tile and ``variant``."""
    variant: int = 0
    """Content of the pictures: another number (0..254) is another content of every tile."""
    padding: int = 0
    """Bytes by which every picture is made heavier."""
    absent: Callable[[Tile], bool] = lambda tile: False
    """Tiles that the service doesn't have."""
    blank: bool = False
    """Absent tiles get a placeholder with ``blank-tile: true``, unless the client says ``blankTile=false``."""
    tilemap: str = "off"
    tilemap_says: Callable[[Tile], bool] | None = None
    """What the tilemap claims about a tile; None: the truth."""
    etags: bool = True
    min_lod: int | None = None
    max_lod: int | None = None
    version: float = 11.1
    copyright: str = "Test data, public domain"
    tile_servers: tuple[str, ...] = ()
    """Service URLs for the document's ``tileServers``."""
    document: Mapping[str, Any] = field(default_factory=dict)
    """Replaces top-level fields of the document; None as a value removes the field."""
    raw_document: bytes | None = None
    """The document's bytes as they stand."""
    index: bool = False
    """A vector tile service says which tiles there are in one document, ``tilemap``."""
    resources: Mapping[str, bytes] = field(default_factory=resources)
    """What a vector tile service has below ``resources/``, by name; a font's name holds blanks."""
    office: TicketOffice | None = None
    """Gives out and checks tokens; None: the service is open."""
    secure: bool = False
    """Served over TLS, as links in documents say; FaultyService sets it."""

    def __post_init__(self) -> None:
        if self.tilemap not in TILEMAPS:
            raise ValueError(f"tilemap is one of {', '.join(TILEMAPS)}")
        if self.kind not in _KINDS:
            raise ValueError(f"kind is one of {', '.join(_KINDS)}")

    @property
    def path(self) -> str:
        """The service's path, without a slash at its end."""
        return f"{ROOT}/{self.name}/{_KINDS[self.kind]}"

    def place(self, method: str, target: str) -> Place:
        """What a request asks for."""
        path = target.partition("?")[0]
        if not path.startswith(self.path):
            if path.endswith("/generateToken"):
                return Place("token")
            return Place("info" if path.rstrip("/") == "/arcgis/rest/info" else "other")
        words = path[len(self.path) :].split("/")[1:]
        try:
            if words[:1] == ["tile"] and len(words) == 4:
                words[3] = words[3].removesuffix(".pbf") if self.kind == "vector" else words[3]
                return Place("tile", Tile(int(words[1]), int(words[2]), int(words[3])))
            if words[:1] == ["tilemap"] and len(words) == 6:
                level, row, col, width, height = (int(word) for word in words[1:])
                return Place("tilemap", Tile(level, row, col), (width, height))
        except ValueError:
            return Place("other")
        if self.kind == "vector" and words == ["tilemap"]:
            return Place("index")
        if self.kind == "vector" and words[:1] == ["resources"]:
            return Place("resource")
        return Place("document" if words in ([], [""]) else "other")

    def answer(self, asked: Asked) -> Reply:
        """The right answer."""
        kind = asked.kind
        if self.office is not None:
            if kind == "token":
                return self.office.sell(asked)
            if kind in ("document", "tile", "tilemap", "resource", "index"):
                refusal = self.office.check(asked, lambda: self.picture(Tile(0, 0, 0), variant=255))
                if refusal is not None:
                    return refusal
        if kind == "tile" and asked.tile is not None:
            return self._tile(asked, asked.tile)
        if kind == "tilemap":
            return self._tilemap(asked)
        if kind == "document":
            if self.raw_document is not None:
                return Reply(body=self.raw_document, content_type=JSON)
            return json_reply(self.describe())
        if kind == "index" and self.index:
            return json_reply({"index": indexed(self._has, self.grid.scheme)})
        if kind == "resource":
            return self._resource(unquote(asked.path[len(self.path) :]).removeprefix("/resources/"))
        if kind == "info":
            tokens: dict[str, Any] = {"isTokenBasedSecurity": self.office is not None}
            if self.office is not None:
                tokens["tokenServicesUrl"] = f"{self._origin(asked)}/arcgis/tokens/"
            info = {"currentVersion": self.version, "authInfo": tokens}
            if self.office is not None and self.office.federated:
                info["owningSystemUrl"] = self.office.portal or f"{self._origin(asked)}/portal"
                tokens["tokenServicesUrl"] = f"{info['owningSystemUrl']}/sharing/rest/generateToken"
            return json_reply(info)
        return Reply(status=404, body=b"<html><body>Not Found</body></html>", content_type="text/html")

    def _origin(self, asked: Asked) -> str:
        """Where the client believes to be, by its Host header."""
        return f"{'https' if self.secure else 'http'}://{asked.headers.get('host', '127.0.0.1')}"

    # ---- tiles

    def body(self, tile: Tile) -> bytes:
        """What a whole answer to this tile holds: what a cache must hold in the end."""
        if self.tile is not None:
            return self.tile(tile)
        return self._draw(
            tile, self._format(tile), self.variant, self.grid.scheme.tile_width, self.grid.scheme.tile_height
        )

    def picture(
        self, tile: Tile, *, width: int = 0, height: int = 0, other_format: bool = False, variant: int = 0
    ) -> Reply:
        """A tile as it should not be; a width or height of 0 is the scheme's, below 0 twice the scheme's."""
        scheme = self.grid.scheme
        width = width if width > 0 else scheme.tile_width * (1 if width == 0 else 2)
        height = height if height > 0 else scheme.tile_height * (1 if height == 0 else 2)
        kind = self._format(tile)
        if other_format:
            kind = "png" if kind == "jpg" else "jpg"
        return Reply(body=self._draw(tile, kind, variant, width, height), content_type=CONTENT_TYPES[kind])

    def _resource(self, name: str) -> Reply:
        """A style, a sprite or glyphs; ``info`` lists them."""
        name = f"{name}/root.json" if name == "styles" else name
        body = listed(self.resources) if name == "info" else self.resources.get(name)
        if body is None:
            return Reply(status=404, body=b"<html><body>Not Found</body></html>", content_type="text/html")
        ending = name.rpartition(".")[2]
        return Reply(body=body, content_type=CONTENT_TYPES.get(ending, JSON))

    def _format(self, tile: Tile) -> str:
        if self.kind == "vector":
            return "pbf"
        name = self.format.lower()
        if name in ("jpeg", "jpg") or (name == "mixed" and (tile.row + tile.col) % 2):
            return "jpg"
        return "png"

    def _draw(self, tile: Tile, kind: str, variant: int, width: int, height: int) -> bytes:
        if kind == "pbf":
            return tile_mvt(tile.level, tile.row, tile.col, variant=variant, padding=self.padding)
        draw = tile_jpeg if kind == "jpg" else tile_png
        return draw(tile.level, tile.row, tile.col, width, height, variant=variant, padding=self.padding)

    def _tile(self, asked: Asked, tile: Tile) -> Reply:
        if tile.level not in self.grid.scheme.by_level or tile.row < 0 or tile.col < 0 or self.absent(tile):
            if self.blank and asked.query.get("blankTile") != "false":
                picture = self.picture(tile, variant=255)
                return Reply(body=picture.body, content_type=picture.content_type, headers=(("blank-tile", "true"),))
            return Reply(status=404, body=b"<html><body>Tile not found</body></html>", content_type="text/html")
        body = self.body(tile)
        headers: Headers = ()
        if self.etags:
            etag = f'"{zlib.crc32(body):08x}"'
            headers = (("ETag", etag), ("Cache-Control", "max-age=86400"))
            if b"one-" in asked.raw.lower() and etag in asked.headers.get("if-none-match", ""):
                return Reply(status=304, headers=headers)
        if self.kind == "vector" and body[:2] == b"\x1f\x8b":
            headers = (*headers, ("Content-Encoding", "gzip"))
        kind = "png" if body[:4] == b"\x89PNG" else "jpg" if body[:2] == b"\xff\xd8" else self._format(tile)
        return Reply(body=body, content_type=CONTENT_TYPES[kind], headers=headers)

    # ---- tilemap

    def _tilemap(self, asked: Asked) -> Reply:
        return answer_window(asked, self.tilemap, self.tilemap_says or self._has)

    def _has(self, tile: Tile) -> bool:
        return tile.level in self.grid.scheme.by_level and not self.absent(tile)

    # ---- document

    def describe(self) -> dict[str, Any]:
        """The service document (``?f=json``)."""
        scheme, extent = self.grid.scheme, self.grid.extent
        crs = scheme.crs
        reference: dict[str, Any] = {"wkid": crs.wkid} if crs.wkid is not None else {"wkt": crs.wkt}
        if crs.latest_wkid is not None:
            reference["latestWkid"] = crs.latest_wkid
        box = {**extent._asdict(), "spatialReference": reference}
        document: dict[str, Any] = {
            "currentVersion": self.version,
            "serviceDescription": f"{self.name} for tests",
            "mapName": "Layers",
            "description": "",
            "copyrightText": self.copyright,
            "layers": [{"id": 0, "name": self.name, "parentLayerId": -1, "subLayerIds": None}],
            "tables": [],
            "spatialReference": reference,
            "singleFusedMapCache": True,
            "tileInfo": {
                "rows": scheme.tile_height,
                "cols": scheme.tile_width,
                "dpi": int(scheme.dpi),
                "format": self.format,
                "compressionQuality": 75 if self.format.lower() in ("jpeg", "jpg", "mixed") else 0,
                "origin": {"x": scheme.origin_x, "y": scheme.origin_y},
                "spatialReference": reference,
                "lods": [{"level": lod.level, "resolution": lod.resolution, "scale": lod.scale} for lod in scheme.lods],
            },
            "initialExtent": box,
            "fullExtent": box,
            "minScale": scheme.lods[0].scale,
            "maxScale": scheme.lods[-1].scale,
            "units": self.grid.units,
            "capabilities": ("Map,TilesOnly" if self.kind == "map" else "Image")
            + (",Tilemap" if self.tilemap != "off" else ""),
            "exportTilesAllowed": False,
            "tileServers": list(self.tile_servers) or None,
        }
        if self.kind == "vector":
            document = described(document, self.name) | ({"tileMap": "tilemap"} if self.index else {})
        if self.kind == "image":
            document |= {"name": self.name, "cacheType": "Map", "pixelType": "U8", "bandCount": 3}
        if self.min_lod is not None or self.max_lod is not None:
            document |= {"minLOD": self.min_lod, "maxLOD": self.max_lod}
        document |= self.document
        return {key: value for key, value in document.items() if key not in self.document or value is not None}


class FaultyService(FaultServer):
    """An ArcGIS service under a script. ``url`` is what a person types."""

    site: ArcGisSite

    def __init__(
        self,
        site: ArcGisSite | None = None,
        script: Script | None = None,
        *,
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        keep: int | None = None,
    ) -> None:
        super().__init__(
            site or ArcGisSite(), script, port=port, ssl_context=ssl_context, clock=clock, wall=wall, keep=keep
        )
        self.site.secure = ssl_context is not None

    @property
    def url(self) -> str:
        """The service's URL."""
        return self.origin + self.site.path
