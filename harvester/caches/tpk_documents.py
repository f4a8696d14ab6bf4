"""The documents of a tile package (.tpk): item.pkinfo, iteminfo.xml, mapserver.json and conf.properties.

Source: packages that ArcGIS 10.3 wrote; readers take these elements for granted, so all of them are written, the empty
ones too.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, NamedTuple

from harvester.caches import conf
from harvester.caches.description import Description, domain
from harvester.caches.xml_patch import escaped
from harvester.errors import CacheError
from harvester.tiling.scheme import Box


class Kind(NamedTuple):
    """What a package is, in the words of its documents."""

    type: str
    version: str
    """Of the ArcGIS whose packages these documents follow."""
    keywords: tuple[str, ...]


TILES = Kind("Tile Package", "10.3", ("Data", "Tile Package", "ArcMap", "ArcGlobe", "tpk"))
VECTOR_TILES = Kind("Vector Tile Package", "11.2", ("Data", "Vector Tile Package", "vtpk"))

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to say."""

_INTEGERS = 2**53
"""Coordinates are kept as integers of so many units (``description.domain``)."""


def render_pkinfo(about: Description, guid: str, kind: Kind = TILES) -> bytes:
    """item.pkinfo; ``guid`` of 36 characters."""
    fields = {
        "ID": guid,
        "name": about.name,
        "version": kind.version,
        "size": "-1",
        "created": "",
        "type": kind.type,
        "servable": "false",
        "packagelocation": "",
        "pkinfolocation": "",
    }
    style = '<?xml-stylesheet type="text/xsl" href="http://www.arcgisonline.com/home/pkinfostylesheet.xsl"?>\n'
    return _document("pkinfo", _elements(fields), style)


def render_iteminfo(about: Description, guid: str, box: Box, kind: Kind = TILES) -> bytes:
    """iteminfo.xml; ``guid`` of 36 characters, ``box`` in degrees."""
    keywords = "".join(f"<typekeyword>{word}</typekeyword>\n" for word in kind.keywords)
    extent = "".join(f"<{name}>{format(value, '.15g')}</{name}>\n" for name, value in box._asdict().items())
    first = {
        "name": about.name,
        "guid": guid,
        "catalogpath": "",
        "snippet": about.description,
        "description": about.description,
        "summary": about.description,
        "title": about.name,
        "tags": "",
        "type": kind.type,
    }
    last = {
        "spatialreference": _reference_name(about),
        "accessinformation": about.attribution,
        "licenseinfo": "",
    }
    middle = {"thumbnail": "thumbnail/thumbnail.png", "documentation": "", "url": "", "datalastmodifiedtime": ""}
    body = (
        _elements(first)
        + f"<typekeywords>\n{keywords}</typekeywords>\n"
        + _elements(middle)
        + f"<extent>\n{extent}</extent>\n"
        + _elements(last)
    )
    return _document("ESRI_ItemInformation", body)


def render_mapserver(about: Description, map_name: str, box: Box) -> bytes:
    """mapserver.json: the service that the package stands for, without layers; ``box`` in degrees.

    As ArcGIS writes it, it has no tiling scheme: that is in conf.xml.
    """
    scheme = about.scheme
    reference = scheme.crs.spatial_reference()
    contents: dict[str, Any] = {
        "currentVersion": 10.31,
        "serviceDescription": about.description,
        "mapName": map_name,
        "description": about.description,
        "copyrightText": about.attribution,
        "supportsDynamicLayers": False,
        "layers": [],
        "tables": [],
        "spatialReference": reference,
        "singleFusedMapCache": False,
    }
    if about.extent is not None:
        extent = {**about.extent._asdict(), "spatialReference": reference}
        contents |= {"initialExtent": extent, "fullExtent": extent}
    contents |= {
        "minScale": 0,
        "maxScale": 0,
        "units": scheme.crs.unit_name(),
        "supportedImageFormatTypes": "PNG32,PNG24,PNG,JPG",
        "documentInfo": {
            "Title": about.name,
            "Author": "",
            "Comments": "",
            "Subject": "",
            "Category": "",
            "Keywords": "",
        },
        "capabilities": "Map",
        "exportTilesAllowed": False,
    }
    grid = domain(scheme)
    side = _INTEGERS / grid.units
    document = {
        "name": "MapServer",
        "contents": contents,
        "resourceInfo": {
            "geoFullExtent": box._asdict(),
            "spatialReferenceDomain": {"xmin": grid.x, "ymin": grid.y, "xmax": grid.x + side, "ymax": grid.y + side},
            "geoInitialExtent": box._asdict(),
        },
        "resources": [
            {"name": "layers", "resources": []},
            {"name": "tables", "resources": []},
            {"name": "legend", "contents": {"layers": []}},
        ],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def render_properties() -> bytes:
    """conf.properties: these are tiles of a map."""
    body = (
        "<PropertyArray xsi:type='typens:ArrayOfPropertySetProperty'>"
        "<PropertySetProperty xsi:type='typens:PropertySetProperty'><Key>CacheTileContentType</Key>"
        "<Value xsi:type='xs:string'>Map</Value></PropertySetProperty></PropertyArray>"
    )
    return conf.render_document("PropertySet", body)


def with_item(about: Description, data: bytes, where: str) -> Description:
    """The description with the texts of iteminfo.xml; as it was where that can't be read."""
    try:
        texts = conf.parse_texts(data, where, ("title", "name", "description", "accessinformation"))
    except CacheError:
        return about
    return replace(
        about,
        name=texts["title"] or texts["name"] or about.name,
        description=texts["description"],
        attribution=texts["accessinformation"],
    )


def _reference_name(about: Description) -> str:
    """The first name in the CRS's WKT, such as ``WGS_1984_Web_Mercator_Auxiliary_Sphere``."""
    found = re.search('"([^"]*)"', about.scheme.crs.esri_wkt())
    return found[1] if found else ""


def _elements(texts: dict[str, str]) -> str:
    return "".join(f"<{name}>{escaped(_NO_XML.sub('', text))}</{name}>\n" for name, text in texts.items())


def _document(tag: str, body: str, style: str = "") -> bytes:
    text = f'<?xml version="1.0" encoding="utf-8" ?>\n{style}<{tag} Culture=\'en-US\'>\n{body}</{tag}>\n'
    return text.encode()
