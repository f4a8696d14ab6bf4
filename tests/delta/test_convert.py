"""convert: every tile of a cache, byte for byte, in a cache of any other format that can hold it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest

from harvester.caches.open import open_cache
from harvester.delta.join import convert, merge
from harvester.delta.target import BATCH_TILES
from harvester.durable import Disk, lock
from harvester.edges import TileFormat
from harvester.errors import CacheError, LockedError, UnsupportedFormatError, UsageError
from harvester.ledger import open_ledger
from harvester.loop import run_loop
from harvester.tiling.tile import Tile
from tests.caches.making import mercator, rio, utm
from tests.delta.making import SUFFIX, files, held, make, picture, some

WORLD = some("0/0/0", "1/0/1", "1/1/0", "9/130/127", "9/130/128", "9/257/3")
GOOGLE = tuple(SUFFIX)
FOREIGN = tuple(name for name in SUFFIX if name not in ("mbtiles", "pmtiles", "xyz"))


def test_every_tile_comes_along_from_each_format_to_each(tmp_path):
    for one, other in ring([name for name in GOOGLE if name != "vtpk"]):
        source = make(tmp_path / f"in-{one}{SUFFIX[one]}", WORLD, format=one)
        out = tmp_path / f"{one}-to-{other}{SUFFIX[other]}"
        summary = run_loop(convert(source, out, format=other))
        assert held(out) == WORLD, (one, other)
        assert (summary.exit_code, summary.tiles, summary.lods[9][0]) == (0, 6, 3)
        with open_cache(out) as reader:
            assert reader.info.format == other
            assert reader.info.name == "Streets" or other == "gpkg"
            assert not list(reader.check())
    leftovers = [path.name for path in tmp_path.iterdir() if path.suffix in (".lock", ".part", ".new", ".old", ".work")]
    assert not leftovers


def ring(names):
    """Each format once read and once written: a reader knows nothing of the writer that comes after it."""
    return list(pairwise([*names, names[0]]))


@pytest.mark.parametrize("scheme", [utm(), rio()], ids=["utm", "rio"])
def test_a_foreign_grid_goes_wherever_it_can(tmp_path, scheme):
    tiles = some("0/20/30", "1/40/60", "3/162/240", "4/3/2")
    for one, other in ring([name for name in FOREIGN if name != "vtpk"]):
        source = make(tmp_path / f"in-{one}{SUFFIX[one]}", tiles, format=one, scheme=scheme)
        out = tmp_path / f"{one}-to-{other}{SUFFIX[other]}"
        run_loop(convert(source, out, format=other))
        assert held(out) == tiles, (one, other)


def test_levels_go_by_tile_span_and_origin(tmp_path):
    """A level of 512-pixel tiles is the zoom of the same span, and comes back as that."""
    tiles = {Tile(3, 1, 2): picture(1, 512), Tile(4, 3, 5): picture(2, 512)}
    halved = mercator(size=512)
    source = make(tmp_path / "in", tiles, format="compactv2", scheme=halved)
    run_loop(convert(source, tmp_path / "out.mbtiles"))
    assert held(tmp_path / "out.mbtiles") == tiles
    from dataclasses import replace

    renumbered = replace(halved, lods=tuple(replace(lod, level=lod.level + 5) for lod in halved.lods))
    shifted = make(
        tmp_path / "shifted", {Tile(8, 1, 2): picture(1, 512), Tile(9, 3, 5): picture(2, 512)},
        format="compactv2", scheme=renumbered,
    )  # fmt: skip
    run_loop(convert(shifted, tmp_path / "zooms.mbtiles"))
    assert held(tmp_path / "zooms.mbtiles") == tiles
    # Into a cache that is there, with other numbers for the same levels.
    run_loop(convert(tmp_path / "zooms.mbtiles", make(tmp_path / "old", {Tile(9, 0, 0): picture(9, 512)},
             format="compactv2", scheme=renumbered)))  # fmt: skip
    assert held(tmp_path / "old") == {Tile(9, 0, 0): picture(9, 512), Tile(8, 1, 2): picture(1, 512),
                                      Tile(9, 3, 5): picture(2, 512)}  # fmt: skip


def test_a_grid_that_a_format_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    source = make(tmp_path / "in", some("0/20/30"), format="compactv2", scheme=utm())
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UnsupportedFormatError, match="not in web mercator") as refusal:
        run_loop(convert(source, tmp_path / "new" / "out.mbtiles"))
    assert "Formats that can: gpkg, compactv2" in refusal.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_tiles_that_out_has_stay_unless_it_is_overwritten(tmp_path):
    for format in ("mbtiles", "compactv2", "tpkx", "pmtiles", "xyz", "gpkg"):
        out = make(tmp_path / f"out-{format}{SUFFIX[format]}", some("1/0/0", "1/0/1", first=50), format=format)
        source = make(tmp_path / f"in-{format}{SUFFIX[format]}", some("1/0/1", "4/9/9"), format=format)
        summary = run_loop(convert(source, out, format=format))
        assert held(out) == {**some("1/0/1", "4/9/9"), **some("1/0/0", "1/0/1", first=50)}, format
        assert (summary.tiles, summary.kept) == (1, 1)
        again = files(out)
        assert run_loop(convert(source, out, format=format)).tiles == 0
        assert held(out) == {**some("1/0/1", "4/9/9"), **some("1/0/0", "1/0/1", first=50)}
        if format != "gpkg":
            assert files(out) == again, format
        run_loop(convert(source, out, format=format, overwrite=True))
        assert held(out) == some("1/0/1", "4/9/9"), format


def test_a_damaged_tile_is_listed_and_left_out(tmp_path):
    tiles = {**some("2/1/1", "2/1/2"), Tile(2, 2, 2): picture(5)[:-9], Tile(2, 3, 3): b"<html>sorry</html>"}
    source = make(tmp_path / "in", tiles, format="compactv2")
    summary = run_loop(convert(source, tmp_path / "out.mbtiles"))
    assert held(tmp_path / "out.mbtiles") == some("2/1/1", "2/1/2")
    assert (summary.exit_code, summary.damaged, summary.complete) == (1, 2, False)
    assert [(each["row"], each["col"], each["reason"]) for each in summary.damages] == [
        (2, 2, "truncated"), (3, 3, "not_an_image"),
    ]  # fmt: skip


def test_a_picture_of_another_size_keeps_its_bytes(tmp_path):
    tiles = {**some("2/1/1"), Tile(2, 1, 2): picture(3, 17)}
    source = make(tmp_path / "in.mbtiles", tiles, format="mbtiles")
    assert run_loop(convert(source, tmp_path / "out")).exit_code == 0
    assert held(tmp_path / "out") == tiles


def test_mbtiles_carry_the_hash_over_all_tiles(tmp_path):
    source = make(tmp_path / "in", WORLD, format="compactv2")
    for dedup in (False, True):
        out = tmp_path / f"out-{dedup}.mbtiles"
        run_loop(convert(source, out, dedup=dedup))
        connection = sqlite3.connect(out)
        digest = hashlib.md5(usedforsecurity=False)
        for zoom, col, row, body in connection.execute("SELECT * FROM tiles ORDER BY 1, 2, 3"):
            digest.update(f"{zoom}{col}{row}".encode() + body)
        (stated,) = connection.execute("SELECT value FROM metadata WHERE name = 'agg_tiles_hash'").fetchone()
        connection.close()
        assert stated == digest.hexdigest().upper()


def test_dedup_says_what_it_saved(tmp_path):
    same = {tile: picture(1) for tile in some("5/1/1", "5/1/2", "5/1/3")}
    source = make(tmp_path / "in", same, format="compactv2")
    assert run_loop(convert(source, tmp_path / "a.mbtiles", dedup=True)).dedup_saved == 2 * len(picture(1))
    assert run_loop(convert(source, tmp_path / "a.pmtiles")).dedup_saved == 2 * len(picture(1))
    assert run_loop(convert(source, tmp_path / "b.mbtiles")).dedup_saved is None
    more = make(tmp_path / "more.tpkx", {tile: picture(1) for tile in some("4/1/1", "4/1/2")}, format="tpkx")
    for name in ("a.mbtiles", "a.pmtiles"):
        assert run_loop(merge([more], tmp_path / name)).dedup_saved == 4 * len(picture(1))


def test_attribution_and_name_come_along(tmp_path):
    source = make(tmp_path / "in.tpkx", WORLD, format="tpkx")
    for out in ("out.mbtiles", "out.pmtiles", "out.gpkg", "out"):
        run_loop(convert(source, tmp_path / out))
        with open_cache(tmp_path / out) as reader:
            assert (reader.info.name, reader.info.attribution) == ("Streets", "© Example & Söhne <gis>"), out


def test_the_same_tiles_make_the_same_package(tmp_path):
    one = make(tmp_path / "one", WORLD, format="compactv2")
    other = make(tmp_path / "other", dict(reversed(WORLD.items())), format="compactv2")
    for suffix in (".tpkx", ".pmtiles"):
        for source in (one, other):
            run_loop(convert(source, tmp_path / f"{source.name}{suffix}"))
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"other{suffix}").read_bytes()


def test_what_is_no_cache_is_never_touched(tmp_path):
    source = make(tmp_path / "in", WORLD, format="compactv2")
    (tmp_path / "letter.mbtiles").write_text("dear")
    with pytest.raises(CacheError, match="is no cache"):
        run_loop(convert(source, tmp_path / "letter.mbtiles", overwrite=True))
    assert (tmp_path / "letter.mbtiles").read_text() == "dear"
    with pytest.raises(UsageError, match="both read and written"):
        run_loop(convert(source, source, format="compactv2"))
    with pytest.raises(CacheError, match="not there"):
        run_loop(convert(tmp_path / "nothing.mbtiles", tmp_path / "out.mbtiles"))


def test_a_cache_of_another_scheme_is_not_added_to(tmp_path):
    source = make(tmp_path / "in", some("1/2/3"), format="compactv2", scheme=utm())
    out = make(tmp_path / "out", some("1/0/1"), format="compactv2")
    before = files(out)
    with pytest.raises(CacheError, match="another tiling scheme: CRS"):
        run_loop(convert(source, out))
    assert files(out) == before


def test_a_locked_output_and_an_unfinished_run_are_left_alone(tmp_path):
    source = make(tmp_path / "in", WORLD, format="compactv2")
    out = tmp_path / "out.tpkx"
    with lock(tmp_path / "out.tpkx.lock"), pytest.raises(LockedError):
        run_loop(convert(source, out))
    make(tmp_path / "out.tpkx.work", WORLD, format="compactv2")
    with pytest.raises(CacheError, match="a run that is not finished"):
        run_loop(convert(source, out))
    assert held(tmp_path / "out.tpkx.work") == WORLD
    assert not out.exists()


def test_a_ledger_of_what_was_there_does_not_outlive_it(tmp_path):
    source = make(tmp_path / "in", WORLD, format="compactv2")
    out = make(tmp_path / "out.mbtiles", some("1/0/1"), format="mbtiles")
    ledger = tmp_path / "out.mbtiles.ledger"
    run_loop(_new_ledger(ledger))
    run_loop(convert(source, out))
    assert ledger.exists()
    run_loop(convert(source, out, overwrite=True))
    assert not ledger.exists()


async def _new_ledger(path: Path) -> None:
    await (await open_ledger(path, create=True)).close()


def test_mixed_pictures_are_told_or_refused(tmp_path):
    tiles = {**some("2/1/1"), Tile(2, 1, 2): picture(3, kind="JPEG")}
    source = make(tmp_path / "in", tiles, format="compactv2", tile_format=TileFormat.MIXED)
    with pytest.raises(UnsupportedFormatError, match="MIXED"):
        run_loop(convert(source, tmp_path / "out.pmtiles"))
    summary = run_loop(convert(source, tmp_path / "out.mbtiles"))
    assert held(tmp_path / "out.mbtiles") == tiles
    assert any("mixed" in text for text in summary.notices)


def test_tiles_that_are_not_what_their_file_is_called_are_told_of(tmp_path):
    """MBTiles of another program say one format and hold two; a z/x/y folder has one name for all of them."""
    tiles = {**some("2/1/1", "2/1/3"), Tile(2, 1, 2): picture(3, kind="JPEG")}
    source = make(tmp_path / "in.mbtiles", tiles, format="mbtiles")
    connection = sqlite3.connect(source)
    connection.execute("DELETE FROM metadata WHERE name = 'manifest'")
    connection.commit()
    connection.close()
    heard = []
    summary = run_loop(convert(source, tmp_path / "out", format="xyz", tell=heard.append))
    assert not heard
    assert any("1 jpg tiles under names that end in .png" in text for text in summary.notices)
    assert held(tmp_path / "out") == tiles
    assert json.loads((tmp_path / "out/tiles.json").read_bytes())["format"] == "mixed"
    copied = run_loop(convert(tmp_path / "out", tmp_path / "again", format="exploded"))
    assert not any("names" in text for text in copied.notices)
    assert {path.suffix for path in (tmp_path / "again").rglob("C*")} == {".png", ".jpg"}


def test_what_a_format_cannot_hold_as_it_is_is_told_before_the_first_tile(tmp_path):
    tiles = {**some("2/1/1"), Tile(2, 1, 2): picture(3, kind="JPEG")}
    source = make(tmp_path / "in", tiles, format="compactv2", tile_format=TileFormat.MIXED)
    seen = []

    def tell(text):
        seen.append((text, sorted((tmp_path / "out.new").rglob("*.png"))))

    summary = run_loop(convert(source, tmp_path / "out", format="xyz", tell=tell))
    assert [(text, files) for text, files in seen if "all have .png" in text] == [(seen[0][0], [])]
    assert summary.notices[: summary.told] == [text for text, _ in seen]


def test_how_far_it_came_is_told_after_every_block(tmp_path):
    source = make(tmp_path / "in.tpkx", WORLD, format="tpkx")
    heard = []
    run_loop(convert(source, tmp_path / "out.mbtiles", step=heard.append))
    assert heard == [1, 3, 4, 5, 6]
    heard.clear()
    run_loop(merge([source], tmp_path / "out.mbtiles", step=heard.append))
    assert heard == [1, 3, 4, 5, 6]


class Failing(Disk):
    """Fails one step."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__()
        self._left = number
        self._name = name

    def step(self, name: str, path: object) -> None:
        if name == self._name:
            self._left -= 1
            if not self._left:
                raise OSError(28, "No space left on device")


