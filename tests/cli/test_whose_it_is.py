"""What is a person's own is neither deleted nor mixed with a cache, wherever it lies and whatever it is called."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import harvester
from harvester.caches.foreign_names import foreign_in
from harvester.durable import Disk
from harvester.errors import CacheError, UsageError
from harvester.output import OutputPaths, swap
from harvester.tiling.tile import Tile
from tests.cli.test_taken_names import lies_there
from tests.delta.making import make, picture
from tests.e2e.claims import HASTY, held

FOLDERS = ("compact", "compactv2", "exploded", "xyz")
OWN = {Tile(1, row, col): picture(2 * row + col) for row in range(2) for col in range(2)}
OTHER = {Tile(1, 0, 0): picture(9), Tile(2, 3, 3): picture(10)}


@pytest.fixture
def url(serve):
    return serve().url


def refused(cli, folder: Path, *arguments: object, code: int, words: tuple[str, ...]) -> None:
    before = lies_there(folder)
    result = cli(*arguments)
    assert result.code == code, (arguments, result.out, result.err)
    assert all(word in result.err for word in words), result.err
    assert lies_there(folder) == before


@pytest.mark.parametrize("format", FOLDERS)
def test_a_folder_with_a_cache_in_it_is_no_cache_to_be_written_to_or_replaced(cli, url, tmp_path, format):
    make(tmp_path / "proj" / "topo", OWN, format=format)
    (tmp_path / "proj" / "docs").mkdir()
    (tmp_path / "proj" / "docs" / "thesis.txt").write_text("mine")
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    for mode in ("merge", "overwrite"):
        more = ("--mode", mode, "--format", format)
        for verb in (("run", url, "--lods", "0", *HASTY), ("convert", "in.mbtiles", "proj"), ("merge", "in.mbtiles")):
            place = () if verb[0] == "convert" else ("-o", "proj")
            refused(cli, tmp_path, *verb, *place, *more, code=4, words=("proj exists and is no cache",))
    make(tmp_path / "old.mbtiles", OWN, format="mbtiles")
    assert cli("diff", "old.mbtiles", "in.mbtiles", "-o", "delta.mbtiles").code == 0
    refused(
        cli, tmp_path, "diff", "old.mbtiles", "in.mbtiles", "-o", "proj", "--format", format, code=4, words=("proj",)
    )
    refused(cli, tmp_path, "apply", "delta.mbtiles", "proj", code=4, words=("proj exists and is no cache",))


@pytest.mark.parametrize("name", ["thesis.txt", "docs/thesis.txt", "5", "_alllayers/notes.txt", "1/0/readme.txt"])
@pytest.mark.parametrize("format", FOLDERS)
def test_a_cache_folder_with_anything_else_in_it_is_added_to_and_not_replaced(cli, url, tmp_path, format, name):
    make(tmp_path / "topo", OWN, format=format)
    mine = tmp_path / "topo" / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    more = ("--mode", "overwrite", "--format", format)
    first = name.split("/")[0]
    for verb in (("run", url, "--lods", "0", "-o", "topo", *HASTY), ("convert", "in.mbtiles", "topo")):
        refused(cli, tmp_path, *verb, *more, code=4, words=(first, "not replaced"))
    assert cli("convert", "in.mbtiles", "topo", "--format", format).code == 0
    assert mine.read_text() == "mine" and set(held(tmp_path / "topo")) == {*OWN, *OTHER}


@pytest.mark.parametrize("format", FOLDERS)
def test_a_cache_that_is_nothing_else_is_replaced(cli, tmp_path, format):
    make(tmp_path / "topo", OWN, format=format)
    (tmp_path / "topo" / ".DS_Store").write_bytes(b"the file manager's")
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    assert cli("convert", "in.mbtiles", "topo", "--mode", "overwrite", "--format", format).code == 0
    assert held(tmp_path / "topo") == OTHER
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mbtiles", "topo"]


@pytest.mark.parametrize("format", FOLDERS)
def test_no_name_of_a_written_cache_or_delta_is_foreign(cli, tmp_path, format):
    for name, tiles in (("old", OWN), ("new", OTHER)):
        make(tmp_path / name, tiles, format=format)
        assert foreign_in(tmp_path / name, format) is None
    assert cli("diff", "old", "new", "-o", "delta", "--format", format).code == 0
    assert foreign_in(tmp_path / "delta", format) is None


@pytest.mark.parametrize("name", ["manifest.json", "root.json"])
def test_a_folder_with_the_document_of_something_else_is_not_empty(cli, url, tmp_path, name):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / name).write_text('{"name": "my pages"}')
    for mode in ("merge", "overwrite"):
        refused(cli, tmp_path, "run", url, "--lods", "0", "-o", "site", "--mode", mode, *HASTY, code=4, words=("site",))


def test_what_is_read_and_what_is_written_do_not_lie_in_each_other(cli, tmp_path):
    make(tmp_path / "a", OWN, format="compactv2")
    (tmp_path / "a" / "deep").mkdir()
    make(tmp_path / "a" / "deep" / "b.mbtiles", OTHER, format="mbtiles")
    make(tmp_path / "c.mbtiles", OTHER, format="mbtiles")
    for command in (
        ("convert", "a", "a/out.mbtiles"), ("convert", "a/deep/b.mbtiles", "a"),
        ("merge", "c.mbtiles", "a", "-o", "a/x"),
        ("merge", "a/deep/b.mbtiles", "-o", "a"), ("diff", "a", "c.mbtiles", "-o", "a/delta.mbtiles"),
        ("diff", "c.mbtiles", "a", "-o", "a"), ("apply", "a/deep/b.mbtiles", "a"),
    ):  # fmt: skip
        refused(cli, tmp_path, *command, code=2, words=("a",))
    with pytest.raises(UsageError, match="lies in"):
        harvester.export_tile_cache(tmp_path / "a", tmp_path / "a", "x")
    assert cli("convert", "a/conf.xml", "beside.mbtiles").code == 0


@pytest.mark.parametrize("format", ["compactv2", "xyz", "mbtiles", "tpkx"])
@pytest.mark.parametrize("how", ["moved", "copied"])
@pytest.mark.parametrize("ending", [".old", ".part", ".new", ".work"])
def test_a_copy_that_somebody_keeps_beside_the_output_stays(cli, url, tmp_path, format, how, ending):
    run = ("run", url, "-o", "st", "--format", format, *HASTY)
    assert cli(*run, "--lods", "0-2", "--mode", "overwrite").code == 0
    kept = tmp_path / f"st{ending}"
    if how == "moved":
        (tmp_path / "st").rename(kept)
    elif (tmp_path / "st").is_dir():
        shutil.copytree(tmp_path / "st", kept)
    else:
        shutil.copy(tmp_path / "st", kept)
    before = held(kept)
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    for lods, mode in (("0-1", "merge"), ("0-2", "merge"), ("0", "overwrite")):
        result = cli(*run, "--lods", lods, "--mode", mode)
        assert result.code in (0, 4), result.err
        assert result.code == 0 or kept.name in result.err
        assert held(kept) == before
    for mode in ("merge", "overwrite"):
        result = cli("convert", "in.mbtiles", "st", "--format", format, "--mode", mode)
        assert result.code in (0, 4), result.err
        assert result.code == 0 or kept.name in result.err
        assert held(kept) == before


def test_a_folder_of_notes_that_is_called_like_a_work_folder_stays(cli, url, tmp_path):
    for output in ("st", "st.mbtiles", "st.tpkx"):
        notes = tmp_path / f"{output}.work" / "notes.txt"
        notes.parent.mkdir()
        notes.write_text("mine")
        for mode in ("merge", "overwrite"):
            result = cli("run", url, "--lods", "0-1", "-o", output, "--mode", mode, *HASTY)
            assert result.code == (4 if output == "st.tpkx" else 0), result.err
            assert notes.read_text() == "mine"


def test_a_half_download_that_is_called_like_a_half_package_stays(cli, url, tmp_path):
    (tmp_path / "st.tpkx.part").write_bytes(b"a browser's")
    for command in (("run", url, "--lods", "0-1", "-o", "st.tpkx", *HASTY), ("convert", "in.mbtiles", "st.tpkx")):
        make(tmp_path / "in.mbtiles", OWN, format="mbtiles")
        for mode in ("merge", "overwrite"):
            refused(cli, tmp_path, *command, "--mode", mode, code=4, words=("st.tpkx.part is there",))


def test_what_a_killed_verb_left_goes_and_what_it_had_moved_away_comes_back(cli, tmp_path):
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    make(tmp_path / "st.old", OWN, format="compactv2")
    make(tmp_path / "st.new", OTHER, format="compactv2")
    (tmp_path / "st.lock").write_text("\npid 1 on there\nmakes .new\nmakes .old\n")
    assert cli("convert", "in.mbtiles", "st").code == 0
    assert set(held(tmp_path / "st")) == {*OWN, *OTHER} and held(tmp_path / "st")[Tile(1, 0, 0)] == OWN[Tile(1, 0, 0)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mbtiles", "st"]


@pytest.mark.parametrize("name", ["st/thesis.txt", "st.old/thesis.txt"])
def test_what_somebody_puts_there_while_the_new_cache_is_made_stays(tmp_path, name):
    make(tmp_path / "st", OWN, format="compactv2")
    make(tmp_path / "st.new", OTHER, format="compactv2")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = lies_there(tmp_path)
    paths = OutputPaths(out=tmp_path / "st", sealed=False, overwrite=True)
    with pytest.raises(CacheError, match=name.split("/")[name.startswith("st/")]):
        swap(paths, Disk())
    assert lies_there(tmp_path) == before
