"""diff and apply: OLD brought to NEW tile for tile, from wherever between the two it stands, and nothing else."""

from __future__ import annotations

import shutil
import sqlite3
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester.audit import verify
from harvester.caches.open import open_cache
from harvester.delta.application import apply
from harvester.delta.difference import diff
from harvester.delta.join import convert
from harvester.delta.notes import carriers
from harvester.delta.record import RECORD, Touched, pack_block, parse_block
from harvester.errors import CacheError, UnsupportedFormatError, UsageError
from harvester.loop import run_loop
from harvester.testing.crash import CrashingDisk, CrashPoint
from harvester.tiling.tile import Tile
from tests.caches.making import rio
from tests.delta.making import SUFFIX, files, held, make, picture, some

OLD = some("0/0/0", "3/1/1", "3/1/2", "9/130/127", "9/130/128")
NEW = {**some("0/0/0", "3/1/1"), **some("3/1/2", "9/130/128", "12/40/50", first=40)}
"""Against OLD: two changed, one added in a LOD of its own, one deleted."""

FORMATS = [name for name in SUFFIX if name != "vtpk"]


def pair(tmp_path, format="mbtiles", **facts):
    old = make(tmp_path / f"old{SUFFIX[format]}", OLD, format=format, **facts)
    new = make(tmp_path / f"new{SUFFIX[format]}", NEW, format=format, **facts)
    return old, new


@pytest.mark.parametrize("format", FORMATS)
def test_old_becomes_new_in_every_format(tmp_path, format):
    old, new = pair(tmp_path, format)
    found = run_loop(diff(old, new, tmp_path / "delta.mbtiles"))
    assert (found.added, found.changed, found.deleted, found.same) == (1, 2, 1, 2)
    assert held(tmp_path / "delta.mbtiles") == some("3/1/2", "9/130/128", "12/40/50", first=40)
    done = run_loop(apply(tmp_path / "delta.mbtiles", old))
    assert held(old) == held(new) == NEW
    assert (done.stored, done.deleted, done.already) == (3, 1, 0)
    before = files(old)
    again = run_loop(apply(tmp_path / "delta.mbtiles", old))
    assert again.was_there
    assert files(old) == before
    with open_cache(old) as reader:
        assert not list(reader.check())
    assert {path.name for path in tmp_path.iterdir()} == {old.name, new.name, "delta.mbtiles"}


@pytest.mark.parametrize("format", FORMATS)
def test_a_second_apply_writes_nothing_though_the_first_took_a_whole_lod_away(tmp_path, format):
    old = make(tmp_path / f"old{SUFFIX[format]}", OLD, format=format)
    new = make(tmp_path / "new.mbtiles", {tile: NEW[tile] for tile in NEW if tile.level != 9}, format="mbtiles")
    run_loop(diff(old, new, tmp_path / "delta.mbtiles"))
    run_loop(apply(tmp_path / "delta.mbtiles", old))
    before = files(old)
    assert run_loop(apply(tmp_path / "delta.mbtiles", old)).was_there
    assert files(old) == before
    assert held(old) == held(new)


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "pmtiles"])
def test_every_carrier_tells_the_base_and_what_is_gone(tmp_path, format):
    assert format in carriers()
    old, new = pair(tmp_path)
    delta = tmp_path / f"delta{SUFFIX[format]}"
    run_loop(diff(old, new, delta, format=format))
    moved = tmp_path / f"elsewhere{SUFFIX[format]}"
    delta.rename(moved)
    assert held(moved) == some("3/1/2", "9/130/128", "12/40/50", first=40)
    run_loop(apply(moved, old))
    assert held(old) == NEW
    # Nothing but deleted tiles, and nothing at all.
    for number, tiles in enumerate(({tile: body for tile, body in NEW.items() if tile.level < 9}, NEW)):
        less = make(tmp_path / f"less{number}.mbtiles", tiles, format="mbtiles")
        small = tmp_path / f"small{number}{SUFFIX[format]}"
        run_loop(diff(new, less, small, format=format))
        copy = tmp_path / f"copy{number}.mbtiles"
        shutil.copy(new, copy)
        run_loop(apply(small, copy))
        assert held(copy) == tiles