@pytest.mark.parametrize("format", ["mbtiles", "compactv2", "tpkx", "xyz"])
def test_a_full_disk_leaves_the_old_cache_and_nothing_beside(tmp_path, format):
    source = make(tmp_path / "in", WORLD, format="compactv2")
    out = make(tmp_path / f"out{SUFFIX[format]}", some("1/0/1", first=9), format=format)
    names = sorted(path.name for path in tmp_path.iterdir())
    step = "sqlite_commit" if format == "mbtiles" else "sync"
    with pytest.raises(CacheError):
        run_loop(convert(source, out, format=format, overwrite=True, disk=Failing(step, 1)))
    assert held(out) == some("1/0/1", first=9)
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_json_document_is_json(tmp_path):
    source = make(tmp_path / "in", WORLD, format="compactv2")
    document = run_loop(convert(source, tmp_path / "out.mbtiles")).to_dict()
    assert json.loads(json.dumps(document))["lods"][-1] == {
        "level": 9, "tiles": 3, "bytes": sum(len(body) for tile, body in WORLD.items() if tile.level == 9),
    }  # fmt: skip


def test_vector_tiles_go_and_come_back_as_they_were(tmp_path):
    tiles = {Tile(0, 0, 0): vector("a"), Tile(4, 5, 6): vector("b")}
    source = make(
        tmp_path / "in.mbtiles", tiles, format="mbtiles", tile_format=TileFormat.PBF, scheme=mercator(size=512)
    )
    for format in ("pmtiles", "compactv2", "xyz"):
        out = tmp_path / f"out-{format}{SUFFIX[format]}"
        run_loop(convert(source, out, format=format))
        run_loop(convert(out, tmp_path / f"back-{format}.mbtiles"))
        assert held(out) == held(tmp_path / f"back-{format}.mbtiles") == tiles, format
    with pytest.raises(UnsupportedFormatError, match="PBF"):
        run_loop(convert(source, tmp_path / "out.gpkg"))


