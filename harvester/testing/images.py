"""Small real PNG and JPEG tiles, made from their address alone: valid, unique per tile, and readable back to it.

A PNG is a fixed 2-bit picture whose four palette colours hold level, row and column, so only PLTE and its CRC differ
from tile to tile. A JPEG is a baseline greyscale checkerboard in which every 8 x 8 block takes exactly one byte of
entropy-coded data, so the address is patched in as bytes, with no bit shifting and no stuffing.
Sources: PNG Third Edition (W3C), sections 5 and 11; ITU-T T.81 (JPEG), Annex B and F.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

from harvester.tiling.tile import Tile

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_ADDRESS = struct.Struct(">BIIB")
"""Level, row, column and variant: with two fixed bytes the palette of a 2-bit picture, 12 bytes."""

_JPEG_AMPLITUDE = 32
"""The least DC difference of category 6 (T.81, table F.1): 32..63 are written in six bits."""

_JPEG_DIGITS = 16
"""Base-32 digits of an address of 80 bits (10 bytes)."""

MIN_JPEG_BLOCKS = 2 * _JPEG_DIGITS
"""A JPEG tile needs this many 8 x 8 blocks to carry its address: 64 x 32 pixels."""


def chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk: length, type, data, CRC-32 over type and data (PNG, 5.3)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@lru_cache(maxsize=64)
def _png_frame(width: int, height: int, padding: int) -> tuple[bytes, bytes]:
    """What stands before and after PLTE: signature and IHDR; padding, IDAT and IEND."""
    header = struct.pack(">IIBBBBB", width, height, 2, 3, 0, 0, 0)
    stride = (width + 3) // 4
    rows = []
    for y in range(height):
        pixels = bytes(((x // 8 + y // 8) % 4 if 0 < x < width - 1 and 0 < y < height - 1 else 3) for x in range(width))
        packed = bytearray(stride)
        for x, value in enumerate(pixels):
            packed[x // 4] |= value << (6 - 2 * (x % 4))
        rows.append(b"\x00" + bytes(packed))
    tail = chunk(b"teSt", bytes(index * 7 & 255 for index in range(padding))) if padding else b""
    tail += chunk(b"IDAT", zlib.compress(b"".join(rows), 9)) + chunk(b"IEND", b"")
    return PNG_SIGNATURE + chunk(b"IHDR", header), tail


def tile_png(
    level: int, row: int, col: int, width: int = 256, height: int = 256, *, variant: int = 0, padding: int = 0
) -> bytes:
    """A palette PNG of ``width`` x ``height`` pixels, unique for the address.

    ``variant`` (0..255) is another content of the same tile; ``padding`` bytes of a private chunk make it heavier.
    """
    before, after = _png_frame(width, height, padding)
    address = _ADDRESS.pack(level & 255, row & 0xFFFFFFFF, col & 0xFFFFFFFF, variant & 255)
    palette = b"PLTE" + address + b"\x80\x40"
    return b"".join((before, b"\x00\x00\x00\x0c", palette, zlib.crc32(palette).to_bytes(4, "big"), after))


@lru_cache(maxsize=64)
def _jpeg_frame(width: int, height: int, padding: int) -> tuple[bytes, bytes]:
    """What stands before and after the address: the headers up to SOS; the other blocks and EOI."""
    blocks = ((width + 7) // 8) * ((height + 7) // 8)
    if blocks < MIN_JPEG_BLOCKS:
        raise ValueError(f"a JPEG tile of {width} x {height} pixels has no room for its address")

    def segment(marker: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data

    one_code = b"\x01" + bytes(15)
    head = b"\xff\xd8" + segment(0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00")
    head += b"".join(segment(0xFE, b"x" * min(padding - at, 65000)) for at in range(0, padding, 65000))
    head += segment(0xDB, b"\x00" + bytes([8] * 64))
    head += segment(0xC0, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0))
    head += segment(0xC4, b"\x00" + one_code + b"\x06")
    head += segment(0xC4, b"\x10" + one_code + b"\x00")
    head += segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")
    rest = bytes(_jpeg_block(index, 0) for index in range(MIN_JPEG_BLOCKS, blocks))
    return head, rest + b"\xff\xd9"


def _jpeg_block(index: int, digit: int) -> int:
    """One block in one byte: DC code ``0``, six bits of a difference of 32 + digit up or down, EOB code ``0``."""
    amplitude = _JPEG_AMPLITUDE + digit
    return (amplitude if index % 2 == 0 else 63 - amplitude) << 1


_PAIRS = tuple(bytes((_jpeg_block(0, digit), _jpeg_block(1, digit))) for digit in range(32))


def tile_jpeg(
    level: int, row: int, col: int, width: int = 256, height: int = 256, *, variant: int = 0, padding: int = 0
) -> bytes:
    """A baseline greyscale JPEG of ``width`` x ``height`` pixels (at least 64 x 32), unique for the address."""
    before, after = _jpeg_frame(width, height, padding)
    number = int.from_bytes(_ADDRESS.pack(level & 255, row & 0xFFFFFFFF, col & 0xFFFFFFFF, variant & 255), "big")
    address = b"".join([_PAIRS[number >> shift & 31] for shift in range(75, -1, -5)])
    return b"".join((before, address, after))


def address_of(body: bytes) -> tuple[Tile, int] | None:
    """The address and the variant that a tile of this module was made for; None for any other bytes."""
    if body[:8] == PNG_SIGNATURE:
        at = body.find(b"PLTE")
        packed = body[at + 4 : at + 14] if at >= 0 else b""
    elif body[:2] == b"\xff\xd8":
        at = body.find(b"\xff\xda")
        digits = [(byte >> 1) - _JPEG_AMPLITUDE for byte in body[at + 10 : at + 10 + MIN_JPEG_BLOCKS : 2]]
        if at < 0 or len(digits) < _JPEG_DIGITS or min(digits) < 0 or max(digits) > 31:
            return None
        packed = sum(digit << 5 * (_JPEG_DIGITS - 1 - place) for place, digit in enumerate(digits)).to_bytes(10, "big")
    else:
        return None
    if len(packed) < _ADDRESS.size:
        return None
    level, row, col, variant = _ADDRESS.unpack(packed)
    return Tile(level, row, col), variant
