"""Tiles made from their address are real pictures, all different, and are read back to the address."""

from __future__ import annotations

import io
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harvester.testing import address_of, tile_jpeg, tile_png
from harvester.tiling.tile import Tile

tiles = st.builds(Tile, st.integers(0, 30), st.integers(0, 2**31), st.integers(0, 2**31))
makers = st.sampled_from([tile_png, tile_jpeg])


@given(tiles, makers, st.sampled_from([64, 256, 512]), st.integers(0, 255), st.sampled_from([0, 1, 70000]))
@settings(max_examples=40, deadline=None)
def test_every_tile_is_a_picture_that_tells_its_address(tile, make, side, variant, padding) -> None:  # type: ignore[no-untyped-def]
    body = make(*tile, side, side, variant=variant, padding=padding)
    picture = Image.open(io.BytesIO(body))
    picture.load()
    assert picture.size == (side, side)
    assert picture.format == ("PNG" if make is tile_png else "JPEG")
    assert address_of(body) == (tile, variant)
    assert padding <= len(body) < padding + 7000


@pytest.mark.parametrize("make", [tile_png, tile_jpeg])
def test_two_tiles_differ_in_their_pixels(make) -> None:  # type: ignore[no-untyped-def]
    def pixels(*address: int, variant: int = 0) -> bytes:
        return Image.open(io.BytesIO(make(*address, variant=variant))).convert("RGB").tobytes()

    seen = [pixels(9, 1, 2), pixels(9, 1, 3), pixels(9, 2, 2), pixels(10, 1, 2), pixels(9, 1, 2, variant=1)]
    assert len(set(seen)) == 5


def test_odd_sizes_are_pictures_too() -> None:
    for width, height in ((256, 128), (100, 37), (2, 3)):
        assert Image.open(io.BytesIO(tile_png(1, 2, 3, width, height))).size == (width, height)
    assert Image.open(io.BytesIO(tile_jpeg(1, 2, 3, 100, 37))).size == (100, 37)
    with pytest.raises(ValueError, match="no room"):
        tile_jpeg(1, 2, 3, 16, 16)


def test_the_checksums_of_a_png_are_right_and_its_size_flat() -> None:
    body, at = tile_png(9, 1, 2), 8
    kinds = []
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        kinds.append(body[at + 4 : at + 8])
        assert zlib.crc32(body[at + 4 : at + 8 + size]) == int.from_bytes(body[at + 8 + size : at + 12 + size], "big")
        at += size + 12
    assert kinds == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]


def test_other_bytes_have_no_address() -> None:
    stumps = (tile_png(1, 2, 3)[:40], tile_jpeg(1, 2, 3)[:100], b"\xff\xd8 no picture", b"\x89PNG\r\n\x1a\n")
    for body in (b"", b"<html>", *stumps):
        assert address_of(body) is None
