"""``vector_layers``: which layers and fields vector tiles have, read from where it is stated.

Source: TileJSON 3.0, 3.3; MBTiles 1.3, "Vector tileset metadata"; PMTiles 3, "JSON Metadata". Readers (GDAL, QGIS,
MapLibre) take their layers and fields from there, and show none where the list is empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from harvester.edges import VectorLayer
from harvester.payload.mvt import STRING
from harvester.tiling.scheme import TilingScheme

LAYERS = "vector_layers"

MAX_LAYERS = 1000
"""Layers of one list; real ones have dozens."""


def parse_layers(value: object) -> tuple[VectorLayer, ...]:
    """The list as JSON has it; entries that are none are left out."""
    found: list[VectorLayer] = []
    for entry in value[:MAX_LAYERS] if isinstance(value, list) else ():
        name = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            continue
        fields = entry.get("fields")
        pairs = fields.items() if isinstance(fields, dict) else ()
        description = entry.get("description")
        found.append(
            VectorLayer(
                id=name,
                fields=tuple((key, kind if isinstance(kind, str) else STRING) for key, kind in pairs),
                minzoom=_zoom(entry.get("minzoom")),
                maxzoom=_zoom(entry.get("maxzoom")),
                description=description if isinstance(description, str) else "",
            )
        )
    return tuple(found)


def parse_text(text: str) -> tuple[VectorLayer, ...]:
    """The list in the JSON object that MBTiles keeps as text; nothing where there is none."""
    document = parse_object(text)
    return parse_layers(document.get("vector_layers"))


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object; an empty one for anything else."""
    try:
        document = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def render_layers(layers: Iterable[VectorLayer]) -> list[dict[str, Any]]:
    """The list for JSON."""
    found = []
    for layer in layers:
        more = {"description": layer.description or None, "minzoom": layer.minzoom, "maxzoom": layer.maxzoom}
        stated = {name: value for name, value in more.items() if value is not None}
        found.append({"id": layer.id, "fields": dict(layer.fields), **stated})
    return found


def joined_layers(stated: Any, rendered: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Layers as they are listed in a document, with what else was said of each."""
    listed = [layer for layer in stated if isinstance(layer, dict)] if isinstance(stated, list) else []
    theirs = {str(layer.get("id")): layer for layer in listed}
    ours = {str(layer["id"]) for layer in rendered}
    return [
        *({**theirs.get(str(layer["id"]), {}), **layer} for layer in rendered),
        *(layer for layer in listed if str(layer.get("id")) not in ours),
    ]


def with_layers(text: str, layers: Iterable[VectorLayer]) -> str:
    """A manifest's text with the list beside what it says: for formats that have no other place for it."""
    stated = render_layers(layers)
    if not stated:
        return text
    return json.dumps({**parse_object(text), LAYERS: stated}, ensure_ascii=False, separators=(",", ":"))


def without_layers(text: str) -> tuple[str, tuple[VectorLayer, ...]]:
    """The manifest's text as every format has it, and the list that ``with_layers`` put beside it."""
    document = parse_object(text) if f'"{LAYERS}"' in text else {}
    if LAYERS not in document:
        return text, ()
    layers = parse_layers(document.pop(LAYERS))
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")), layers


def join_layers(*lists: Iterable[VectorLayer]) -> tuple[VectorLayer, ...]:
    """Several lists as one: every layer once, with the fields and zooms of all; what is stated first counts. Layers and
    fields keep their order where all lists have the same; else they are sorted, whatever came first."""
    joined: dict[str, VectorLayer] = {}
    stated = [each for each in map(tuple, lists) if each]
    for layer in (layer for each in stated for layer in each):
        known = joined.get(layer.id)
        if known is None:
            joined[layer.id] = layer
            continue
        fields = dict(layer.fields) | dict(known.fields)
        order = _joined_order([[name for name, _ in known.fields], [name for name, _ in layer.fields]])
        lows = [zoom for zoom in (known.minzoom, layer.minzoom) if zoom is not None]
        highs = [zoom for zoom in (known.maxzoom, layer.maxzoom) if zoom is not None]
        joined[layer.id] = VectorLayer(
            id=layer.id,
            fields=tuple((name, fields[name]) for name in order),
            minzoom=min(lows, default=None),
            maxzoom=max(highs, default=None),
            description=known.description or layer.description,
        )
    return tuple(joined[name] for name in _joined_order([[layer.id for layer in each] for each in stated]))


def _joined_order(lists: Sequence[Sequence[str]]) -> list[str]:
    names = list(dict.fromkeys(name for each in lists for name in each))
    return names if all(list(dict.fromkeys(each)) == names for each in lists) else sorted(names)


def zoom_of(scheme: TilingScheme, level: int) -> int:
    """The Google zoom of a level; the level itself on other grids."""
    place = scheme.google(level) if level in scheme.by_level else None
    return place.zoom if place is not None else level


def in_words(layers: Iterable[VectorLayer]) -> str:
    """For a person: names and zooms, ``roads (2-14), places (0-14)``."""
    parts = []
    for layer in layers:
        low, high = layer.minzoom, layer.maxzoom
        span = "" if low is None or high is None else f" ({low})" if low == high else f" ({low}-{high})"
        parts.append(f"{layer.id}{span}")
    return ", ".join(parts)


def _zoom(value: object) -> int | None:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 64 and value == int(value)
    return int(value) if whole and isinstance(value, int | float) else None
