"""Only exactly what a cache folder of that format holds is taken for its own, and no link in it is written through."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from harvester.caches.foreign_names import foreign_in
from harvester.tiling.tile import Tile
from tests.cli.test_taken_names import lies_there
from tests.cli.test_whose_it_is import FOLDERS, refused
from tests.delta.making import make, picture
from tests.e2e.claims import HASTY, held

OWN = {Tile(1, row, col): picture(2 * row + col) for row in range(2) for col in range(2)}
OTHER = {Tile(1, 0, 0): picture(9), Tile(2, 3, 3): picture(10)}
PHOTO = b"\xff\xd8\xff" + b"x" * 100


@pytest.fixture
def url(serve):
    return serve().url


@pytest.mark.parametrize(
    ("format", "name"),
    [
        *(
            ("xyz", name)
            for name in (
                "5/999/7.png",
                "5/7/999.png",
                "99/1/1.png",
                "05/1/1.png",
                "3/1/0000001.png",
                "3/1/1.webp",
                "3/1/1.jpg",
                "delta/2024/5",
                "delta/index.json",
                "delta/5/0/128",
                "tiles.json.part",
                "manifest.json",
                ".incoming/photo.jpg",
            )
        ),
        *(
            ("compactv2", name)
            for name in (
                "_alllayers/L05/R0000C0000.bundle",
                "_alllayers/L05/R0000C0000.bundlx",
                "_alllayers/L05/R0001C0000.bundle",
                "_alllayers/L05/R0000C0000.bundle.part",
                "delta/index.json",
                "conf.xml.part",
                "conf.xml.aux.xml",
                ".incoming/5.part",
                "resources/x",
            )
        ),
        *(("compact", f"_alllayers/L05/R0000C0000.{ending}") for ending in ("bundle", "bundlx")),
        *(
            ("exploded", f"_alllayers/{name}")
            for name in (
                "L05/R00000000/C00000009.jpg",
                "L05/R00000000/C9.png",
                "L05/R0/C00000009.png",
                "l05/r00000000/c00000009.png",
                "L05/R0000C0000.bundle",
            )
        ),
        ("exploded", ".incoming/photo.jpg"),
    ],
)
def test_what_no_cache_of_the_format_is_called_is_not_replaced_with_it(cli, url, tmp_path, format, name):
    make(tmp_path / "topo", OWN, format=format)
    mine = tmp_path / "topo" / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_bytes(PHOTO)
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    for verb in (("run", url, "--lods", "0", "-o", "topo", *HASTY), ("convert", "in.mbtiles", "topo")):
        more = ("--mode", "overwrite", "--format", format)
        refused(cli, tmp_path, *verb, *more, code=4, words=(name.split("/")[0], "no part of a cache"))


@pytest.mark.parametrize("format", ["xyz", "exploded"])
def test_what_is_no_half_written_tile_stays_where_those_are_cleared_away(cli, url, tmp_path, format):
    make(tmp_path / "topo", OWN, format=format)
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    (tmp_path / "topo" / ".incoming").mkdir()
    (tmp_path / "topo" / ".incoming" / "5.part").write_bytes(picture(3))
    assert cli("convert", "in.mbtiles", "topo", "--format", format).code == 0
    assert not (tmp_path / "topo" / ".incoming").exists()
    (tmp_path / "topo" / ".incoming").mkdir()
    (tmp_path / "topo" / ".incoming" / "photo.jpg").write_bytes(PHOTO)
    refused(cli, tmp_path, "convert", "in.mbtiles", "topo", "--format", format, code=4, words=(".incoming/photo.jpg",))


@pytest.mark.skipif(os.path.normcase("A") == "a", reason="names here have no case")
def test_a_second_document_in_another_case_is_not_the_caches(cli, tmp_path):
    make(tmp_path / "topo", OWN, format="compactv2")
    shutil.copy(tmp_path / "topo" / "conf.xml", tmp_path / "topo" / "Conf.xml")
    if len(list((tmp_path / "topo").glob("[cC]onf.xml"))) == 2:
        assert str(foreign_in(tmp_path / "topo", "compactv2")).lower() == "conf.xml"


def link(place: Path, elsewhere: Path) -> None:
    """What lies there is moved elsewhere, and a link leads to it."""
    shutil.move(place, elsewhere)
    try:
        place.symlink_to(elsewhere)
    except OSError:
        pytest.skip("links can't be made here")


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("compactv2", "_alllayers/L01/R0000C0000.bundle"),
        ("compactv2", "_alllayers/L01"),
        ("compactv2", "_alllayers"),
        ("compactv2", "conf.xml"),
        ("compact", "_alllayers/L01/R0000C0000.bundlx"),
        ("exploded", "_alllayers/L01/R00000000"),
        ("exploded", "_alllayers/L01/R00000000/C00000000.png"),
        ("xyz", "1/0"),
        ("xyz", "1/0/0.png"),
        ("xyz", "tiles.json"),
    ],
)
def test_a_link_in_a_cache_folder_is_not_written_through(cli, url, tmp_path, format, name):
    make(tmp_path / "old.mbtiles", OWN, format="mbtiles")
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    assert cli("diff", "old.mbtiles", "in.mbtiles", "-o", "delta.mbtiles").code == 0
    make(tmp_path / "topo", OWN, format=format)
    link(tmp_path / "topo" / name, tmp_path / "elsewhere")
    for mode in ("merge", "overwrite"):
        for verb in (("run", url, "--lods", "0", "-o", "topo", *HASTY), ("merge", "in.mbtiles", "-o", "topo")):
            refused(cli, tmp_path, *verb, "--mode", mode, "--format", format, code=4, words=(name.split("/")[0],))
    refused(cli, tmp_path, "apply", "delta.mbtiles", "topo", code=4, words=(name,))
    before = lies_there(tmp_path)
    assert cli("info", "topo").code == 0 and lies_there(tmp_path) == before


def test_a_cache_that_is_itself_a_link_is_written_to(cli, tmp_path):
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    make(tmp_path / "topo", OWN, format="compactv2")
    link(tmp_path / "topo", tmp_path / "elsewhere")
    assert cli("merge", "in.mbtiles", "-o", "topo").code == 0
    assert set(held(tmp_path / "elsewhere")) == {*OWN, *OTHER} and (tmp_path / "topo").is_symlink()


@pytest.mark.parametrize("format", FOLDERS)
def test_a_bundle_of_nothing_yet_is_the_caches(tmp_path, format):
    make(tmp_path / "topo", OWN, format=format)
    for bundle in (tmp_path / "topo").rglob("*.bundl?"):
        whole = bundle.read_bytes()
        for left in (b"", bytes(64), whole[:3], whole[:13], whole[:59], whole):  # of a power cut, or cut off
            bundle.write_bytes(left if bundle.suffix == ".bundle" or len(left) in (0, 64) else whole)
            assert foreign_in(tmp_path / "topo", format) is None


@pytest.mark.parametrize("size", [0, 6, 64, 5000])
@pytest.mark.parametrize(("format", "ending"), [("compactv2", "bundle"), ("compact", "bundle"), ("compact", "bundlx")])
def test_a_bundle_that_a_kill_left_half_begun_is_the_caches_and_goes_with_it(cli, url, tmp_path, format, ending, size):
    make(tmp_path / "topo", OWN, format=format)
    (bundle,) = (tmp_path / "topo" / "_alllayers").rglob(f"*.{ending}")
    left = bundle.with_name(f"R0080C0080.{ending}.part")
    left.write_bytes(bundle.read_bytes()[:size])
    more = ("--mode", "overwrite", "--format", format)
    result = cli("run", url, "--lods", "0", "-o", "topo", *more, *HASTY)
    assert result.code == 0, result.err
    assert set(held(tmp_path / "topo")) == {Tile(0, 0, 0)}
    assert not left.exists()
