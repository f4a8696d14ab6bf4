"""What no tile that comes could mend: a run refuses such a cache where every other verb calls it damaged."""

from __future__ import annotations

import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.delta.making import files
from tests.e2e.claims import HASTY, everything_in, held

FOLDERS = ("compact", "compactv2", "exploded")


def twice(path: Path, other: str) -> None:
    """Tile 2/2/1 is there twice; ``other``: the second one's bytes, in SQL."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE bare AS SELECT * FROM tiles")
        connection.execute("DROP TABLE tiles")
        connection.execute("ALTER TABLE bare RENAME TO tiles")
        connection.execute(
            f"INSERT INTO tiles SELECT zoom_level, tile_column, tile_row, {other} FROM tiles"
            " WHERE (zoom_level, tile_column, tile_row) = (2, 1, 1)"
        )


@pytest.mark.parametrize("ledger", ["kept", "lost"])
@pytest.mark.parametrize("lods", ["0-2", "0-1", "0-3"])
def test_a_run_refuses_a_file_that_has_two_tiles_for_one(cli, serve, tmp_path, ledger, lods):
    url, path = serve().url, tmp_path / "out.mbtiles"
    assert cli("run", url, "-o", path.name, "--lods", "0-2", *HASTY).code == 0
    twice(path, "x'89504e470d0a1a0a'")
    if ledger == "lost":
        (tmp_path / "out.mbtiles.ledger").unlink()
    before = path.read_bytes()
    assert cli("verify", path.name).code == 4
    refused = cli("run", url, "-o", path.name, "--lods", lods, *HASTY)
    assert (refused.code, path.read_bytes()) == (4, before)
    assert "2/1/1: is there more than once, and not as the same" in refused.out
    assert "harvester convert leaves it out" in refused.out
    assert cli("verify", path.name).code == 4
    why = cli("why", path.name, "2/2/1")
    assert "there more than once, and not as the same" in why.out, why.out
    assert "does not hold it" not in why.out and "asks for it again" not in why.out
    assert cli("convert", path.name, "new.mbtiles").code == 1
    mended = cli("run", url, "-o", "new.mbtiles", "--lods", "0-2", "--json", *HASTY)
    assert (mended.code, mended.json["tile_requests"]) == (0, 1)
    assert cli("verify", "new.mbtiles", "--deep").code == 0


@pytest.mark.parametrize("what", ["twice the same", "metadata is a view"])
def test_a_file_that_cannot_be_added_to_is_refused_before_a_tile_is_asked(cli, serve, tmp_path, what):
    service, path = serve(), tmp_path / "out.mbtiles"
    assert cli("run", service.url, "-o", path.name, "--lods", "0-2", *HASTY).code == 0
    if what == "twice the same":
        twice(path, "tile_data")
    else:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("ALTER TABLE metadata RENAME TO said")
            connection.execute("CREATE VIEW metadata AS SELECT * FROM said")
    (tmp_path / "out.mbtiles.ledger").unlink()
    before, asked = path.read_bytes(), service.log.count("tile")
    refused = cli("run", service.url, "-o", path.name, "--lods", "0-3", *HASTY)
    assert refused.code == 4 and "cannot be extended" in refused.out
    assert "planned" not in refused.out, "nothing was begun"
    assert service.log.count("tile") == asked
    assert path.read_bytes() == before and sorted(tmp_path.glob("out*")) == [path]


@pytest.mark.parametrize("empty", ["NULL", "x''", "''"])
def test_a_second_row_without_bytes_is_mended(cli, serve, tmp_path, empty):
    url, path = serve().url, tmp_path / "out.mbtiles"
    assert cli("run", url, "-o", path.name, "--lods", "0-2", *HASTY).code == 0
    wanted = held(path)
    twice(path, empty)
    assert cli("verify", path.name).code == 4
    assert "has no bytes" in cli("why", path.name, "2/2/1").out
    assert cli("convert", path.name, "new.gpkg").code == 1
    assert cli("run", url, "-o", path.name, "--lods", "0-2", *HASTY).code == 0
    assert cli("verify", path.name, "--deep").code == 0
    assert held(path) == wanted


@pytest.mark.parametrize("lods", ["0-2", "0-1", "0-3"])
@pytest.mark.parametrize("format", FOLDERS)
def test_a_run_refuses_a_folder_with_a_level_that_no_document_names(cli, serve, tmp_path, format, lods):
    url, out = serve().url, tmp_path / "out"
    command = ("run", url, "-o", "out", "--format", format, *HASTY)
    assert cli(*command, "--lods", "0-2").code == 0
    shutil.copytree(out / "_alllayers" / "L02", out / "_alllayers" / "L03")
    before = files(out)
    assert cli("verify", "out").code == 4
    refused = cli(*command, "--lods", lods)
    assert (refused.code, files(out)) == (4, before)
    assert "no LOD 3" in refused.out and "move it away" in refused.out
    converted = cli("convert", "out", "new.mbtiles")
    assert converted.code == 4 and "a run of the same job mends it" not in converted.err
    shutil.rmtree(out / "_alllayers" / "L03")
    assert cli(*command, "--lods", lods).code == 0
    assert cli("verify", "out", "--deep").code == 0


@pytest.mark.parametrize("ledger", ["kept", "lost"])
@pytest.mark.parametrize("lods", ["0-2", "0-1", "0-3"])
@pytest.mark.parametrize("name", ["compact bundle", "compact bundlx", "compactv2 bundle"])
def test_a_run_refuses_a_folder_with_a_bundle_that_is_none_at_whatever_level(cli, serve, tmp_path, name, lods, ledger):
    url, out = serve().url, tmp_path / "out"
    format, suffix = name.split()
    command = ("run", url, "-o", "out", "--format", format, *HASTY)
    assert cli(*command, "--lods", "0-2").code == 0
    if ledger == "lost":
        (tmp_path / "out.ledger").unlink()
    bundle = out / "_alllayers" / "L02" / f"R0000C0000.{suffix}"
    sound = bundle.read_bytes()
    bundle.write_bytes(bytes(16) + sound[16:])
    before = files(out)
    assert cli("verify", "out").code == 4
    refused = cli(*command, "--lods", lods)
    assert (refused.code, files(out)) == (4, before)
    assert "L02" in refused.out and "header and index are not whole" in refused.out
    bundle.write_bytes(sound)
    assert cli(*command, "--lods", lods).code == 0
    assert cli("verify", "out", "--deep").code == 0


@pytest.mark.parametrize("step", [5, 7])
def test_a_run_that_is_killed_between_two_files_of_a_bundle_leaves_no_damage(cli, serve, spawn, tmp_path, step):
    command = ("run", serve().url, "-o", "out", "--format", "compact", "--lods", "0-1", *HASTY)
    spawn(*command, HARVESTER_CRASH_AT=f"replace:{step}").communicate()
    alone = [file for file in tmp_path.rglob("*.bundlx") if not file.with_suffix(".bundle").exists()]
    assert len(alone) == 1
    assert cli("verify", "out").code == 1
    assert cli(*command).code == 0
    assert cli("verify", "out", "--deep").code == 0


@pytest.mark.parametrize("format", ["tpk", "tpkx"])
def test_a_run_that_plans_its_level_mends_a_package_with_a_bundle_that_is_none(cli, serve, tmp_path, format):
    url, path = serve().url, tmp_path / f"out.{format}"
    command = ("run", url, "-o", path.name, "--lods", "0-2", *HASTY)
    assert cli(*command).code == 0
    wanted = held(path)
    with zipfile.ZipFile(path) as archive:
        entry = next(each for each in archive.infolist() if each.filename.endswith("L02/R0000C0000.bundle"))
    data = bytearray(path.read_bytes())
    start = entry.header_offset + 30 + len(entry.filename)
    data[start : start + 16] = bytes(16)
    path.write_bytes(data)
    assert cli("verify", path.name).code == 4
    assert cli(*command).code == 0
    assert cli("verify", path.name, "--deep").code == 0
    assert held(path) == wanted


@pytest.mark.parametrize("format", ["compact", "compactv2", "exploded", "xyz"])
def test_a_run_refuses_a_folder_with_tiles_under_a_name_that_none_looks_for(cli, serve, tmp_path, format):
    url, out = serve().url, tmp_path / "out"
    command = ("run", url, "-o", "out", "--format", format, "--lods", "0-2", *HASTY)
    assert cli(*command).code == 0
    folder = out / "2" if format == "xyz" else out / "_alllayers" / "L02"
    first = sorted(each for each in folder.rglob("*") if each.is_file())[0]
    shutil.copy(first, first.with_name(f"0{first.name}" if format == "xyz" else first.name.replace("0000", "0001")))
    if format == "exploded":
        first.parent.rename(first.parent.with_name("R1"))
    assert cli("verify", "out").code == 4
    refused = cli(*command)
    assert refused.code == 4 and "the name is not that of a" in refused.out


def test_a_row_off_the_grid_is_no_complete_cache(cli, serve, tmp_path):
    url, path = serve().url, tmp_path / "out.mbtiles"
    command = ("run", url, "-o", path.name, "--lods", "0-2", *HASTY)
    assert cli(*command).code == 0
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE tiles SET tile_column = 9 WHERE (zoom_level, tile_column, tile_row) = (2, 1, 1)")
    assert cli("verify", path.name).code == 4
    refused = cli(*command)
    assert refused.code == 4 and "lies off the grid" in refused.out
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM tiles WHERE tile_column = 9")
    assert cli(*command).code == 0
    assert cli("verify", path.name, "--deep").code == 0


def test_a_geopackage_with_a_tile_outside_of_its_matrix_is_no_complete_cache(cli, serve, tmp_path):
    url, path = serve().url, tmp_path / "out.gpkg"
    command = ("run", url, "-o", path.name, "--lods", "0-2", *HASTY)
    assert cli(*command).code == 0
    with closing(sqlite3.connect(path)) as connection, connection:
        (table,) = connection.execute("SELECT table_name FROM gpkg_contents WHERE data_type = 'tiles'").fetchone()
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{trigger}"')
        connection.execute(f'UPDATE "{table}" SET tile_column = 9 WHERE zoom_level = 2 AND tile_column = 1')
    assert cli("verify", path.name).code == 4
    refused = cli(*command)
    assert refused.code == 4 and "outside of the tile matrix" in refused.out
    assert everything_in(tmp_path)
