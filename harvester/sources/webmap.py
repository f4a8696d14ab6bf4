"""Web maps: a JSON file or a portal item, and the tiled layers in it, opened; the others with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harvester.errors import AuthError, SourceError
from harvester.sources.arcgis_document import NotTiledError
from harvester.sources.map_layers import TILED, VECTOR, MapLayer, layers_of, why_not
from harvester.sources.portal_item import Item, distrust, portal_json, shown
from harvester.sources.service import Opened, OpenedLayer, open_service
from harvester.sources.service_url import parse_service_url
from harvester.transport.documents import MAX_DOCUMENT_BYTES, Document, read_json
from harvester.transport.origins import same_site

if TYPE_CHECKING:
    from harvester.sources.arcgis import ArcGisSource
    from harvester.sources.asker import Asker

WHAT_A_SOURCE_IS = "A source is the address of a service, or the JSON file of a web map."

GEOJSON_TYPES = frozenset({"FeatureCollection", "Feature", "Polygon", "MultiPolygon", "GeometryCollection"})


def is_file(source: str) -> bool:
    """True when what was typed is a file that exists."""
    try:
        return "://" not in source and Path(source).is_file()
    except (OSError, ValueError):
        return False


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
    about = await portal_json(item, "", asker)
    kind, address = about.get("type"), about.get("url")
    if kind == "Web Map":
        document = await portal_json(item, "/data", asker)
        return await _open_map(document, shown(item), item, asker)
    if not isinstance(address, str) or not address.strip():
        raise SourceError(
            f"{shown(item)} is of type {str(kind)[:60]!r} and names no service",
            hint="Give a web map or a tile layer's item.",
        )
    reason = distrust(address, item.portal.origin, asker.session)
    if reason is not None:
        raise SourceError(f"{shown(item)}: {reason[0]}", hint=reason[1])
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


async def _open_map(document: Any, shown: str, item: Item | None, asker: Asker) -> Opened:
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
    if layer.kind not in TILED and layer.kind != VECTOR:
        return why_not(layer.kind)
    address = layer.url
    try:
        if layer.kind == VECTOR and layer.style_url:
            from harvester.sources.vector_layer import open_styled

            opened = await open_styled(layer, item, asker)
            return opened if isinstance(opened, str) else _named(layer, opened)
        if not address and layer.item_id:
            if item is None:
                return "it names only an item of a portal, and a file doesn't say of which portal"
            about = await portal_json(replace(item, id=layer.item_id), "", asker)
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
    source.info = replace(source.info, min_scale=layer.min_scale, max_scale=layer.max_scale)
    return OpenedLayer(name=layer.title or source.info.name, source=source)
