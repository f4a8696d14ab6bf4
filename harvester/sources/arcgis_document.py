"""The document of an ArcGIS map, image or vector tile service, read strictly: what tiles it serves, or why none.

Fields as in Esri's REST reference, "Map service", "Image service" and "Vector Tile Service" resources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harvester.crs import Crs, project_box
from harvester.edges import ServiceInfo, TileFormat
from harvester.errors import HarvesterError, SourceError
from harvester.sources.fields import Fields, as_number
from harvester.sources.service_url import ServiceUrl
from harvester.tiling.scheme import GOOGLE_ORIGIN, Box, Lod, TilingScheme

MAX_LODS = 64
"""The longest real schemes list 24 LODs."""

MIN_TILE_PIXELS, MAX_TILE_PIXELS = 16, 8192
"""Real tiles are 128 to 1024 pixels wide."""

MIN_RESOLUTION, MAX_RESOLUTION = 1e-12, 1e9
"""Map units per pixel, from a micrometre in degrees to more than the Earth in feet."""

MAX_INDEX = 1 << 31
"""Rows and columns beyond this are no real grid (zoom 31), and no client or cache can address them."""

MAX_COORDINATE = 1e15

END_SLACK_METRES = 1000.0
"""By which an extent may pass the antimeridian, or end before it, through rounding and padding."""

FORMATS = {
    "png": TileFormat.PNG,
    "png8": TileFormat.PNG,
    "png24": TileFormat.PNG,
    "png32": TileFormat.PNG,
    "jpg": TileFormat.JPEG,
    "jpeg": TileFormat.JPEG,
    "mixed": TileFormat.MIXED,
    "webp": TileFormat.WEBP,
    "lerc": TileFormat.LERC,
    "lerc2d": TileFormat.LERC,
    "pbf": TileFormat.PBF,
    "indexedvector": TileFormat.PBF,
}

TILES_HINT = "Only a service with a cache of tiles can be taken offline: ask its owner for one."


class NotTiledError(SourceError):
    """A service that works but serves no tiles."""

    code = "not-tiled"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDocument:
    """A tiled service: what everyone may know of it, and what asking it for tiles needs."""

    info: ServiceInfo
    version: float
    """``currentVersion``: 10.81, 11.1; 0 where it states none."""
    tile_servers: tuple[str, ...]
    """``tileServers`` as stated: addresses of services that serve the same tiles; not yet trusted."""


def parse_service(document: object, url: ServiceUrl) -> ServiceDocument:
    """Read a service document. Raises NotTiledError, or SourceError that names the field that is wrong."""
    fields = Fields(document, str(url))
    tile_info = _tile_info(fields, url)
    notices: list[str] = []
    scheme = _scheme(tile_info, fields)
    extent = _extent(fields, scheme, notices)
    format_name = tile_info.text("format")
    tile_format = FORMATS.get(format_name.lower(), TileFormat.UNKNOWN)
    if url.kind == "arcgis-vector":
        tile_format = TileFormat.PBF
    if tile_format is TileFormat.UNKNOWN:
        said = f"calls its tile format {format_name!r}" if format_name else "states no tile format"
        notices.append(f"the service {said}: every known kind of tile is taken")
    min_lod, max_lod = _range(fields, scheme, notices)
    export_tiles = fields.flag("exportTilesAllowed")
    if export_tiles is False:
        notices.append(
            "the service says exportTilesAllowed = false: its owner has not released it for offline use; "
            "make sure that its terms allow what you do"
        )
    capabilities = {word.strip().lower() for word in fields.text("capabilities").split(",")}
    info = ServiceInfo(
        source=str(url),
        identity=str(url),
        kind=url.kind,
        name=_name(fields, url),
        scheme=scheme,
        extent=extent,
        tile_format=tile_format,
        format_name=format_name,
        compression_quality=as_number(tile_info.get("compressionQuality")) or 0.0,
        min_lod=min_lod,
        max_lod=max_lod,
        attribution=fields.text("copyrightText"),
        description=fields.text("serviceDescription") or fields.text("description"),
        tilemap="tilemap" in capabilities,
        export_tiles=bool(export_tiles),
        max_export_tiles=fields.whole_or_none("maxExportTilesCount"),
        notices=tuple(notices),
    )
    return ServiceDocument(
        info=info, version=as_number(fields.get("currentVersion")) or 0.0, tile_servers=_tile_servers(fields)
    )


def _tile_info(fields: Fields, url: ServiceUrl) -> Fields:
    """``tileInfo`` of a service that has a cache; else an error that says what this is instead."""
    if fields.get("tileInfo") is None:
        services = fields.get("services")
        if isinstance(services, list):
            raise NotTiledError(f"{url} is a folder of services, not a service", hint=_listing(services, fields))
        if not url.named and "currentVersion" not in fields.values:
            raise SourceError(
                f"{url} is no ArcGIS service",
                hint="The address of a service ends in /MapServer, /ImageServer or /VectorTileServer.",
            )
        raise NotTiledError(f"{url} has no tiles: it draws its pictures on request (no tileInfo)", hint=TILES_HINT)
    if fields.flag("singleFusedMapCache") is False:
        raise NotTiledError(
            f"{url} has no tiles: it draws its pictures on request (singleFusedMapCache = false)",
            hint=TILES_HINT,
        )
    return fields.child("tileInfo")


def _listing(services: list[Any], fields: Fields) -> str:
    """A few of a folder's map and image services, so that a person can pick one."""
    names = [
        f"{service['name']}/{service['type']}"
        for service in services
        if isinstance(service, dict)
        and isinstance(service.get("name"), str)
        and service.get("type") in ("MapServer", "ImageServer", "VectorTileServer")
    ]
    if names:
        return "Name one of its services: " + ", ".join(name[:80] for name in names[:5])
    folders = [folder[:80] for folder in fields.get("folders") or () if isinstance(folder, str)]
    return "Look into its folders: " + ", ".join(folders[:5]) if folders else "It lists no map or image service."


