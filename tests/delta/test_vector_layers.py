"""The list of layers and fields that vector tiles come with goes through every format that can hold them."""

from __future__ import annotations

import gzip
import json

import pytest

from harvester.caches.open import open_cache
from harvester.delta.application import apply
from harvester.delta.difference import diff
from harvester.delta.join import convert, merge
from harvester.edges import TileFormat, VectorLayer
from harvester.loop import run_loop
from harvester.manifest import Manifest
from harvester.tiling.tile import Tile
from tests.delta.making import SUFFIX, held, make

LAYER = (
    b"\x78\x02\x0a\x05roads\x12\x07\x18\x01\x22\x03\x09\x32\x22"  # version 2, name, one feature: a point
    b"\x1a\x01k\x22\x02\x28\x07\x28\x80\x20"  # key k, value 7, extent 4096
)
TILE = gzip.compress(b"\x1a" + bytes([len(LAYER)]) + LAYER, mtime=0)
"""What can be told from it is less than what is stated below (Mapbox Vector Tile 2.1)."""

ROADS = VectorLayer("roads", (("k", "Number"), ("lanes", "Boolean")), 2, 9, "every road")
RAILS = VectorLayer("rails", (("gauge", "Number"),), 0, 9)

HOLDING = [name for name in SUFFIX if name not in ("gpkg", "tpk", "tpkx")]


def cache(path, *layers, format="mbtiles", tile="2/1/1"):
    tiles = {Tile(*map(int, tile.split("/"))): TILE}
    return make(path, tiles, format=format, tile_format=TileFormat.PBF, vector_layers=layers)


def layers_of(path):
    with open_cache(path) as reader:
        return reader.info.vector_layers


@pytest.mark.parametrize("format", HOLDING)
def test_layers_come_back_as_they_were_stated(tmp_path, format):
    source = cache(tmp_path / "in.mbtiles", ROADS, RAILS)
    between = tmp_path / f"between{SUFFIX[format]}"
    run_loop(convert(source, between, format=format))
    assert layers_of(between) == (ROADS, RAILS)
    run_loop(convert(between, tmp_path / "back.mbtiles"))
    assert layers_of(tmp_path / "back.mbtiles") == (ROADS, RAILS)
    assert held(tmp_path / "back.mbtiles") == held(source)


@pytest.mark.parametrize("format", ["compact", "compactv2", "exploded"])
def test_a_folder_that_is_added_to_lists_the_layers_of_all(tmp_path, format):
    out = cache(tmp_path / "out", ROADS, format=format)
    run_loop(merge([cache(tmp_path / "more.mbtiles", RAILS, tile="2/1/2")], out, format=format))
    assert set(layers_of(out)) == {ROADS, RAILS}
    # A source that states none takes none away.
    run_loop(merge([cache(tmp_path / "plain.mbtiles", tile="2/1/3")], out, format=format))
    assert set(layers_of(out)) == {ROADS, RAILS}


@pytest.mark.parametrize("delta", ["mbtiles", "vtpk"])
@pytest.mark.parametrize("format", [name for name in HOLDING if name != "pmtiles"])
def test_layers_that_come_with_a_delta_are_listed(tmp_path, format, delta):
    old = cache(tmp_path / "old.mbtiles", ROADS)
    new = tmp_path / "new.mbtiles"
    run_loop(merge([old, cache(tmp_path / "more.mbtiles", RAILS, tile="3/1/2")], new))
    changes, out = tmp_path / f"delta{SUFFIX[delta]}", tmp_path / f"out{SUFFIX[format]}"
    run_loop(diff(old, new, changes))
    run_loop(convert(old, out, format=format))
    run_loop(apply(changes, out))
    assert set(layers_of(out)) == set(layers_of(new)) == {ROADS, RAILS}


def test_the_manifest_says_the_same_with_and_without_them(tmp_path):
    out = cache(tmp_path / "out", ROADS, format="compactv2")
    document = json.loads((out / "manifest.json").read_bytes())
    assert document["vector_layers"][0]["fields"] == {"k": "Number", "lanes": "Boolean"}
    with open_cache(out) as reader:
        text = reader.info.details["manifest"]
    assert "vector_layers" not in text
    assert Manifest.parse(text) == Manifest.parse(json.dumps(document))
    assert Manifest.parse(text).text() == text
