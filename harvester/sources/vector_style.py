"""A vector tile style: which service it draws, which sprites and fonts it needs, and how it reads inside a package.

Source: Mapbox Style Specification, version 8 (sources, sprite, glyphs, text-font); Esri's REST reference, "Vector Tile
Style": addresses may be relative to the style itself.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urljoin

from harvester.redact import redact_url

MAX_FONTS = 64
"""Fonts of one style; Esri's basemaps have a dozen."""

MAX_EXPRESSION = 12
"""Depth to which an expression is searched for fonts."""

DEFAULT_FONTS = ("Open Sans Regular", "Arial Unicode MS Regular")
"""What a layer with a text and without ``text-font`` is drawn in."""

_SERVICE = re.compile(r"(?i)^(.*?/VectorTileServer)(?:/|$)")

GLYPHS, SPRITE, SERVICE = "../fonts/{fontstack}/{range}.pbf", "../sprites/sprite", "../../"
"""Where a package's style finds its parts."""


def services_of(style: Any, at: str) -> list[str]:
    """The addresses of the vector tile services that a style at ``at`` draws, the one named ``esri`` first."""
    sources = style.get("sources") if isinstance(style, dict) else None
    found: list[str] = []
    pairs = sources.items() if isinstance(sources, dict) else ()
    for _, source in sorted(pairs, key=lambda pair: (pair[0] != "esri", str(pair[0]))):
        if isinstance(source, dict) and source.get("type") == "vector":
            address = _address(source, at)
            if address and address not in found:
                found.append(address)
    return found


def _address(source: dict[str, Any], at: str) -> str:
    """Where a source is: its address, or the service whose tiles it names."""
    url, tiles = source.get("url"), source.get("tiles")
    if isinstance(url, str):
        return urljoin(at, url).rstrip("/")
    first = tiles[0] if isinstance(tiles, list) and tiles and isinstance(tiles[0], str) else ""
    found = _SERVICE.match(urljoin(at, first))
    return found[1] if found else urljoin(at, first)


def fonts_of(style: Any) -> list[str]:
    """The fonts that the style's texts are drawn in, by name."""
    layers = style.get("layers") if isinstance(style, dict) else None
    found: dict[str, None] = {}
    for layer in layers if isinstance(layers, list) else ():
        layout = layer.get("layout") if isinstance(layer, dict) else None
        if not isinstance(layout, dict) or not (layout.get("text-field") or layout.get("text-font")):
            continue
        stated = layout.get("text-font")
        found |= dict.fromkeys(DEFAULT_FONTS if stated is None else _names(stated, 0))
    return sorted(found)[:MAX_FONTS]


def _names(value: Any, depth: int) -> Iterator[str]:
    """Font names in a value: a list of texts that is no expression, or in an expression's or a function's results."""
    if depth > MAX_EXPRESSION:
        return
    if isinstance(value, dict):
        stops = value.get("stops")
        for stop in stops if isinstance(stops, list) else ():
            if isinstance(stop, list) and len(stop) == 2:
                yield from _names(stop[1], depth + 1)
        yield from _names(value.get("default"), depth + 1)
        return
    if not isinstance(value, list) or not value or not isinstance(value[0], str):
        return
    if value[0] == "literal":
        if len(value) == 2 and isinstance(value[1], list):
            yield from (name for name in value[1] if isinstance(name, str))
    elif value[0] in _RESULTS:
        first, step = _RESULTS[value[0]]
        results: Iterable[Any] = [*value[first::step], value[-1]]
        for result in results:
            yield from _names(result, depth + 1)
    elif value[0] not in _OTHERS and all(isinstance(name, str) for name in value):
        yield from value


_RESULTS = {
    "step": (2, 2),
    "match": (3, 2),
    "case": (2, 2),
    "coalesce": (1, 1),
    "interpolate": (4, 2),
    "let": (1, 1),
    "array": (3, 1),
}
"""Where an expression's results are: the first, and the distance to the next (Style Specification, "Expressions"); the
last is always one."""

_OTHERS = frozenset({"get", "has", "at", "concat", "to-string", "string", "feature-state", "var", "slice", "format"})
"""Expressions of texts that name no font."""


def sprite_of(style: Any, at: str) -> str | None:
    """The address of the sprites without its ending; None where there are none."""
    sprite = style.get("sprite") if isinstance(style, dict) else None
    if isinstance(sprite, list):  # several sheets: the one without a prefix
        urls = [sheet.get("url") for sheet in sprite if isinstance(sheet, dict) and sheet.get("id") == "default"]
        sprite = urls[0] if urls else None
    return urljoin(at, sprite) if isinstance(sprite, str) and sprite else None


def glyphs_of(style: Any, at: str) -> str | None:
    """The template of the fonts' addresses, with ``{fontstack}`` and ``{range}``; None where there is none."""
    glyphs = style.get("glyphs") if isinstance(style, dict) else None
    if not isinstance(glyphs, str) or "{fontstack}" not in glyphs or "{range}" not in glyphs:
        return None
    return urljoin(at, glyphs)


def packaged(style: Any, at: str, service: str) -> tuple[dict[str, Any], list[str]]:
    """The style with its addresses relative to itself inside a package of ``service``, and what it still draws from
    elsewhere."""
    result: dict[str, Any] = copy.deepcopy(style)
    elsewhere: list[str] = []
    sources = result.get("sources")
    for name, source in sources.items() if isinstance(sources, dict) else ():
        address = _address(source, at) if isinstance(source, dict) else ""
        if not address:
            continue
        if address.partition("?")[0].rstrip("/").lower() == service.lower():
            source["url"] = SERVICE
            source.pop("tiles", None)
        else:
            if isinstance(source.get("url"), str):
                source["url"] = redact_url(address)
            if isinstance(source.get("tiles"), list):
                source["tiles"] = [redact_url(urljoin(at, tile)) for tile in source["tiles"] if isinstance(tile, str)]
            elsewhere.append(str(name))
    if glyphs_of(result, at) is not None:
        result["glyphs"] = GLYPHS
    if sprite_of(result, at) is not None:
        result["sprite"] = SPRITE
    return result, elsewhere
