"""Small whole tiles of every kind, made here: pictures by Pillow, LERC and vector tiles by hand."""

from __future__ import annotations

import gzip
import io
import random
import struct
from collections.abc import Callable, Mapping

import pytest
from PIL import Image

SIDE = 48


def fletcher_by_the_word(data: bytes) -> int:
    """Fletcher-32 as Esri's decoders state it, a word at a time: the twin of the vectorised one."""
    one = two = 0xFFFF
    at, words = 0, len(data) // 2
    while words:
        run = min(words, 359)
        words -= run
        for _ in range(run):
            one += (data[at] << 8) + data[at + 1]
            two += one
            at += 2
        one = (one & 0xFFFF) + (one >> 16)
        two = (two & 0xFFFF) + (two >> 16)
    if len(data) & 1:
        one += data[at] << 8
        two += one
    one = (one & 0xFFFF) + (one >> 16)
    two = (two & 0xFFFF) + (two >> 16)
    return (two << 16 | one) & 0xFFFFFFFF


def lerc2(version: int, *, width: int = SIDE, height: int = SIDE, blobs_to_come: int = 0) -> bytes:
    """One Lerc2 blob of bytes, uncompressed in one sweep."""
    pixels = random.Random(version).randbytes(width * height)
    fields = [height, width, *([1] if version >= 4 else []), width * height, 8, 0, 1]
    size_at = 10 + (4 if version >= 3 else 0) + 4 * (5 if version >= 4 else 4)
    if version >= 6:
        fields.append(blobs_to_come)
    body = bytearray(b"Lerc2 " + struct.pack("<i", version) + (b"\0\0\0\0" if version >= 3 else b""))
    body += struct.pack(f"<{len(fields)}i", *fields)
    body += bytes(4) if version >= 6 else b""
    body += struct.pack("<3d", 0.5, min(pixels), max(pixels)) + (struct.pack("<2d", 0, 0) if version >= 6 else b"")
    body += struct.pack("<i", 0)  # no mask
    body += struct.pack("<2B", min(pixels), max(pixels)) if version >= 4 else b""
    body += b"\1" + pixels
    struct.pack_into("<i", body, size_at, len(body))
    if version >= 3:
        struct.pack_into("<I", body, 10, fletcher_by_the_word(bytes(body[14:])))
    return bytes(body)


def lerc1(*, width: int = SIDE, height: int = SIDE, bands: int = 1) -> bytes:
    """One ``CntZImage`` blob per band; only the first has a count part (a constant one)."""
    body = b""
    for band in range(bands):
        body += b"CntZImage " + struct.pack("<iiiid", 11, 8, height, width, 0.1)
        if not band:
            body += struct.pack("<iiif", 0, 0, 0, 1.0)
        data = b"\0" + random.Random(band).randbytes(4 * width * height)
        body += struct.pack("<iiif", 1, 1, len(data), 1.0) + data
    return body


def _field(number: int, data: bytes) -> bytes:
    assert len(data) < 1 << 14
    length = bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 127 | 128, len(data) >> 7])
    return bytes([number << 3 | 2]) + length + data


def mvt(*names: str) -> bytes:
    """A vector tile of empty layers, each with a name and the version that the specification asks for."""
    noise = random.Random(1).randbytes(60)
    return b"".join(
        _field(3, b"\x78\x02" + _field(1, name.encode()) + _field(3, noise) + b"\x28\x80\x20") for name in names
    )


def with_thumbnail(jpeg: bytes, thumbnail: bytes) -> bytes:
    """A JPEG with another whole JPEG in an APP1 segment, as cameras and some renderers write it."""
    data = b"Exif\0\0" + thumbnail
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data + jpeg[2:]


def _picture(side: int = SIDE) -> Image.Image:
    noise = random.Random(7).randbytes(side * side)
    grey = Image.frombytes("L", (side, side), noise)
    return Image.merge("RGB", (grey, grey.rotate(90), Image.linear_gradient("L").resize((side, side))))


def _saved(picture: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


Samples = Mapping[str, tuple[bytes, str]]

RASTERS = ("png8", "png32", "png-adam7", "jpeg", "jpeg-progressive", "jpeg-thumbnail", "webp", "webp-lossless", "gif")
LERCS = ("lerc1", "lerc1-bands", "lerc2-v2", "lerc2-v3", "lerc2-v4", "lerc2-v6", "lerc2-bands")
KINDS = (*RASTERS, *LERCS, "pbf-gzip")


@pytest.fixture(scope="session")
def samples() -> Samples:
    """Name -> (bytes, kind): one whole tile of ``SIDE`` x ``SIDE`` pixels each."""
    rgb = _picture()
    rgba = rgb.copy()
    rgba.putalpha(Image.linear_gradient("L").resize((SIDE, SIDE)))
    baseline = _saved(rgb, "JPEG", quality=70)
    made = {
        "png8": (_saved(rgb.quantize(16), "PNG"), "png"),
        "png32": (_saved(rgba.resize((20, 20)).resize((SIDE, SIDE), Image.Resampling.NEAREST), "PNG"), "png"),
        "png-adam7": (_interlaced(), "png"),
        "jpeg": (baseline, "jpg"),
        "jpeg-progressive": (_saved(rgb, "JPEG", quality=70, progressive=True, optimize=True), "jpg"),
        "jpeg-thumbnail": (with_thumbnail(baseline, _saved(_picture(16), "JPEG")), "jpg"),
        "webp": (_saved(rgb, "WEBP", quality=60), "webp"),
        "webp-lossless": (_saved(rgba.quantize(8).convert("RGBA"), "WEBP", lossless=True), "webp"),
        "gif": (_saved(rgb.quantize(16), "GIF"), "gif"),
        "lerc1": (lerc1(), "lerc"),
        "lerc1-bands": (lerc1(bands=3), "lerc"),
        "lerc2-v2": (lerc2(2), "lerc"),
        "lerc2-v3": (lerc2(3), "lerc"),
        "lerc2-v4": (lerc2(4), "lerc"),
        "lerc2-v6": (lerc2(6), "lerc"),
        "lerc2-bands": (lerc2(6, blobs_to_come=1) + lerc2(6), "lerc"),
        "pbf-gzip": (gzip.compress(mvt("water", "road"), mtime=0), "pbf"),
    }
    assert tuple(made) == KINDS
    return made


def _interlaced() -> bytes:
    """A 1-bit PNG by hand: several IDAT chunks, Adam7 stated in the header."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    data = zlib.compress(bytes(4000), 0)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 1, 0, 0, 0, 1)
    parts = [chunk(b"IDAT", data[at : at + 1000]) for at in range(0, len(data), 1000)]
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(parts) + chunk(b"IEND", b"")


@pytest.fixture(scope="session")
def make_lerc2() -> Callable[..., bytes]:
    return lerc2


@pytest.fixture(scope="session")
def make_lerc1() -> Callable[..., bytes]:
    return lerc1


@pytest.fixture(scope="session")
def make_mvt() -> Callable[..., bytes]:
    return mvt


@pytest.fixture(scope="session")
def fletcher_twin() -> Callable[[bytes], int]:
    return fletcher_by_the_word


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``sample``, ``raster`` and ``lerc`` run over the names above."""
    for name, values in (("sample", KINDS), ("raster", RASTERS), ("lerc", LERCS)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values)