def _scheme(tile_info: Fields, fields: Fields) -> TilingScheme:
    origin = tile_info.child("origin")
    lods = [
        Lod(
            level=lod.integer("level", low=0, high=MAX_INDEX),
            resolution=lod.number("resolution", low=MIN_RESOLUTION, high=MAX_RESOLUTION),
            scale=lod.number("scale", low=1e-6, high=1e15),
        )
        for lod in tile_info.children("lods", MAX_LODS)
    ]
    if len({lod.level for lod in lods}) != len(lods):
        raise tile_info.error("lods", "names a level twice")
    if len({lod.resolution for lod in lods}) != len(lods):
        raise tile_info.error("lods", "has two levels of the same resolution")
    return TilingScheme(
        crs=_crs(tile_info, fields),
        origin_x=origin.number("x", low=-MAX_COORDINATE, high=MAX_COORDINATE),
        origin_y=origin.number("y", low=-MAX_COORDINATE, high=MAX_COORDINATE),
        tile_width=tile_info.integer("cols", low=MIN_TILE_PIXELS, high=MAX_TILE_PIXELS),
        tile_height=tile_info.integer("rows", low=MIN_TILE_PIXELS, high=MAX_TILE_PIXELS),
        lods=tuple(sorted(lods, key=lambda lod: -lod.resolution)),
        dpi=tile_info.number("dpi", low=1, high=10_000) if tile_info.get("dpi") is not None else 96.0,
    )


def _crs(tile_info: Fields, fields: Fields) -> Crs:
    """The scheme's own CRS; the document's where ``tileInfo`` states none."""
    if tile_info.get("spatialReference"):
        return Crs.from_service(tile_info.get("spatialReference"), tile_info.place("spatialReference"))
    return Crs.from_service(fields.get("spatialReference"), fields.place("spatialReference"))


def _extent(fields: Fields, scheme: TilingScheme, notices: list[str]) -> Box | None:
    """``fullExtent`` (an image service may state ``extent``) in the scheme's CRS; None and a notice if unusable."""
    name = "fullExtent" if fields.get("fullExtent") is not None else "extent"
    value = fields.get(name)
    if value is None:
        notices.append("the service states no full extent")
        return None
    numbers = [as_number(value.get(key)) if isinstance(value, dict) else None for key in Box._fields]
    sides = [number for number in numbers if number is not None and abs(number) <= MAX_COORDINATE]
    if len(sides) != 4 or not (sides[0] < sides[2] and sides[1] < sides[3]):
        notices.append(f"the service's {name} is not usable and bounds nothing")
        return None
    box = Box(*sides)
    stated = value.get("spatialReference") or fields.get("spatialReference")
    try:
        crs = Crs.from_service(stated, f"{name}.spatialReference") if stated else scheme.crs
        if not crs.same_as(scheme.crs):
            box = project_box(box, crs, scheme.crs)
    except HarvesterError as error:
        notices.append(
            f"the service's {name} can't be brought into the tiles' CRS and bounds nothing ({error.message})"
        )
        return None
    _check_indexes(fields, scheme, box)
    if _passes_the_end(scheme, box):
        notices.append(
            f"the service's {name} passes the antimeridian, where its grid ends: what lies behind that is at the other "
            "end of the grid, and is planned only with an area and --no-extent"
        )
    return box


def _passes_the_end(scheme: TilingScheme, box: Box) -> bool:
    """Whether an extent goes on behind one end of the Google grid without holding the other end."""
    east, west = box.xmax - GOOGLE_ORIGIN, -GOOGLE_ORIGIN - box.xmin
    passes = (east > END_SLACK_METRES and west < -END_SLACK_METRES) or (
        west > END_SLACK_METRES and east < -END_SLACK_METRES
    )
    return passes and any(scheme.google(lod.level) is not None for lod in scheme.lods)


def _check_indexes(fields: Fields, scheme: TilingScheme, box: Box) -> None:
    for lod in scheme.lods:
        width, height = scheme.span(lod.level)
        farthest = max(abs(box.xmax - scheme.origin_x) / width, abs(scheme.origin_y - box.ymin) / height)
        if farthest > MAX_INDEX:
            raise fields.error(
                "tileInfo.lods",
                f"has a resolution of {lod.resolution!r} at level {lod.level}: more columns than any grid",
            )


def _range(fields: Fields, scheme: TilingScheme, notices: list[str]) -> tuple[int | None, int | None]:
    """``minLOD`` and ``maxLOD`` where both are stated and make sense."""
    low, high = fields.whole_or_none("minLOD"), fields.whole_or_none("maxLOD")
    if low is None or high is None:
        return None, None
    if not any(low <= level <= high for level in scheme.by_level):
        notices.append(f"the service states minLOD {low} and maxLOD {high}, which hold none of its LODs: all are taken")
        return None, None
    return low, high


def _name(fields: Fields, url: ServiceUrl) -> str:
    return url.name if url.named else fields.text("name") or fields.text("mapName") or url.name


def _tile_servers(fields: Fields) -> tuple[str, ...]:
    servers = fields.get("tileServers")
    return tuple(server for server in servers if isinstance(server, str)) if isinstance(servers, list) else ()
