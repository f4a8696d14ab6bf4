"""The deep check: pixels, not only bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.payload import decode_check

Samples = Mapping[str, tuple[bytes, str]]


def test_a_whole_tile_of_every_kind_decodes(sample: str, samples: Samples) -> None:
    assert decode_check(*samples[sample]) is None


def test_pixels_that_do_not_fill_the_picture_are_found(samples: Samples) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 48, 48, 8, 0, 0, 0, 0)
    whole = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(48 * 49))), chunk(b"IEND", b"")]
    short = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(48 * 20))), chunk(b"IEND", b"")]
    assert decode_check(b"\x89PNG\r\n\x1a\n" + b"".join(whole), "png") is None
    assert decode_check(b"\x89PNG\r\n\x1a\n" + b"".join(short), "png") is not None


def test_a_picture_of_gigapixels_is_refused_without_decoding() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    assert decode_check(body, "png") is not None
    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    assert "9000 x 9000" in (decode_check(body, "png") or "")


def test_a_kind_that_is_not_known_is_said_so() -> None:
    assert "tiff" in (decode_check(b"II", "tiff") or "")


def test_a_broken_blob_or_layer_is_named(samples: Samples) -> None:
    for name in ("lerc2-v3", "pbf-gzip"):
        body, kind = samples[name]
        assert decode_check(body[:-1], kind) == "truncated"


@given(st.binary(max_size=100), st.sampled_from(["png", "jpg", "webp", "gif", "lerc", "pbf", ""]))
@settings(max_examples=100, deadline=None)
def test_no_bytes_make_it_raise(body: bytes, kind: str) -> None:
    assert decode_check(body, kind) is None or decode_check(body, kind)
