"""Web maps: a JSON file or a portal item, and the tiled layers in it, in drawing order; the others with the reason.

Layout: Esri's web map specification, ``operationalLayers`` and ``baseMap.baseMapLayers``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

from harvester.errors import AuthError, SourceError
from harvester.redact import redact_url
from harvester.sources.arcgis_document import NotTiledError
from harvester.sources.fields import as_number
from harvester.sources.service_url import ServiceUrl, parse_service_url
from harvester.transport.documents import MAX_DOCUMENT_BYTES, Document, Documents, read_json
from harvester.transport.origins import Origin, is_allowed, origin_of, same_site

if TYPE_CHECKING:
    from harvester.sources.arcgis import ArcGisSource
    from harvester.sources.open import Asker, Opened, OpenedLayer

MAX_LAYERS = 1000
"""Layers and groups of one map; real ones hold dozens."""

MAX_GROUPS = 16
"""Groups inside groups."""

TILED = frozenset(
    {"ArcGISTiledMapServiceLayer", "ArcGISMapServiceLayer", "ArcGISImageServiceLayer", "ArcGISTiledImageServiceLayer"}
)
VECTOR = "VectorTileLayer"

OTHERS = {
    "WebTiledLayer": "tile templates can't be harvested yet",
    "OpenStreetMap": "the OpenStreetMap servers do not allow bulk download",
    "WMS": "it draws its pictures on request: no tiles",
    "WMTS": "WMTS layers can't be harvested yet",
    "ArcGISFeatureLayer": "it holds features, not tiles",
    "KML": "it holds features, not tiles",
    "CSV": "it holds features, not tiles",
    "GeoRSS": "it holds features, not tiles",
    "GeoJSON": "it holds features, not tiles",
}

WHAT_A_SOURCE_IS = "A source is the address of a service, or the JSON file of a web map."

GEOJSON_TYPES = frozenset({"FeatureCollection", "Feature", "Polygon", "MultiPolygon", "GeometryCollection"})

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ITEM_PATH = re.compile(r"(?i)^(.*?)/sharing(?:/rest)?/content/items/([^/]+)(?:/data)?/?$")
_PAGE_PATH = re.compile(r"(?i)^(.*?)/(?:home|apps)/.*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item of a portal: ``portal`` is the address that ``/sharing/rest`` comes after."""

    portal: ServiceUrl
    id: str

    def url(self, end: str = "") -> str:
        """The address of the item, or of its ``/data``."""
        return f"{self.portal}/sharing/rest/content/items/{self.id}{end}?f=json"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapLayer:
    """One layer as a web map names it; ``url`` may be missing where ``item_id`` names it."""

    title: str
    kind: str
    url: str
    style_url: str
    """Of vector tiles: their style, which says where the service is."""
    item_id: str
    min_scale: float | None
    max_scale: float | None


def is_file(source: str) -> bool:
    """True when what was typed is a file that exists."""
    try:
        return "://" not in source and Path(source).is_file()
    except (OSError, ValueError):
        return False


def item_in(source: str) -> Item | None:
    """The portal item that a typed address names (``item.html?id=``, ``?webmap=``, ``/content/items/ID``), or None."""
    if "://" not in source:
        return None
    try:
        parts = urlsplit(source.strip())
    except ValueError:
        return None
    match, page = _ITEM_PATH.match(parts.path), _PAGE_PATH.match(parts.path)
    if match:
        root, name = match.group(1), match.group(2)
    elif page and "/rest/services/" not in parts.path:
        query = {key.lower(): value for key, value in parse_qsl(parts.query)}
        root, name = page.group(1), query.get("webmap") or query.get("id") or ""
    else:
        return None
    if not _ID.fullmatch(name):
        raise SourceError(f"{redact_url(source)} names no item", hint="An item's address ends in item.html?id=ID.")
    typed = parse_service_url(source)
    return Item(portal=replace(typed, path=quote(root, safe="/%-._~")), id=name)


async def open_file(path: Path, asker: Asker) -> Opened:
    """Open a web map's JSON file. Its http(s) addresses count as typed by the person who named the file."""
    try:
        with path.open("rb") as file:
            body = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{path} can't be read ({error.strerror})", hint="Check its permissions.") from error
    if len(body) > MAX_DOCUMENT_BYTES:
        raise SourceError(f"{path} is larger than {MAX_DOCUMENT_BYTES >> 20} MB: no web map", hint=WHAT_A_SOURCE_IS)
    try:
        document = read_json(Document(str(path), {}, body))
    except SourceError as error:
        raise SourceError(error.message, hint=WHAT_A_SOURCE_IS) from error
    if isinstance(document, dict) and document.get("type") in GEOJSON_TYPES:
        raise SourceError(f"{path} is GeoJSON, no web map", hint=f"An area goes with a source: SOURCE --aoi {path}")
    return await _open_map(document, str(path), None, asker)


