"""The same tiles of the same scheme, source and policies are the same bytes, whatever they went through before."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester.caches.counted import manifest_of
from harvester.caches.open import FORMATS, open_cache
from harvester.delta.join import convert, merge
from harvester.delta.statements import service_info
from harvester.edges import TileFormat
from harvester.loop import run_loop
from harvester.manifest import Manifest
from harvester.tiling.scheme import Box, Lod
from harvester.tiling.tile import Tile
from tests.caches.making import WORLD, mercator, rio
from tests.delta.making import SUFFIX, files, held, make, picture, some

RASTERS = [name for name in SUFFIX if name != "vtpk"]
SEALED = [name for name in RASTERS if FORMATS[name].sealed]
ANY_GRID = [name for name in RASTERS if not FORMATS[name].google_only]

AREA = "the box -20,10,40,50"


def shifted():
    """A city's own numbers: its level 0 is zoom 3 of the world, with digits and an origin of its own."""
    scheme = mercator(range(3, 15))
    return replace(
        scheme,
        origin_x=-20037508.3427892,
        origin_y=20037508.3427892,
        dpi=96.000001,
        lods=tuple(
            Lod(level=lod.level - 3, resolution=round(lod.resolution, 9), scale=lod.scale) for lod in scheme.lods
        ),
    )


GOOGLE = {"esri": mercator(), "large": mercator(size=512), "shifted": shifted()}

PLACES = [
    (0, 0, 0), (1, 0, 0), (1, 1, 1), (2, 1, 1), (2, 1, 2), (2, 3, 3), (3, 4, 5), (6, 20, 40), (6, 21, 40),
    (8, 127, 127), (8, 128, 128), (9, 300, 200),
]  # fmt: skip
TILES = st.dictionaries(st.sampled_from(PLACES), st.tuples(st.integers(0, 3), st.booleans()), min_size=1)
EXTENTS = st.sampled_from([None, Box(-WORLD, -WORLD, WORLD, WORLD), Box(-9.1e6, -5.2e6, 4.4e6, 8.3e6)])

