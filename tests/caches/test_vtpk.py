"""Vector tile packages: the promises of a reader, what other people's readers find, the tile index, resources, one
result for one content."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.caches import open as formats
from harvester.caches.compact_writer import open_writer
from harvester.caches.layer_survey import survey
from harvester.caches.open import open_cache, require_can_hold
from harvester.caches.vector_layers import join_layers, parse_layers, parse_text, render_layers
from harvester.caches.vtpk import open_reader, seal, unpack
from harvester.caches.vtpk_index import parse_index, render_index
from harvester.caches.vtpk_resources import STYLE, Resources, is_name
from harvester.delta.difference import diff
from harvester.delta.join import convert
from harvester.durable import Disk
from harvester.edges import Stored, Subject, TileFormat, VectorLayer
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.loop import run_loop
from harvester.testing.vector import LINE, layer, packed, tile, tile_mvt
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey, Tile, block_of
from tests.caches import test_package
from tests.caches.foreign import ask
from tests.caches.making import mercator, subject, utm, write
from tests.caches.test_package import EXTENT, SealingWriter

WORLD = mercator(size=512)

LEVELS = (0, 1, 2, 3)


class VtpkWriter(SealingWriter):
    """Seals a vector tile package."""

    seal = staticmethod(seal)


class TestContract(test_package.TestContract):
    """The reader's promises, on packages sealed after every writing."""

    name = "cache.vtpk"
    reader_name = "harvester.caches.vtpk:open_reader"

    async def open_writer(self, path: Path, about: Subject) -> Any:
        if path.exists() and not self.work.exists():
            unpack(path, self.work, disk=Disk())
        return VtpkWriter(await open_writer(self.work, about), path, self.work, about)


def vector(levels: Iterable[int] = LEVELS, scheme: TilingScheme = WORLD, **more: Any) -> Subject:
    return subject(scheme, levels=tuple(levels), tile_format=TileFormat.PBF, extent=EXTENT, **more)


def world(levels: Iterable[int] = LEVELS) -> list[Stored]:
    return [
        Stored(Tile(n, row, col), tile_mvt(n, row, col), "pbf")
        for n in levels
        for row in range(1 << n)
        for col in range(1 << n)
    ]


def package(
    folder: Path, kept: Mapping[str, bytes] = {}, *, about: Subject | None = None, batch: list[Stored] | None = None
) -> Path:
    """A sealed package of a small world with these resources."""
    about = about or vector()
    folder.mkdir(exist_ok=True)
    write(folder / "work", about, batch or world())
    resources = Resources(folder / "work", Disk())
    for name, data in kept.items():
        resources.put(name, data)
    seal(folder / "work", folder / "a.vtpk", about, disk=Disk())
    return folder / "a.vtpk"


def document(path: Path, name: str) -> Any:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(name))


# ---------------------------------------------------------------------------------------------- what is in it


def test_a_package_holds_what_a_vector_tile_service_says_of_itself(tmp_path: Path) -> None:
    path = package(tmp_path)
    with zipfile.ZipFile(path) as archive:
        names = [entry.filename for entry in archive.infolist()]
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        item = archive.read("esriinfo/iteminfo.xml").decode()
    assert names[:5] == [
        "esriinfo/item.pkinfo",
        "esriinfo/iteminfo.xml",
        "esriinfo/thumbnail/thumbnail.png",
        "p12/root.json",
        "p12/metadata.json",
    ]
    assert names[-1] == "p12/tile/L03/R0000C0000.bundle"
    assert "<type>Vector Tile Package</type>" in item and "<typekeyword>vtpk</typekeyword>" in item
    root = document(path, "p12/root.json")
    assert (root["type"], root["tileMap"], root["tiles"]) == ("indexedVector", "tilemap", ["tile/{z}/{y}/{x}.pbf"])
    assert (root["minLOD"], root["maxLOD"], root["maxzoom"]) == (0, 3, 19)
    assert root["tileInfo"]["format"] == "pbf" and root["tileInfo"]["cols"] == 512
    assert root["resourceInfo"]["cacheInfo"]["storageInfo"] == {"packetSize": 128, "storageFormat": "compactV2"}
    assert root["defaultStyles"] == "resources/styles"