def vector(name: str) -> bytes:
    """A vector tile of one empty layer, as services send it."""
    layer = b"\x0a\x01" + name.encode() + b"\x78\x02\x28\x80\x20"
    return gzip.compress(b"\x1a" + bytes([len(layer)]) + layer, mtime=0)


@pytest.mark.parametrize("format", ["mbtiles", "tpkx"])
def test_stopped_at_any_moment_it_leaves_nothing_half(tmp_path, format):
    source = make(tmp_path / "in", WORLD, format="compactv2")
    out = tmp_path / f"out{SUFFIX[format]}"

    async def stopped(turns: int) -> None:
        task = asyncio.ensure_future(convert(source, out))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for turns in (1, 3, 6, 9, 20):
        run_loop(stopped(turns))
        if out.exists():
            assert held(out) == WORLD
            out.unlink()
        assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_batches_are_stored_as_they_fill(tmp_path):
    """So memory does not grow with the cache."""
    tiles = 2 * BATCH_TILES + 100
    source = make(
        tmp_path / "in", {Tile(9, n // 100, n % 100): picture(n % 64) for n in range(tiles)}, format="compactv2"
    )
    sizes = []

    class Counting(Disk):
        def step(self, name: str, path: object) -> None:
            if name == "sqlite_commit":
                sizes.append(name)

    summary = run_loop(convert(source, tmp_path / "out.mbtiles", disk=Counting()))
    assert summary.tiles == tiles
    assert len(sizes) >= 4  # three batches and the metadata