NO_TIMES = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def through(folder, tiles, names, sealed, **facts):
    """The bytes of a package: made at once, and joined of two parts that went through other formats."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOURCE_DATE_EPOCH", "1700000000")

        def part(name, wanted, format):
            chosen = {tile: body for tile, (body, first) in tiles.items() if wanted(first)}
            levels = sorted({tile.level for tile in chosen})
            words = [f"LODs {','.join(map(str, levels))}, {AREA}"]
            return make(folder / f"{name}{SUFFIX[format]}", chosen, format=format, policies=words, **facts)

        made, whole = part("made", lambda first: True, sealed), folder / f"whole{SUFFIX[sealed]}"
        run_loop(convert(made, whole))
        sides = {True, False} & {first for _, first in tiles.values()}
        parts = [part(f"part{side}", lambda first, side=side: first is side, names[side]) for side in sides]
        joined, copied, last = (folder / f"{n}{SUFFIX[name]}" for n, name in enumerate([*names[2:], sealed]))
        run_loop(merge(parts, joined, format=names[2]))
        run_loop(convert(joined, copied, format=names[3]))
        run_loop(convert(copied, last, format=sealed))
    return files(whole), files(last)


@NO_TIMES
@given(
    tiles=TILES, scheme=st.sampled_from(sorted(GOOGLE)), extent=EXTENTS,
    names=st.tuples(*[st.sampled_from(RASTERS)] * 4), sealed=st.sampled_from(SEALED),
)  # fmt: skip
def test_a_package_of_parts_that_went_through_other_formats_is_that_of_one_run(
    tmp_path_factory, tiles, scheme, extent, names, sealed
):
    size = GOOGLE[scheme].tile_width
    pictures = {Tile(*place): (picture(number, size), first) for place, (number, first) in tiles.items()}
    folder = tmp_path_factory.mktemp("google")
    one, other = through(folder, pictures, names, sealed, scheme=GOOGLE[scheme], extent=extent)
    assert one == other


@NO_TIMES
@given(
    tiles=st.dictionaries(
        st.sampled_from([(0, 2, 3), (0, 3, 3), (1, 5, 7), (2, 9, 130), (2, 128, 130), (4, 200, 127), (4, 200, 128)]),
        st.tuples(st.integers(0, 3), st.booleans()),
        min_size=1,
    ),
    names=st.tuples(*[st.sampled_from(ANY_GRID)] * 4),
    sealed=st.sampled_from([name for name in SEALED if name in ANY_GRID]),
)
def test_so_it_is_on_a_foreign_grid(tmp_path_factory, tiles, names, sealed):
    pictures = {Tile(*place): (picture(number), first) for place, (number, first) in tiles.items()}
    one, other = through(tmp_path_factory.mktemp("foreign"), pictures, names, sealed, scheme=rio())
    assert one == other


def foreign(path, tiles, stated):
    """An MBTiles file that another program made: it has a name, and says of its tiles what it likes."""
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE metadata (name TEXT, value TEXT); CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER,"
        " tile_row INTEGER, tile_data BLOB); CREATE UNIQUE INDEX places ON tiles (zoom_level, tile_column, tile_row)"
    )
    connection.executemany(
        "INSERT INTO metadata VALUES (?, ?)", [("name", "t"), *([("format", stated)] if stated else [])]
    )
    rows = ((z, col, (1 << z) - 1 - row, body) for (z, row, col), body in tiles.items())
    connection.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    return path


@NO_TIMES
@given(
    tiles=st.dictionaries(st.sampled_from(PLACES), st.sampled_from(["PNG", "JPEG", "WEBP"]), min_size=1),
    one_kind=st.sampled_from([None, None, "JPEG"]), stated=st.sampled_from(["png", "jpg", None]),
    names=st.lists(st.sampled_from(RASTERS), min_size=1, max_size=3), sealed=st.sampled_from(SEALED),
)  # fmt: skip
def test_what_another_s_file_does_not_say_nobody_invents(tmp_path_factory, tiles, one_kind, stated, names, sealed):
    """No quality, no description, pictures of several kinds: the package is the same made of the file itself, or of
    whatever was made of it."""
    kinds = {Tile(*place): one_kind or kind for place, kind in tiles.items()}
    if len(set(kinds.values())) > 1:
        names, sealed = [name for name in names if name != "pmtiles"] or ["gpkg"], sealed.replace("pmtiles", "tpkx")
    pictures = {tile: picture(sum(tile), kind=kind) for tile, kind in kinds.items()}
    folder = tmp_path_factory.mktemp("foreign")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOURCE_DATE_EPOCH", "1700000000")
        last = made = foreign(folder / "made.mbtiles", pictures, stated)
        whole, ends = folder / f"whole{SUFFIX[sealed]}", folder / f"ends{SUFFIX[sealed]}"
        run_loop(convert(made, whole))
        for number, name in enumerate(names):
            path = folder / f"{number}{SUFFIX[name]}"
            run_loop(convert(last, path, format=name))
            last = path
            with open_cache(last) as reader:
                assert not service_info(last, reader).description
        run_loop(convert(last, ends))
    assert files(whole) == files(ends)


@pytest.mark.parametrize("between", [name for name in RASTERS if name != "tpkx"])
def test_what_a_format_has_no_words_for_comes_back(tmp_path, monkeypatch, between):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    tiles = {Tile(0, 0, 0): picture(1, kind="JPEG"), Tile(4, 3, 7): picture(2, kind="JPEG")}
    facts = {"tile_format": TileFormat.JPEG, "compression_quality": 55.0, "extent": Box(-1.1e6, 2.2e6, 3.3e6, 7.7e6)}
    first = make(tmp_path / "first.tpkx", tiles, format="tpkx", scheme=shifted(), **facts)
    middle, last = tmp_path / f"middle{SUFFIX[between]}", tmp_path / "last.tpkx"
    run_loop(convert(first, middle, format=between))
    run_loop(convert(middle, last))
    assert files(first) == files(last)


def test_tiles_in_mixed_formats_stay_mixed_through_mbtiles(tmp_path):
    tiles = {Tile(0, 0, 0): picture(1), Tile(1, 1, 0): picture(2, kind="JPEG"), Tile(1, 0, 0): picture(3)}
    first = make(tmp_path / "first", tiles, format="compactv2", tile_format=TileFormat.MIXED)
    run_loop(convert(first, tmp_path / "middle.mbtiles"))
    run_loop(convert(tmp_path / "middle.mbtiles", tmp_path / "last"))
    with open_cache(tmp_path / "last") as reader:
        assert reader.info.tile_format is TileFormat.MIXED


@pytest.mark.parametrize("city_first", [True, False])
@pytest.mark.parametrize("zoom", [2, 5])
def test_a_city_s_own_numbers_and_the_world_s_are_joined_where_they_are_the_same_grid(tmp_path, city_first, zoom):
    city = make(tmp_path / "city.mbtiles", some("2/10/11"), format="mbtiles", scheme=shifted())
    world = make(tmp_path / "world.mbtiles", some(f"{zoom}/1/2", first=5), format="mbtiles")
    both = [city, world] if city_first else [world, city]
    run_loop(merge(both, tmp_path / "out.mbtiles"))
    assert held(tmp_path / "out.mbtiles") == {**some("5/10/11"), **some(f"{zoom}/1/2", first=5)}
    for path in both:
        run_loop(convert(path, tmp_path / "added.mbtiles"))
    assert held(tmp_path / "added.mbtiles") == held(tmp_path / "out.mbtiles")


def test_an_extent_never_speaks_of_tiles_that_a_delta_took_away(tmp_path):
    """Adding what is there already changes nothing, and the extent is that of the tiles, not of what once was there."""
    wide = make(tmp_path / "wide.mbtiles", some("5/3/3", "5/20/20"), format="mbtiles")
    narrow = make(tmp_path / "narrow.mbtiles", some("5/3/3"), format="mbtiles")
    run_loop(convert(wide, tmp_path / "out.mbtiles"))
    run_loop(convert(narrow, tmp_path / "out.mbtiles", overwrite=True))
    boxes = []
    for path in (narrow, tmp_path / "out.mbtiles"):
        with open_cache(path) as reader:
            boxes.append(manifest_of(reader).extent)
    assert boxes[0] == boxes[1] == mercator().box(Tile(5, 3, 3))


@pytest.mark.parametrize(
    "change",
    [
        {"lods": []},
        {"tile": [0, 256]},
        {"origin": [float("nan"), 0]},
        {"lods": [[0, -1.0, 1.0]]},
        {"lods": [[0, 1.0, 1.0], [0, 0.5, 0.5]]},
        {"lods": [[n, 1.0 / (n + 1), 1.0] for n in range(300)]},
        {"tile": [1 << 20, 256]},
    ],
    ids=["no LOD", "no pixels", "no number", "negative", "twice", "too many", "too large"],
)
def test_a_scheme_that_no_source_has_is_not_taken_from_a_manifest(change):
    stated = Manifest(source="https://gis.example.org", scheme=mercator()).to_dict()
    assert Manifest.parse(json.dumps(stated)).scheme == mercator()
    stated["scheme"] |= change
    assert Manifest.parse(json.dumps(stated)).scheme is None


def test_a_manifest_whose_scheme_has_no_place_for_the_tiles_is_not_believed(tmp_path):
    """Another program has added a zoom that the source never had."""
    path = make(tmp_path / "a.mbtiles", some("0/0/0", "2/1/1"), format="mbtiles", scheme=mercator(range(3)))
    add_zoom(path)
    done = run_loop(convert(path, tmp_path / "b"))
    assert done.tiles == 3
    with open_cache(tmp_path / "b") as reader:
        assert list(reader.levels()) == [0, 2, 7]


def add_zoom(path):
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO tiles VALUES (7, 1, 1, ?)", (picture(9),))
    connection.commit()
    connection.close()