def test_layers_and_fields_are_found_in_the_tiles(tmp_path: Path) -> None:
    path = package(tmp_path)
    assert document(path, "p12/metadata.json")["vector_layers"] == [
        {"id": "blocks", "fields": {"height": "Number", "ref": "String"}, "minzoom": 2, "maxzoom": 3},
        {
            "id": "places",
            "fields": {"col": "Number", "level": "Number", "name": "String", "row": "Number", "variant": "Number"},
            "minzoom": 0,
            "maxzoom": 3,
        },
        {"id": "roads", "fields": {"class": "String", "oneway": "Boolean"}, "minzoom": 0, "maxzoom": 3},
    ]
    with open_cache(path) as reader:
        assert [each.id for each in reader.info.vector_layers] == ["blocks", "places", "roads"]
        assert (reader.info.format, reader.info.tile_format) == ("vtpk", TileFormat.PBF)


def test_a_package_without_a_style_has_one_that_shows_every_layer(tmp_path: Path) -> None:
    path = package(tmp_path)
    style = document(path, "p12/resources/styles/root.json")
    assert style["sources"] == {"esri": {"type": "vector", "url": "../../"}}
    assert {each["source-layer"] for each in style["layers"]} == {"blocks", "places", "roads"}
    assert {each["type"] for each in style["layers"]} == {"fill", "line", "circle"}


def test_resources_travel_with_the_package_and_out_of_it(tmp_path: Path) -> None:
    held = {
        STYLE: b'{"version":8,"layers":[]}',
        "sprites/sprite.json": b"{}",
        "fonts/Arial Regular/0-255.pbf": b"glyphs",
    }
    path = package(tmp_path, held)
    assert document(path, "p12/resources/info/root.json") == {
        "resourceInfo": ["../fonts/Arial Regular/0-255.pbf", "../sprites/sprite.json"]
    }
    with open_reader(path) as reader:
        assert (reader.info.details["style"], reader.info.details["fonts"]) == ("yes", "1")
    unpack(path, tmp_path / "again", disk=Disk())
    resources = Resources(tmp_path / "again", Disk())
    assert {name: resources.read(name) for name in resources.names()} == held
    seal(tmp_path / "again", tmp_path / "b.vtpk", vector(), disk=Disk())
    assert (tmp_path / "b.vtpk").read_bytes() == path.read_bytes()


def test_a_format_of_tiles_alone_says_before_the_first_tile_what_it_leaves_out(tmp_path: Path) -> None:
    path = package(tmp_path, {"sprites/sprite.json": b"{}", "fonts/Arial Regular/0-255.pbf": b"glyphs"})
    told: list[str] = []
    run_loop(convert(path, tmp_path / "a.mbtiles", tell=told.append))
    assert told == [
        f"mbtiles holds tiles alone: the style, sprites and fonts of {path} are left out; a .vtpk holds them"
    ]
    told.clear()
    run_loop(convert(path, tmp_path / "b.vtpk", tell=told.append))
    run_loop(convert(tmp_path / "a.mbtiles", tmp_path / "c.pmtiles", tell=told.append))
    run_loop(diff(tmp_path / "a.mbtiles", path, tmp_path / "d.mbtiles"))
    assert told == []


def test_one_thing_that_is_left_out_is_told_of_as_one(tmp_path: Path) -> None:
    told: list[str] = []
    path = package(tmp_path, {"styles/root.json": b"{}"})
    run_loop(convert(path, tmp_path / "a.mbtiles", tell=told.append))
    assert told == [f"mbtiles holds tiles alone: the style of {path} is left out; a .vtpk holds it"]


@pytest.mark.parametrize(
    "name", ["fonts/../x/0-255.pbf", "fonts/a\\b/0.pbf", "other/x", "fonts/x./0.pbf", "styles", "fonts/C:/0.pbf", ""]
)
def test_a_resource_that_leads_out_of_its_folder_is_none(name: str, tmp_path: Path) -> None:
    assert not is_name(name)
    with pytest.raises(ValueError):
        Resources(tmp_path, Disk()).put(name, b"x")


def test_the_same_tiles_in_another_order_make_the_same_bytes(tmp_path: Path) -> None:
    first = package(tmp_path / "one")
    second = package(tmp_path / "two", batch=world()[::-1])
    assert first.read_bytes() == second.read_bytes()


