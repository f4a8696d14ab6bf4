"""What a vector tile holds, without its geometry: the names of its layers, and their fields with the types of values.

Source: Mapbox Vector Tile specification 2.1, section 4, and its vector_tile.proto:

    Tile     3 layer
    Layer    1 name, 2 feature, 3 key, 4 value, 5 extent, 15 version
    Feature  1 id, 2 tags (packed: key and value indexes in turn), 3 type, 4 geometry
    Value    1 string, 2 float, 3 double, 4 int, 5 uint, 6 sint, 7 bool
"""

from __future__ import annotations

from typing import NamedTuple

from harvester.payload.ends import Unwhole
from harvester.payload.pbf import (
    GZIP,
    LAYER,
    LAYER_NAME,
    LENGTHS,
    MalformedError,
    inflate,
    message_fields,
    varint,
)

STRING, NUMBER, BOOLEAN = "String", "Number", "Boolean"
"""The only words that MBTiles 1.3 has for a field's type; a field of several types is a String."""

MAX_FEATURES = 2000
"""Features of one layer whose tags are looked at: fields that no feature before has are rare, and tiles are many."""

_FEATURE, _KEY, _VALUE, _TAGS = 2, 3, 4, 2
_VALUE_TYPES = {1: STRING, 2: NUMBER, 3: NUMBER, 4: NUMBER, 5: NUMBER, 6: NUMBER, 7: BOOLEAN}


class SeenLayer(NamedTuple):
    """One layer of one tile."""

    name: str
    fields: dict[str, str]
    """By name: ``String``, ``Number`` or ``Boolean``."""


def layers_of(body: bytes) -> list[SeenLayer]:
    """The layers of a vector tile, in gzip or plain, in the tile's order; none where the bytes are no vector tile."""
    try:
        tile = inflate(body) if body[:2] == GZIP else body
        return [
            _layer(tile, start, end)
            for number, wire, start, end in message_fields(tile, 0, len(tile))
            if number == LAYER and wire == LENGTHS
        ]
    except (Unwhole, MalformedError):
        return []


def _layer(tile: bytes, start: int, end: int) -> SeenLayer:
    name, keys = "", list[str]()
    values = list[str]()
    features = list[tuple[int, int]]()
    for number, wire, at, stop in message_fields(tile, start, end):
        if wire != LENGTHS:
            continue
        if number == LAYER_NAME:
            name = tile[at:stop].decode("utf-8", "replace")
        elif number == _KEY:
            keys.append(tile[at:stop].decode("utf-8", "replace"))
        elif number == _VALUE:
            values.append(_type_of(tile, at, stop))
        elif number == _FEATURE and len(features) < MAX_FEATURES:
            features.append((at, stop))
    fields: dict[str, str] = {}
    pairs: set[tuple[int, int]] = set()
    for at, stop in features:
        for pair in _tags(tile, at, stop):
            if pair in pairs:
                continue
            pairs.add(pair)
            if pair[0] < len(keys) and pair[1] < len(values):
                key, kind = keys[pair[0]], values[pair[1]]
                fields[key] = kind if fields.get(key, kind) == kind else STRING
    for key in keys:
        # Keys that no feature uses are told too: a reader may ask for them.
        fields.setdefault(key, STRING)
    return SeenLayer(name, fields)


def _type_of(tile: bytes, start: int, end: int) -> str:
    for number, _, _, _ in message_fields(tile, start, end):
        if number in _VALUE_TYPES:
            return _VALUE_TYPES[number]
    return STRING


def _tags(tile: bytes, start: int, end: int) -> list[tuple[int, int]]:
    for number, wire, at, stop in message_fields(tile, start, end):
        if number == _TAGS and wire == LENGTHS:
            numbers = list[int]()
            while at < stop:
                value, at = varint(tile, at, stop)
                numbers.append(value)
            return list(zip(numbers[::2], numbers[1::2], strict=False))
    return []