async def open_item(item: Item, asker: Asker) -> Opened:
    """Open a portal item: a web map, or the service that an item of another type is about."""
    from harvester.sources.open import Opened, OpenedLayer, open_service

    about = await _portal_json(item, "", asker)
    kind, address = about.get("type"), about.get("url")
    if kind == "Web Map":
        document = await _portal_json(item, "/data", asker)
        return await _open_map(document, _shown(item), item, asker)
    if not isinstance(address, str) or not address.strip():
        raise SourceError(
            f"{_shown(item)} is of type {str(kind)[:60]!r} and names no service",
            hint="Give a web map or a tile layer's item.",
        )
    reason = distrust(address, item.portal.origin, asker.session)
    if reason is not None:
        raise SourceError(f"{_shown(item)}: {reason[0]}", hint=reason[1])
    url = parse_service_url(address)
    typed = same_site(item.portal.origin, url.origin)
    url = replace(url, token=item.portal.token if typed else None, basic=None)
    source = await open_service(url, asker, anonymous_first=not typed)
    await _with_style(source, item, asker)
    return Opened(source=source.info.source, layers=(OpenedLayer(name=source.info.name, source=source),))


async def _with_style(source: ArcGisSource, item: Item, asker: Asker) -> None:
    """Of vector tiles, the style that their item has of its own."""
    if source.info.kind == "arcgis-vector":
        from harvester.sources.vector_layer import take_item_style

        await take_item_style(source, item, asker)


def layers_of(document: Any) -> Iterator[MapLayer]:
    """The layers of a web map from the bottom to the top, those of groups included.

    Basemap layers come first and reference layers of the basemap last, as they are drawn. Raises SourceError.
    """
    if not isinstance(document, dict) or not ("operationalLayers" in document or "baseMap" in document):
        raise SourceError("no web map: neither operationalLayers nor baseMap", hint="Save the web map's data as JSON.")
    base = document.get("baseMap")
    base_layers = _list(base.get("baseMapLayers")) if isinstance(base, dict) else []
    below = [layer for layer in base_layers if not layer.get("isReference")]
    above = [layer for layer in base_layers if layer.get("isReference")]
    for count, layer in enumerate(_flat([*below, *_list(document.get("operationalLayers")), *above], 0)):
        if count >= MAX_LAYERS:
            raise SourceError(f"the web map has more than {MAX_LAYERS} layers")
        yield _layer(layer)


async def _open_map(document: Any, shown: str, item: Item | None, asker: Asker) -> Opened:
    from harvester.sources.open import Opened

    opened: list[OpenedLayer] = []
    skipped: list[tuple[str, str]] = []
    lost: list[tuple[str, SourceError]] = []
    for layer in layers_of(document):
        try:
            result = await _open_layer(layer, item, asker)
        except SourceError as error:
            # One dead layer must not keep a crew from the others; it is told, and the run does not end well.
            lost.append((layer.title, error))
            continue
        if isinstance(result, str):
            skipped.append((layer.title, result))
        else:
            opened.append(result)
    if lost and not opened:
        raise lost[0][1]
    return Opened(source=shown, layers=tuple(opened), skipped=tuple(skipped), lost=tuple(lost), is_map=True)


async def _open_layer(layer: MapLayer, item: Item | None, asker: Asker) -> OpenedLayer | str:
    """The layer's service, or the reason why it isn't taken. Raises SourceError when it should be there and isn't."""
    from harvester.sources.open import open_service

    if layer.kind not in TILED and layer.kind != VECTOR:
        return _why_not(layer.kind)
    address = layer.url
    try:
        if layer.kind == VECTOR and layer.style_url:
            from harvester.sources.vector_layer import open_styled

            opened = await open_styled(layer, item, asker)
            return opened if isinstance(opened, str) else _named(layer, opened)
        if not address and layer.item_id:
            if item is None:
                return "it names only an item of a portal, and a file doesn't say of which portal"
            about = await _portal_json(replace(item, id=layer.item_id), "", asker)
            address = about["url"] if isinstance(about.get("url"), str) else ""
        if not address:
            return "it names no service"
        reason = distrust(address, item.portal.origin if item else None, asker.session)
        if reason is not None:
            return f"{reason[0]}. {reason[1]}"
        url = parse_service_url(address)
        typed = item is not None and same_site(item.portal.origin, url.origin)
        url = replace(url, token=item.portal.token if item is not None and typed else None, basic=None)
        source = await open_service(url, asker, anonymous_first=not typed)
        if item is not None and layer.item_id:
            await _with_style(source, replace(item, id=layer.item_id), asker)
    except NotTiledError as error:
        return error.message
    except SourceError as error:
        kind = AuthError if isinstance(error, AuthError) else SourceError
        raise kind(f"layer {layer.title!r}: {error.message}", hint=error.hint) from error
    return _named(layer, source)