def test_only_vector_tiles_go_into_a_package() -> None:
    for kind in TileFormat:
        info = replace(vector().info, tile_format=kind)
        if kind is TileFormat.PBF:
            assert require_can_hold("vtpk", info, LEVELS) == ()
        else:
            with pytest.raises(UnsupportedFormatError, match=kind.value.upper()):
                require_can_hold("vtpk", info, LEVELS)
    with pytest.raises(UnsupportedFormatError) as caught:
        require_can_hold("tpkx", vector().info, LEVELS)
    assert "vtpk" in caught.value.hint


def test_bundles_of_another_width_are_refused(tmp_path: Path) -> None:
    path = package(tmp_path)
    changed = tmp_path / "other.vtpk"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry.filename, data.replace(b'"packetSize":128', b'"packetSize":64'))
    with pytest.raises(UnsupportedFormatError, match="64 tiles wide"):
        open_reader(changed)


def test_an_archive_without_the_service_document_is_no_package(tmp_path: Path) -> None:
    path = tmp_path / "x.vtpk"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("p12/tile/L00/R0000C0000.bundle", b"x")
    with pytest.raises(CacheError, match=r"no p12/root\.json"):
        open_reader(path)


# ---------------------------------------------------------------------------------------------- other people's readers


VTPK_READER = """
import hashlib, json, sys
import shapely.ops
from vtpk_reader import Vtpk
package = Vtpk(sys.argv[1])
found = {}
for level in range(package.min_lod, package.max_lod + 1):
    for tile in package.get_tiles([level], None):
        features = package.tile_features(tile)
        place = features["places"]["features"][0]
        x, y = place["geometry"].coords[0]
        found[place["properties"]["name"]] = [level, tile.y, tile.x, round(x), round(y), sorted(features)]
print(json.dumps({"tiles": found, "crs": package.crs.to_epsg()}))
"""


def test_another_reader_finds_every_tile_and_its_features_in_their_places(tmp_path: Path) -> None:
    found = ask(tmp_path, VTPK_READER, package(tmp_path))
    assert found["crs"] == 3857 and len(found["tiles"]) == 85
    for name, (level, row, col, x, y, layers) in found["tiles"].items():
        assert name == f"{level}/{row}/{col}"
        box = WORLD.box(Tile(level, row, col))
        assert (x, y) == (round((box.xmin + box.xmax) / 2), round((box.ymin + box.ymax) / 2))
        assert layers == (["blocks", "places", "roads"] if level >= 2 else ["places", "roads"])


# ---------------------------------------------------------------------------------------------- the tile index


class Held:
    """A cache of tiles without bytes."""

    def __init__(self, tiles: Iterable[Tile]) -> None:
        self.held = set(tiles)

    def levels(self) -> list[int]:
        return sorted({tile.level for tile in self.held})

    def blocks(self, level: int) -> list[BlockKey]:
        return sorted({block_of(tile) for tile in self.held if tile.level == level})

    def present(self, key: BlockKey) -> Any:
        mask = np.zeros((BLOCK, BLOCK), np.bool_)
        for each in self.held:
            if block_of(each) == key:
                mask[each.row - key.row, each.col - key.col] = True
        return mask


