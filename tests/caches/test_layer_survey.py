"""Layers that nothing states are found in all tiles where these are few; where only a sample was looked at, the person
hears so from every verb that writes them down."""

from __future__ import annotations

import gzip

import pytest

from harvester.caches.layer_survey import LOOKED_BLOCKS, WHOLE_TILES, survey
from harvester.caches.open import open_cache
from harvester.delta.application import apply
from harvester.delta.difference import diff
from harvester.delta.join import convert
from harvester.edges import TileFormat
from harvester.loop import run_loop
from harvester.tiling.tile import BLOCK, Tile
from tests.delta.making import SUFFIX, make

LISTING = ["mbtiles", "pmtiles", "vtpk", "xyz"]


def tile_of(name, size=0):
    """A vector tile of one layer without features, and so many bytes of extension behind it (MVT 2.1, 4)."""
    layer = b"\x78\x02\x0a" + bytes([len(name)]) + name.encode()
    filling = b"\x82\x01" + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14]) + b"\0" * size if size else b""
    return gzip.compress(b"\x1a" + bytes([len(layer)]) + layer + filling, 0, mtime=0)


ROADS, RIVERS = tile_of("roads"), tile_of("rivers")


def square(level, size, rare=(), body=ROADS, other=RIVERS):
    every = [Tile(level, row, col) for row in range(size) for col in range(size)]
    return {tile: other if tile in rare else body for tile in every}


def pyramid(*rare):
    tiles = {}
    for level in range(5):
        tiles.update(square(level, 2**level, rare))
    return tiles


def cache(path, tiles, format="compactv2"):
    """A cache that lists no layers: a compact one holds them only where its source states them."""
    return make(path, tiles, format=format, tile_format=TileFormat.PBF)


def spans(layers):
    return {layer.id: (layer.minzoom, layer.maxzoom) for layer in layers}


def surveyed(path):
    with open_cache(path) as reader:
        return survey(reader)


def stated(path):
    with open_cache(path) as reader:
        return spans(reader.info.vector_layers)


FEW = (Tile(2, 2, 1), Tile(4, 5, 6))


@pytest.mark.parametrize("format", LISTING)
def test_a_layer_that_two_tiles_of_a_small_cache_have_is_listed_from_its_first_zoom(tmp_path, format):
    out = tmp_path / f"out{SUFFIX[format]}"
    done = run_loop(convert(cache(tmp_path / "in", pyramid(*FEW)), out, format=format))
    assert stated(out) == {"roads": (0, 4), "rivers": (2, 4)}
    assert done.notices == []


def test_levels_are_looked_at_wholly_until_the_budget_of_tiles_is_spent(tmp_path):
    rare = Tile(7, 33, 33)
    side = 1
    while side * side <= WHOLE_TILES:
        side += 1
    found = surveyed(cache(tmp_path / "large", {**pyramid(*FEW), **square(7, side, [rare])}))
    assert spans(found.layers) == {"roads": (0, 7), "rivers": (2, 4)}
    assert found.sampled == (7,)
    assert "zoom 7 only a sample" in found.notices[0]
    found = surveyed(cache(tmp_path / "small", square(7, side - 1, [rare])))
    assert spans(found.layers) == {"roads": (7, 7), "rivers": (7, 7)}
    assert found.notices == ()


def test_a_level_of_no_more_tiles_than_a_sample_is_looked_at_wholly_in_any_case(tmp_path):
    tiles = {**square(6, 46), **square(8, 8, [Tile(8, 3, 4)])}
    found = surveyed(cache(tmp_path / "in", tiles))
    assert spans(found.layers)["rivers"] == (8, 8)
    assert found.sampled == (6,)


def test_the_budget_of_bytes_ends_a_look_and_says_so(tmp_path):
    # 12 x 12 tiles of 400,000 bytes are more than is looked at; the rare one comes late.
    found = surveyed(cache(tmp_path / "in", square(5, 12, [Tile(5, 11, 10)], tile_of("roads", 400_000))))
    assert spans(found.layers) == {"roads": (5, 5)}
    assert found.sampled == (5,)


def test_a_level_of_many_blocks_is_sampled(tmp_path):
    tiles = {Tile(15, 0, BLOCK * number): ROADS for number in range(LOOKED_BLOCKS + 1)}
    assert surveyed(cache(tmp_path / "in", tiles)).sampled == (15,)
    tiles.popitem()
    assert surveyed(cache(tmp_path / "less", tiles)).sampled == ()


LARGE = square(7, 46)


@pytest.mark.parametrize("format", LISTING)
def test_convert_says_where_only_a_sample_was_looked_at(tmp_path, format):
    out = tmp_path / f"out{SUFFIX[format]}"
    done = run_loop(convert(cache(tmp_path / "in", LARGE), out, format=format))
    assert [text for text in done.notices if "only a sample" in text] == done.notices != []


@pytest.mark.parametrize("format", LISTING)
def test_diff_and_apply_say_where_only_a_sample_was_looked_at(tmp_path, format):
    old, new = cache(tmp_path / "old", {Tile(7, 99, 99): ROADS}), cache(tmp_path / "new", LARGE)
    changes, out = tmp_path / "changes.mbtiles", tmp_path / f"out{SUFFIX[format]}"
    done = run_loop(diff(old, new, changes))
    assert [text for text in done.notices if "only a sample" in text] == list(done.notices) != []
    # A delta that lists none: then the tiles of the cache are asked.
    run_loop(diff(old, new, tmp_path / "changes", format="compactv2"))
    run_loop(convert(old, out, format=format))
    applied = run_loop(apply(tmp_path / "changes", out))
    assert [text for text in applied.notices if "only a sample" in text] == list(applied.notices) != []
    again = run_loop(convert(out, tmp_path / "copy.mbtiles"))
    assert not [text for text in again.notices if "sample" in text], "what is stated is not asked again"