def test_a_format_without_room_is_refused_with_those_that_have_it(tmp_path):
    old, new = pair(tmp_path)
    with pytest.raises(UnsupportedFormatError) as refusal:
        run_loop(diff(old, new, tmp_path / "delta.pmtiles"))
    assert "mbtiles, gpkg" in refusal.value.hint
    assert not (tmp_path / "delta.pmtiles").exists()


def test_a_copy_of_the_base_in_another_format_will_do(tmp_path):
    old, new = pair(tmp_path)
    run_loop(diff(old, new, tmp_path / "delta"))
    for format in ("tpkx", "xyz", "gpkg"):
        copy = tmp_path / f"copy-{format}{SUFFIX[format]}"
        run_loop(convert(old, copy, format=format))
        run_loop(apply(tmp_path / "delta", copy))
        assert held(copy) == NEW, format


def test_a_foreign_grid_is_as_good(tmp_path):
    tiles = some("0/20/30", "1/40/60", "3/162/240")
    later = some("0/20/30", "3/162/240", "3/163/240", first=1)
    old = make(tmp_path / "old.gpkg", tiles, format="gpkg", scheme=rio())
    new = make(tmp_path / "new", later, format="compactv2", scheme=rio())
    run_loop(diff(old, new, tmp_path / "delta.tpkx"))
    run_loop(apply(tmp_path / "delta.tpkx", old))
    assert held(old) == later


ADDRESSES = st.sampled_from([Tile(*each) for each in ((0, 0, 0), (2, 1, 1), (2, 3, 0), (8, 127, 127), (8, 128, 127),
                             (8, 127, 128), (8, 255, 255))])  # fmt: skip
TILES = st.dictionaries(ADDRESSES, st.integers(0, 3).map(picture), min_size=1)


CARRIERS = st.sampled_from([name for name in FORMATS if name in carriers()])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=TILES, new=TILES, names=st.tuples(st.sampled_from(FORMATS), st.sampled_from(FORMATS), CARRIERS))
def test_apply_of_diff_is_new(tmp_path_factory, old, new, names):
    folder = tmp_path_factory.mktemp("property")
    one, other, between = (folder / f"{n}{SUFFIX[name]}" for n, name in enumerate(names))
    make(one, old, format=names[0])
    make(other, new, format=names[1])
    found = run_loop(diff(one, other, between, format=names[2]))
    assert found.same + found.changed + found.deleted == len(old)
    assert found.same + found.changed + found.added == len(new)
    run_loop(apply(between, one))
    assert held(one) == new
    assert run_loop(apply(between, one)).was_there


def test_any_other_base_is_refused_and_left_as_it_is(tmp_path):
    old, new = pair(tmp_path, "compactv2")
    delta = tmp_path / "delta"
    run_loop(diff(old, new, delta))
    others = {
        "more": {**OLD, **some("3/7/7")},
        "less": {tile: body for tile, body in OLD.items() if tile.level},
        "untouched tile changed": {**OLD, Tile(0, 0, 0): picture(99)},
        "touched tile changed": {**OLD, Tile(3, 1, 2): picture(99)},
        "another lod": {**OLD, **some("15/7/7")},
        "moved": {Tile(tile.level, tile.row, tile.col): body
                  for tile, body in zip(OLD, [*list(OLD.values())[1:], picture(0)], strict=True)},
    }  # fmt: skip
    for name, tiles in others.items():
        out = make(tmp_path / name, tiles, format="compactv2")
        before = files(out)
        with pytest.raises(CacheError, match=r"is not what .* was made from") as refusal:
            run_loop(apply(delta, out))
        assert refusal.value.code == "wrong_base", name
        assert files(out) == before


