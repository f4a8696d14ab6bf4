"""Small real vector tiles, made from their address alone: a point, a line and a polygon with fields of every type.

Source: Mapbox Vector Tile specification 2.1 (4.1 layers, 4.3.1 command integers, 4.3.2 parameter integers, 4.4 tags).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping

EXTENT = 4096
"""Units across a tile, as most makers use."""

POINT, LINE, POLYGON = 1, 2, 3

_MOVE_TO, _LINE_TO, _CLOSE_PATH = 1, 2, 7

_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"
"""No name, no time, no system: the same bytes for the same data everywhere (RFC 1952, 2.3)."""

Value = str | int | float | bool
Point = tuple[int, int]


def varint(number: int) -> bytes:
    """A protobuf varint of a number from 0."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, data: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def feature(kind: int, parts: Iterable[Iterable[Point]], tags: Iterable[int] = (), *, id: int = 0) -> bytes:
    """A feature; ``parts`` are its points, lines or rings (polygons closed by themselves) in tile units from the top
    left, ``tags`` the indexes of keys and values in turn."""
    numbers: list[int] = []
    x = y = 0
    for part in parts:
        points = list(part)
        for index, (to_x, to_y) in enumerate(points):
            if index == 0:
                numbers.append(_MOVE_TO | 1 << 3)
            elif index == 1:
                numbers.append(_LINE_TO | len(points) - 1 << 3)
            numbers += [_zigzag(to_x - x), _zigzag(to_y - y)]
            x, y = to_x, to_y
        if kind == POLYGON:
            numbers.append(_CLOSE_PATH | 1 << 3)
    packed = b"".join(map(varint, tags))
    head = varint(1 << 3) + varint(id) if id else b""
    return (
        head
        + (field(2, packed) if packed else b"")
        + varint(3 << 3)
        + varint(kind)
        + field(4, b"".join(map(varint, numbers)))
    )


def layer(
    name: str, shapes: Iterable[tuple[int, Iterable[Iterable[Point]], Mapping[str, Value]]], *, extent: int = EXTENT
) -> bytes:
    """A layer (MVT 2) of shapes: kind, parts, fields."""
    keys: dict[str, int] = {}
    values: dict[tuple[type, Value], int] = {}
    body = field(1, name.encode())
    for number, (kind, parts, fields) in enumerate(shapes, 1):
        tags: list[int] = []
        for key, value in fields.items():
            tags += [
                keys.setdefault(key, len(keys)),
                values.setdefault((type(value), value), len(values)),
            ]
        body += field(2, feature(kind, parts, tags, id=number))
    body += b"".join(field(3, key.encode()) for key in keys)
    body += b"".join(field(4, _value(value)) for _, value in values)
    return body + varint(5 << 3) + varint(extent) + varint(15 << 3) + varint(2)


def tile(layers: Iterable[bytes]) -> bytes:
    """A plain tile of layers made by ``layer``."""
    return b"".join(field(3, each) for each in layers)


def packed(plain: bytes) -> bytes:
    """The tile in gzip, as services send it."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(plain) + deflate.flush()
    return _GZIP_HEADER + body + struct.pack("<II", zlib.crc32(plain), len(plain) & 0xFFFFFFFF)


def tile_mvt(level: int, row: int, col: int, *, variant: int = 0, padding: int = 0) -> bytes:
    """A vector tile in gzip that is unique for its address: ``places`` (a point) and ``roads`` (a line) on every level,
    ``blocks`` (a polygon) from level 2 on."""
    address: dict[str, Value] = {"level": level, "row": row, "col": col, "variant": variant}
    middle, far = EXTENT // 2, EXTENT - 96
    layers = [
        layer("places", [(POINT, [[(middle, middle)]], {"name": f"{level}/{row}/{col}", **address})]),
        layer("roads", [(LINE, [[(0, middle), (EXTENT, middle)]], {"class": "street", "oneway": row % 2 == 0})]),
    ]
    if level >= 2:
        ring = [(96, 96), (far, 96), (far, far), (96, far)]
        layers.append(layer("blocks", [(POLYGON, [ring], {"height": 2.5 * (col % 9), "ref": "x" * padding})]))
    return packed(tile(layers))


def _value(value: Value) -> bytes:
    if isinstance(value, bool):
        return varint(7 << 3) + varint(int(value))
    if isinstance(value, int):
        return varint(6 << 3) + varint(_zigzag(value))
    if isinstance(value, float):
        return varint(3 << 3 | 1) + struct.pack("<d", value)
    return field(1, value.encode())


def _zigzag(number: int) -> int:
    return number * 2 if number >= 0 else -number * 2 - 1
