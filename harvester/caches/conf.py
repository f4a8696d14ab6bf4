"""The two XML files in which a cache folder says what it is: conf.xml and conf.cdi.

Source: Esri, "Compact Cache V2" and files that ArcGIS 9.3 to 10.7 and Pro wrote. Elements are found by name, wherever
they stand and in whatever namespace, since their order differs between versions.

conf.xml:
    CacheInfo
      TileCacheInfo     SpatialReference (WKT, domain, WKID, LatestWKID), TileOrigin (X, Y), TileCols, TileRows, DPI,
                        PreciseDPI, LODInfos / LODInfo (LevelID, Scale, Resolution), from the coarsest to the finest
      TileImageInfo     CacheTileFormat, CompressionQuality, Antialiasing, BandCount, LERCError
      CacheStorageInfo  StorageFormat, PacketSize (128)
conf.cdi:
    EnvelopeN           XMin, YMin, XMax, YMax of the data, SpatialReference
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from harvester.caches.description import EXPLODED, Description, domain, make_scheme, unreadable
from harvester.caches.xml_patch import escaped
from harvester.crs import Crs
from harvester.errors import CacheError, HarvesterError
from harvester.tiling.scheme import Box, Lod, TilingScheme

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_TYPENS = "http://www.esri.com/schemas/ArcGIS/10.3"

LOD_TYPE = " xsi:type='typens:LODInfo'"

_ROOT = (
    '<?xml version="1.0" encoding="utf-8" ?><{tag} xsi:type=\'typens:{tag}\' '
    "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xmlns:xs='http://www.w3.org/2001/XMLSchema' "
    f"xmlns:typens='{_TYPENS}'>{{body}}</{{tag}}>"
)


def render_conf(about: Description) -> bytes:
    """conf.xml; LODs as ``about.scheme`` lists them, coordinates with 17 significant digits."""
    scheme = about.scheme
    body = (
        f"<TileCacheInfo xsi:type='typens:TileCacheInfo'>{_spatial_reference(scheme)}"
        f"<TileOrigin xsi:type='typens:PointN'><X>{number(scheme.origin_x)}</X><Y>{number(scheme.origin_y)}</Y>"
        f"</TileOrigin><TileCols>{scheme.tile_width}</TileCols><TileRows>{scheme.tile_height}</TileRows>"
        f"<DPI>{round(scheme.dpi)}</DPI><PreciseDPI>{number(scheme.dpi)}</PreciseDPI>"
        f"<LODInfos xsi:type='typens:ArrayOfLODInfo'>{render_lods(scheme.lods)}</LODInfos></TileCacheInfo>"
        "<TileImageInfo xsi:type='typens:TileImageInfo'>"
        f"<CacheTileFormat>{escaped(about.format_name)}</CacheTileFormat>"
        f"<CompressionQuality>{number(about.compression_quality)}</CompressionQuality>"
        "<Antialiasing>false</Antialiasing><BandCount>1</BandCount><LERCError>0</LERCError></TileImageInfo>"
        "<CacheStorageInfo xsi:type='typens:CacheStorageInfo'>"
        f"<StorageFormat>{about.storage_format}</StorageFormat><PacketSize>{about.packet_size}</PacketSize>"
        "</CacheStorageInfo>"
    )
    return render_document("CacheInfo", body)


def render_lods(lods: Iterable[Lod]) -> str:
    """What is in LODInfos; without LOD_TYPE it needs no prefix."""
    return "".join(
        f"<LODInfo{LOD_TYPE}><LevelID>{lod.level}</LevelID><Scale>{number(lod.scale)}</Scale>"
        f"<Resolution>{number(lod.resolution)}</Resolution></LODInfo>"
        for lod in lods
    )


def render_cdi(about: Description) -> bytes:
    """conf.cdi: the extent of the data, which must be known."""
    if about.extent is None:
        raise ValueError("conf.cdi needs an extent")
    xmin, ymin, xmax, ymax = map(number, about.extent)
    body = f"<XMin>{xmin}</XMin><YMin>{ymin}</YMin><XMax>{xmax}</XMax><YMax>{ymax}</YMax>"
    return render_document("EnvelopeN", body + _spatial_reference(about.scheme))


def render_document(tag: str, body: str) -> bytes:
    """A document of the same family, of a root element and what is in it."""
    return _ROOT.format(tag=tag, body=body).encode()


def _spatial_reference(scheme: TilingScheme) -> str:
    geographic = scheme.crs.is_geographic
    kind = "GeographicCoordinateSystem" if geographic else "ProjectedCoordinateSystem"
    grid = domain(scheme)
    stated = scheme.crs.spatial_reference()
    numbers = (("WKID", stated.get("wkid")), ("LatestWKID", stated.get("latestWkid")))
    wkt = escaped(scheme.crs.esri_wkt()).replace('"', "&quot;")
    return (
        f"<SpatialReference xsi:type='typens:{kind}'><WKT>{wkt}</WKT>"
        f"<XOrigin>{number(grid.x)}</XOrigin><YOrigin>{number(grid.y)}</YOrigin><XYScale>{number(grid.units)}</XYScale>"
        "<ZOrigin>-100000</ZOrigin><ZScale>10000</ZScale><MOrigin>-100000</MOrigin><MScale>10000</MScale>"
        f"<XYTolerance>{number(grid.tolerance)}</XYTolerance><ZTolerance>0.001</ZTolerance>"
        "<MTolerance>0.001</MTolerance><HighPrecision>true</HighPrecision>"
        + ("<LeftLongitude>-180</LeftLongitude>" if geographic else "")
        + "".join(f"<{tag}>{number}</{tag}>" for tag, number in numbers if number is not None)
        + "</SpatialReference>"
    )


def number(value: float) -> str:
    """17 significant digits, as ArcGIS writes them: enough for every double; no exponent for large numbers."""
    text = format(value, ".17g")
    return text if "e" not in text or abs(value) < 1 else format(value, ".0f")


def parse_conf(data: bytes, where: str) -> Description:
    """Read conf.xml, whatever storage format it states. ``where`` names the file in messages. Raises CacheError."""
    root = _parse(data, where)
    if _local(root) != "CacheInfo":
        raise unreadable(where, f"its root element is {_local(root)!r}, not 'CacheInfo'")
    cache = _need(root, "TileCacheInfo", where)
    origin = _need(cache, "TileOrigin", where)
    lods = _lods(cache, where)
    dpi = _decimal(cache, "PreciseDPI", where, default=0.0) or _decimal(cache, "DPI", where, default=96.0)
    scheme = make_scheme(
        crs=_crs(_need(cache, "SpatialReference", where), where),
        origin=(_decimal(origin, "X", where), _decimal(origin, "Y", where)),
        tile=(_whole(cache, "TileCols", where), _whole(cache, "TileRows", where)),
        lods=lods,
        dpi=dpi,
        where=where,
    )
    image, storage = _find(root, "TileImageInfo"), _find(root, "CacheStorageInfo")
    return Description(
        scheme=scheme,
        format_name=_text(image, "CacheTileFormat") if image is not None else "",
        compression_quality=0.0 if image is None else _decimal(image, "CompressionQuality", where, default=0.0),
        # Caches of 9.x have no such element: they are exploded.
        storage_format=EXPLODED if storage is None else _text(storage, "StorageFormat"),
        packet_size=0 if storage is None else _whole(storage, "PacketSize", where, default=0),
    )


def parse_cdi(data: bytes, where: str) -> Box:
    """Read conf.cdi: the extent of the data. Raises CacheError."""
    root = _parse(data, where)
    if _local(root) != "EnvelopeN":
        raise unreadable(where, f"its root element is {_local(root)!r}, not 'EnvelopeN'")
    box = Box(*(_decimal(root, name, where) for name in ("XMin", "YMin", "XMax", "YMax")))
    if box.xmin > box.xmax or box.ymin > box.ymax:
        raise unreadable(where, "its extent is inside out")
    return box


def parse_lods(data: bytes, where: str) -> list[Lod]:
    """The LODs of conf.xml in the order in which they stand there. Raises CacheError."""
    return _lods(_need(_parse(data, where), "TileCacheInfo", where), where)


def _lods(cache: Element, where: str) -> list[Lod]:
    return [
        Lod(
            level=_whole(lod, "LevelID", where),
            resolution=_decimal(lod, "Resolution", where),
            scale=_decimal(lod, "Scale", where, default=0.0),
        )
        for lod in _find_all(_need(cache, "LODInfos", where), "LODInfo")
    ]


def parse_texts(data: bytes, where: str, names: Iterable[str]) -> dict[str, str]:
    """The texts of some elements below a document's root, empty where there are none. Raises CacheError."""
    root = _parse(data, where)
    return {name: _text(root, name) for name in names}