@pytest.mark.parametrize("format", ["mbtiles", "compactv2", "exploded", "gpkg", "tpkx"])
def test_killed_at_any_step_the_same_command_completes(tmp_path, format):
    class Killed(BaseException):
        pass

    def kill():
        raise Killed

    old, new = pair(tmp_path, format)
    delta = tmp_path / "delta.mbtiles"
    run_loop(diff(old, new, delta))
    whole = CrashingDisk(CrashPoint(0))
    copy = tmp_path / f"copy{SUFFIX[format]}"
    clone(old, copy)
    run_loop(apply(delta, copy, disk=whole))
    states = set()
    for step in range(1, whole.steps + 1, max(1, whole.steps // 6)):
        out = tmp_path / f"{step}{SUFFIX[format]}"
        clone(old, out)
        with pytest.raises((Killed, CacheError)):
            run_loop(apply(delta, out, disk=CrashingDisk(CrashPoint(step), kill=kill)))
        states.add(len({tile for tile, body in held(out).items() if NEW.get(tile) == body}))
        run_loop(apply(delta, out))
        assert held(out) == NEW, step
        assert run_loop(apply(delta, out)).was_there
    assert len(states) > 1 or format == "tpkx"


def clone(old, new):
    shutil.copytree(old, new) if old.is_dir() else shutil.copy(old, new)


def test_what_is_half_way_is_gone_on_with(tmp_path):
    old, new = pair(tmp_path, "compactv2")
    run_loop(diff(old, new, tmp_path / "delta"))
    half = {**OLD, Tile(3, 1, 2): NEW[Tile(3, 1, 2)]}
    del half[Tile(9, 130, 127)]
    out = make(tmp_path / "half", half, format="compactv2")
    done = run_loop(apply(tmp_path / "delta", out))
    assert held(out) == NEW
    assert (done.stored, done.deleted, done.already) == (2, 0, 2)


def test_a_damaged_delta_changes_nothing(tmp_path):
    old, new = pair(tmp_path)
    delta = tmp_path / "delta.mbtiles"
    for number, sql in enumerate((
        "UPDATE tiles SET tile_data = zeroblob(9) WHERE zoom_level = 3",
        "DELETE FROM tiles WHERE zoom_level = 12",
        "UPDATE harvester_delta SET value = x'00' WHERE name = '3/0/0'",
        "DELETE FROM harvester_delta WHERE name = '3/0/0'",
        "UPDATE harvester_delta SET value = '{\"version\": 1}' WHERE name = 'index.json'",
        "UPDATE harvester_delta SET value = '{\"version\": 7}' WHERE name = 'index.json'",
    )):  # fmt: skip
        delta = tmp_path / f"delta{number}.mbtiles"
        run_loop(diff(old, new, delta))
        connection = sqlite3.connect(delta)
        with connection:
            connection.execute(sql)
        connection.close()
        before = files(old)
        with pytest.raises(CacheError, match=r"damaged|version 7"):
            run_loop(apply(delta, old))
        assert files(old) == before


def test_what_is_no_delta_is_refused(tmp_path):
    old, new = pair(tmp_path)
    with pytest.raises(CacheError, match=r"is no delta"):
        run_loop(apply(new, old))
    with pytest.raises(CacheError, match=r"is not there"):
        run_loop(apply(tmp_path / "none", old))
    run_loop(diff(old, new, tmp_path / "delta"))
    with pytest.raises(CacheError, match=r"is not there"):
        run_loop(apply(tmp_path / "delta", tmp_path / "none.mbtiles"))
    with pytest.raises(UsageError):
        run_loop(apply(tmp_path / "delta", tmp_path / "delta"))


@pytest.mark.parametrize("format", ["mbtiles", "tpkx", "compactv2"])
def test_a_delta_replaces_a_delta_of_the_same_base_and_no_other_cache(tmp_path, format):
    old, new = pair(tmp_path)
    delta = tmp_path / f"delta{SUFFIX[format]}"
    assert run_loop(diff(old, new, delta)).notices == ()
    assert run_loop(diff(old, new, delta)).notices == ()
    before = files(delta)
    with pytest.raises(CacheError, match=r"is a delta of another base") as refusal:
        run_loop(diff(new, old, delta))
    assert (refusal.value.exit_code, refusal.value.code) == (4, "other_base")
    assert files(delta) == before
    third = make(tmp_path / "third", some("0/0/0", "3/3/3"), format="compactv2")
    assert run_loop(diff(old, third, delta)).notices == (f"{delta} led to another cache: it is replaced",)
    run_loop(apply(delta, old))
    assert held(old) == held(third)
    with pytest.raises(CacheError, match=r"exists and is no delta"):
        run_loop(diff(old, old, new))
    assert held(new) == NEW


def test_a_damaged_tile_in_new_makes_no_delta(tmp_path):
    old = make(tmp_path / "old", OLD, format="compactv2")
    new = make(tmp_path / "new", {**OLD, Tile(3, 1, 1): picture(2)[:30]}, format="compactv2")
    with pytest.raises(CacheError, match=r"tile 3/1/1 is damaged"):
        run_loop(diff(old, new, tmp_path / "delta"))
    assert {path.name for path in tmp_path.iterdir()} == {"old", "new"}


def test_schemes_must_agree(tmp_path):
    old = make(tmp_path / "old", OLD, format="compactv2")
    new = make(tmp_path / "new", some("1/4/4"), format="compactv2", scheme=rio())
    with pytest.raises(CacheError, match=r"another tiling scheme than .*: CRS"):
        run_loop(diff(old, new, tmp_path / "delta"))
    run_loop(diff(old, old, tmp_path / "delta"))
    with pytest.raises(CacheError, match=r"was made from: CRS"):
        run_loop(apply(tmp_path / "delta", new))


def test_a_package_that_is_a_delta_is_a_sound_package(tmp_path):
    old, new = pair(tmp_path)
    delta = tmp_path / "delta.tpkx"
    run_loop(diff(old, new, delta))
    with zipfile.ZipFile(delta) as archive:
        assert archive.testzip() is None
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
    first = delta.read_bytes()
    run_loop(diff(old, new, delta))
    assert delta.read_bytes() == first


def test_an_applied_mbtiles_has_the_hash_of_its_new_tiles(tmp_path):
    old, new = pair(tmp_path)
    run_loop(convert(new, tmp_path / "whole.mbtiles"))
    run_loop(diff(old, new, tmp_path / "delta"))
    run_loop(apply(tmp_path / "delta", old))
    stated = []
    for path in (old, tmp_path / "whole.mbtiles"):
        with open_cache(path) as reader:
            stated.append(reader.info.details["agg_tiles_hash"])
    assert stated[0] == stated[1]


def test_records_come_back_as_they_were_and_others_are_damage():
    touched = {5: Touched(1, 0), 16383: Touched(0, 2**64 - 1)}
    data = pack_block(touched)
    assert parse_block(data, "delta") == touched
    assert RECORD.itemsize == 18
    for bad in (b"", data[:-3], b"\x00" * 20):
        with pytest.raises(CacheError):
            parse_block(bad, "delta")


@pytest.mark.parametrize("first", FORMATS)
def test_nothing_everything_and_all_but_nothing_between_each_pair_of_formats(tmp_path, first):
    second = FORMATS[(FORMATS.index(first) + 1) % len(FORMATS)]
    changed = some(*map(str, OLD), first=70)
    cases = {"same": OLD, "all changed": changed, "all gone but one": some("0/0/0"), "others": some("5/3/3", "6/7/8")}
    for number, (name, tiles) in enumerate(cases.items()):
        old = make(tmp_path / f"old{number}{SUFFIX[first]}", OLD, format=first)
        new = make(tmp_path / f"new{number}{SUFFIX[second]}", tiles, format=second)
        delta = tmp_path / f"delta{number}.gpkg"
        found = run_loop(diff(old, new, delta))
        assert found.added + found.changed + found.deleted == len(
            {tile for tile in {*OLD, *tiles} if OLD.get(tile) != tiles.get(tile)}
        ), name
        done = run_loop(apply(delta, old))
        assert held(old) == tiles, name
        assert done.was_there == (tiles == OLD)
        assert verify(old, deep=True).exit_code == 0
        assert run_loop(apply(delta, old)).was_there, name