def walked(node: Any, level: int = 0, row: int = 0, col: int = 0) -> set[Tile]:
    """The tiles that an index names, as the reference describes it."""
    if node == 0:
        return set()
    found = {Tile(level, row, col)}
    if isinstance(node, list):
        for number, child in enumerate(node):
            found |= walked(child, level + 1, 2 * row + number // 2, 2 * col + number % 2)
    return found


@given(st.sets(st.integers(0, 11).flatmap(lambda n: st.tuples(st.just(n), *[st.integers(0, (1 << n) - 1)] * 2))))
@settings(max_examples=60, deadline=None)
def test_the_index_names_every_tile_and_those_above_it(places: set[tuple[int, int, int]]) -> None:
    tiles = {Tile(*place) for place in places}
    held: Any = Held(tiles)
    index = render_index(held, WORLD)
    if not tiles:
        assert index is None
        return
    assert index is not None
    found = walked(json.loads(index)["index"])
    above = {
        Tile(n, each.row >> each.level - n, each.col >> each.level - n) for each in tiles for n in range(each.level)
    }
    assert found == tiles | above
    for key in {block_of(each) for each in found}:
        mask = parse_index(json.loads(index), key)
        assert mask is not None and (mask == Held(found).present(key)).all()


def test_a_grid_that_is_no_quadtree_has_no_index(tmp_path: Path) -> None:
    held: Any = Held({Tile(2, 3, 3)})
    assert render_index(held, utm()) is None
    outside: Any = Held({Tile(1, 200, 3)})
    assert render_index(outside, WORLD) is None
    about = vector((3, 4), utm())
    path = package(tmp_path, about=about, batch=[Stored(Tile(4, 5142, 5177), tile_mvt(4, 5142, 5177), "pbf")])
    assert "tileMap" not in document(path, "p12/root.json")
    with open_reader(path) as reader:
        assert reader.read(4, 5142, 5177) == tile_mvt(4, 5142, 5177)


def test_too_many_tiles_have_no_index() -> None:
    held: Any = Held({Tile(3, row, col) for row in range(8) for col in range(8)})
    assert render_index(held, WORLD, most_tiles=63) is None
    assert render_index(held, WORLD, most_tiles=64) is not None
    assert render_index(held, WORLD, most_blocks=0) is None


@pytest.mark.parametrize("node", [7, "x", [1, 2, 3], 2, None])
def test_an_index_that_cannot_be_followed_says_nothing(node: Any) -> None:
    assert parse_index({"index": node}, BlockKey(9, 0, 0)) is None
    assert parse_index(7, BlockKey(9, 0, 0)) is None


# ---------------------------------------------------------------------------------------------- layers


def test_layers_of_several_lists_are_joined(tmp_path: Path) -> None:
    one = VectorLayer("roads", (("class", "String"),), 3, 9, "Roads")
    two = VectorLayer("roads", (("class", "Number"), ("ref", "String")), 1, 12)
    other = VectorLayer("water")
    assert join_layers([one], [two, other]) == (
        VectorLayer("roads", (("class", "String"), ("ref", "String")), 1, 12, "Roads"),
        other,
    )
    assert parse_layers(render_layers([one, other])) == (one, other)


def test_layers_that_came_with_different_lods_have_the_order_of_those_that_came_at_once() -> None:
    low, high = VectorLayer("roads", (("name", "String"),), 0, 1), VectorLayer("blocks", (("height", "Number"),), 2, 3)
    more = VectorLayer("roads", (("class", "String"), ("name", "String")), 2, 3)
    whole = (high, VectorLayer("roads", more.fields, 0, 3))
    assert join_layers([low], [high, more]) == join_layers([high, more], [low]) == whole
    stated = [VectorLayer("water"), VectorLayer("land")]
    assert join_layers(stated, stated) == join_layers((), stated) == tuple(stated)


KEYS = st.sampled_from(["id", "fields", "minzoom", "description", "vector_layers"])


def nested(leaf: st.SearchStrategy[Any], keys: st.SearchStrategy[str], depth: int) -> st.SearchStrategy[Any]:
    """JSON values, so deep."""
    if not depth:
        return leaf
    inner = nested(leaf, keys, depth - 1)
    return inner | st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)


@given(nested(st.none() | st.booleans() | st.integers() | st.text(max_size=5), KEYS, 3))
def test_whatever_stands_in_place_of_the_list_is_read_without_harm(value: Any) -> None:
    for each in (value, [value]):
        assert all(isinstance(found, VectorLayer) for found in parse_layers(each))
    assert isinstance(parse_text(json.dumps(value)), tuple)


def test_a_field_of_several_types_is_a_text(tmp_path: Path) -> None:
    shapes = [(LINE, [[(0, 0), (9, 9)]], {"lanes": value}) for value in (2, "two")]
    body = packed(tile([layer("roads", shapes)]))
    path = package(tmp_path, batch=[Stored(Tile(0, 0, 0), body, "pbf")], about=vector((0,)))
    with open_reader(path) as reader:
        assert survey(reader).layers == (VectorLayer("roads", (("lanes", "String"),), 0, 0),)


def test_a_cache_of_pictures_has_no_layers(tmp_path: Path) -> None:
    write(tmp_path / "pictures", subject(levels=(9,)), [Stored(Tile(9, 0, 0), b"\x89PNG\r\n\x1a\n", "png")])
    with formats.open_cache(tmp_path / "pictures") as reader:
        assert survey(reader).layers == ()


@pytest.mark.shared_data
@pytest.mark.parametrize("number", [1, 2])
def test_what_another_maker_lists_of_its_tiles_is_what_is_found_in_them(shared_data: Path, number: int) -> None:
    with open_cache(shared_data / "pmtiles" / f"test_fixture_{number}.pmtiles") as reader:
        assert reader.info.vector_layers == survey(reader).layers != ()