def _parse(data: bytes, where: str) -> Element:
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root: Element = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as cause:
        raise unreadable(where, f"it is not plain XML ({cause})") from cause
    return root


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _find_all(element: Element, name: str) -> Iterator[Element]:
    return (child for child in element if _local(child) == name)


def _find(element: Element, name: str) -> Element | None:
    return next(_find_all(element, name), None)


def _need(element: Element, name: str, where: str) -> Element:
    found = _find(element, name)
    if found is None:
        raise unreadable(where, f"{_local(element)} has no {name}")
    return found


def _text(element: Element, name: str) -> str:
    found = _find(element, name)
    return "" if found is None else (found.text or "").strip()


def _decimal(element: Element, name: str, where: str, default: float | None = None) -> float:
    text = _text(element, name)
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError as cause:
        raise unreadable(where, f"{name} is {text[:40]!r}, not a number") from cause
    if not math.isfinite(value):
        raise unreadable(where, f"{name} is {text[:40]!r}")
    return value


def _whole(element: Element, name: str, where: str, default: int | None = None) -> int:
    value = _decimal(element, name, where, None if default is None else float(default))
    if value != int(value):
        raise unreadable(where, f"{name} is {value}, not a whole number")
    return int(value)


def _crs(element: Element, where: str) -> Crs:
    stated: dict[str, object] = {}
    for key, tag in (("wkid", "WKID"), ("latestWkid", "LatestWKID")):
        if number := _whole(element, tag, where, default=0):
            stated[key] = number
    if wkt := _text(element, "WKT"):
        stated["wkt"] = wkt
    try:
        return Crs.from_service(stated, f"{where}: SpatialReference")
    except HarvesterError as cause:
        raise CacheError(cause.message, hint=cause.hint) from cause
