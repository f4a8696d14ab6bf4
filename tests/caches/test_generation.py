"""The stamp of a generation: the same tiles leave the same bytes where SOURCE_DATE_EPOCH is set, other tiles others."""

from __future__ import annotations

import json
import shutil
import sqlite3

import pytest

from harvester.caches.generation import Generation
from harvester.delta.join import convert, merge
from harvester.loop import run_loop
from tests.delta.making import SUFFIX, files, make, some

TILES = some("0/0/0", "3/1/1", "3/1/2", "9/130/127", "9/130/128")

IN_PLACE = ("mbtiles", "gpkg", "compact", "compactv2", "exploded", "xyz")
SEALED = ("tpk", "tpkx", "pmtiles")


@pytest.mark.parametrize("dedup", [False, True])
@pytest.mark.parametrize("format", [*IN_PLACE, *SEALED])
def test_the_same_tiles_converted_twice_are_the_same_bytes(tmp_path, monkeypatch, format, dedup):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    source = make(tmp_path / "in", TILES, format="compactv2")
    made = []
    for number in range(2):
        out = tmp_path / str(number) / f"out{SUFFIX[format]}"
        run_loop(convert(source, out, format=format, dedup=dedup and format == "mbtiles"))
        made.append(files(out))
    assert made[0] == made[1]


@pytest.mark.parametrize("format", IN_PLACE)
def test_so_are_merges_into_what_is_there(tmp_path, monkeypatch, format):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    one = make(tmp_path / "one", TILES, format="compactv2")
    two = make(tmp_path / "two", some("3/1/2", "5/5/5", first=9), format="compactv2")
    made = []
    for number in range(2):
        out = tmp_path / str(number) / f"out{SUFFIX[format]}"
        run_loop(convert(one, out, format=format))
        run_loop(merge([two], out, format=format))
        made.append(files(out))
    assert made[0] == made[1]


def stamp_of(path):
    if path.suffix == ".gpkg":
        sql = "SELECT metadata FROM gpkg_metadata WHERE md_standard_uri = 'urn:harvester:state'"
    else:
        sql = "SELECT value FROM metadata WHERE name = 'harvester_stamp'"
    connection = sqlite3.connect(path)
    (text,) = connection.execute(sql).fetchone()
    connection.close()
    return json.loads(text)["stamp"]


@pytest.mark.parametrize("format", ["mbtiles", "gpkg"])
def test_other_contents_have_other_stamps(tmp_path, monkeypatch, format):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    stamps = []
    addresses = list(TILES)
    for number, tiles in enumerate((
        TILES, {**TILES, addresses[3]: TILES[addresses[0]]}, dict(list(TILES.items())[:-1]), {},
        dict(zip(addresses, reversed(TILES.values()), strict=True)),
    )):  # fmt: skip
        source = make(tmp_path / f"in{number}", tiles or some("1/0/0"), format="compactv2")
        out = tmp_path / f"{number}{SUFFIX[format]}"
        run_loop(convert(source, out))
        stamps.append(stamp_of(out))
    assert len(set(stamps)) == len(stamps)


@pytest.mark.parametrize("format", ["mbtiles", "gpkg"])
def test_files_that_others_wrote_to_share_no_stamp(tmp_path, monkeypatch, format):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    source = make(tmp_path / "in", TILES, format="compactv2")
    more = make(tmp_path / "more", some("5/5/5"), format="compactv2")
    first = tmp_path / f"first{SUFFIX[format]}"
    run_loop(convert(source, first))
    table = "tiles" if format == "mbtiles" else next(iter(open_tables(first)))
    stamps = []
    for number in range(2):
        out = tmp_path / f"{number}{SUFFIX[format]}"
        shutil.copy(first, out)
        connection = sqlite3.connect(out)
        with connection:
            connection.execute(f"UPDATE {table} SET tile_data = zeroblob({number + 1}) WHERE zoom_level = 3")
        connection.close()
        run_loop(merge([more], out))
        stamps.append(stamp_of(out))
    assert stamps[0] != stamps[1]


def open_tables(path):
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT table_name FROM gpkg_contents")]
    connection.close()
    return names


def test_without_the_variable_every_stamp_is_random():
    chance, steady = Generation({}), Generation({"SOURCE_DATE_EPOCH": "0"})
    rows = [("", {(1, 0, 0): b"a"})]
    assert chance.after("", rows) != chance.after("", rows)
    assert steady.after("", rows) == steady.after("", rows)
    assert steady.after("", rows) != steady.after("x", rows)
    assert steady.after("", rows) != steady.after("", (), [("", [(1, 0, 0)])])
    assert steady.after("x+3", rows) != steady.after("x+3", rows)
