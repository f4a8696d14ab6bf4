"""The layers that a web map's document names, in drawing order; why some are no tiles. Nothing is asked.

Layout: Esri's web map specification, ``operationalLayers`` and ``baseMap.baseMapLayers``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harvester.errors import SourceError
from harvester.sources.fields import as_number
from harvester.sources.portal_item import ITEM_ID

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
        item_id=item_id if isinstance(item_id, str) and ITEM_ID.fullmatch(item_id) else "",
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


def why_not(kind: str) -> str:
    """Why a layer of this kind isn't taken."""
    if kind.startswith("BingMaps"):
        return "Bing Maps tiles may not be taken offline"
    return OTHERS.get(kind, f"layers of type {kind[:60]!r} hold no tiles" if kind else "it doesn't say what it is")