def _named(layer: MapLayer, source: ArcGisSource) -> OpenedLayer:
    from harvester.sources.open import OpenedLayer

    source.info = replace(source.info, min_scale=layer.min_scale, max_scale=layer.max_scale)
    return OpenedLayer(name=layer.title or source.info.name, source=source)


def distrust(address: str, typed: Origin | None, session: Documents) -> tuple[str, str] | None:
    """Why an address found in a document may not be asked, and what to do; None when it may.

    ``typed`` is where the document came from; None for a file, whose http(s) addresses are the person's own.
    """
    found = origin_of(address)
    if found is None:
        return f"{redact_url(address)[:200]} is no http(s) address", "Mend it in the web map."
    if typed is None or same_site(typed, found) or is_allowed(found, session.allow_hosts):
        return None
    return f"its service is on another host, {found}", f"Allow it if you trust it: --allow-host {found.place}"


async def _portal_json(item: Item, end: str, asker: Asker) -> dict[str, Any]:
    value, _, _ = await asker.get_json(item.portal, item.url(end))
    if not isinstance(value, dict):
        raise SourceError(f"{_shown(item)} is no portal item")
    return value


def _shown(item: Item) -> str:
    return f"{item.portal}/home/item.html?id={item.id}"


def _list(value: Any) -> list[dict[str, Any]]:
    return [layer for layer in value if isinstance(layer, dict)] if isinstance(value, list) else []


def _flat(layers: list[dict[str, Any]], depth: int) -> Iterator[dict[str, Any]]:
    if depth > MAX_GROUPS:
        raise SourceError(f"the web map has groups nested deeper than {MAX_GROUPS}")
    for layer in layers:
        if _kind(layer) == "GroupLayer":
            yield from _flat(_list(layer.get("layers")), depth + 1)
        else:
            yield layer


def _kind(layer: dict[str, Any]) -> str:
    """``layerType``, or ``type`` in older documents; a bare address of a service says enough."""
    for name in ("layerType", "type"):
        if isinstance(layer.get(name), str) and layer[name]:
            return str(layer[name])
    path = str(layer.get("url") or "").partition("?")[0].rstrip("/").lower()
    if path.endswith("/mapserver"):
        return "ArcGISMapServiceLayer"
    if path.endswith("/vectortileserver"):
        return VECTOR
    return "ArcGISImageServiceLayer" if path.endswith("/imageserver") else ""


def _layer(layer: dict[str, Any]) -> MapLayer:
    item_id = layer.get("itemId")
    title = next(
        (layer[name] for name in ("title", "name", "id") if isinstance(layer.get(name), str) and layer[name]), ""
    )
    return MapLayer(
        title=str(title).strip()[:200],
        kind=_kind(layer),
        url=_address(layer.get("url")),
        style_url=_address(layer.get("styleUrl")),
        item_id=item_id if isinstance(item_id, str) and _ID.fullmatch(item_id) else "",
        min_scale=_scale(layer, "minScale"),
        max_scale=_scale(layer, "maxScale"),
    )


def _address(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    return f"https:{text}" if text.startswith("//") else text


def _scale(layer: dict[str, Any], name: str) -> float | None:
    definition = layer.get("layerDefinition")
    value = as_number(layer.get(name))
    if value is None and isinstance(definition, dict):
        value = as_number(definition.get(name))
    return value if value is not None and value > 0 else None


def _why_not(kind: str) -> str:
    if kind.startswith("BingMaps"):
        return "Bing Maps tiles may not be taken offline"
    return OTHERS.get(kind, f"layers of type {kind[:60]!r} hold no tiles" if kind else "it doesn't say what it is")
