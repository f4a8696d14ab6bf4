"""A body found to mean "no data" after the run: the same command with ``--placeholder`` takes it out of the cache."""

from __future__ import annotations

import re

import pytest
from xxhash import xxh3_128_hexdigest

from harvester.audited import Audited
from harvester.testing.images import tile_png
from harvester.tiling.tile import Tile

SEA = tile_png(0, 0, 0, variant=255)
HASH = xxh3_128_hexdigest(SEA)


def is_sea(tile):
    return tile.level == 3 and tile.col % 2 == 0


def bodies(out):
    with Audited(out) as audited:
        reader = audited.reader
        return [body for level in reader.levels() for block in reader.blocks(level) for _, body in reader.tiles(block)]


@pytest.mark.parametrize("out", ["out.mbtiles", "out.tpkx", "out.pmtiles", "out.gpkg", "out/"])
def test_stored_tiles_with_a_body_that_is_declared_later_are_taken_out_and_absent(serve, cli, tmp_path, out):
    service = serve()
    service.site.tile = lambda tile: SEA if is_sea(tile) else tile_png(*tile)
    command = ("run", service.url, "--lods", "0-3", "-o", out, "--tilemap", "off", "--json", "-q")
    first = cli(*command)
    assert (first.json["stored"], first.json["repeats"][0]["hash"]) == (85, HASH)
    asked = service.log.count("tile")
    again = cli(*command[:-1], "--placeholder", HASH)
    assert again.code == 0
    assert again.err.count("32 stored tiles") == 1
    document = again.json
    assert [document[name] for name in ("planned", "stored", "absent", "pending", "kept", "fetched")] == [
        85, 53, 32, 0, 53, 0,
    ]  # fmt: skip
    assert any("32 stored tiles" in notice for notice in document["notices"])
    assert SEA not in bodies(tmp_path / out)
    assert len(bodies(tmp_path / out)) == 53
    for options in ((), ("--placeholder", HASH)):
        later = cli(*command, *options)
        assert (later.code, later.json["stored"], later.json["absent"]) == (0, 53, 32)
    assert service.log.count("tile") == asked
    assert cli("verify", out).code == 0
    assert "placeholder" in cli("why", out, "3/0/0").out


def test_what_a_run_without_the_option_stored_is_looked_at_by_the_next_with_it(serve, cli, tmp_path):
    service = serve()
    service.site.tile = lambda tile: SEA if is_sea(tile) else tile_png(*tile)
    command = ("run", service.url, "-o", "out.mbtiles", "--tilemap", "off", "--json", "-q")
    assert cli(*command, "--lods", "0-2", "--placeholder", HASH).json["stored"] == 21
    assert cli(*command, "--lods", "0-3").json["stored"] == 85
    # Tiles of another job of this cache count as well.
    assert cli(*command, "--lods", "0-2", "--placeholder", HASH).json["stored"] == 21
    assert SEA not in bodies(tmp_path / "out.mbtiles")
    assert cli(*command, "--lods", "0-3", "--placeholder", HASH).json["absent"] == 32


def is_scattered(tile):
    return tile.level == 5 and (7 * tile.row + 3 * tile.col) % 17 == 0


def test_a_placeholder_of_a_few_percent_is_told_in_one_line_by_run_and_report(serve, cli, tmp_path):
    """Share, number, one of its tiles, and the option that takes them out: the same afterwards, from the ledger."""
    service = serve()
    service.site.tile = lambda tile: SEA if is_scattered(tile) else tile_png(*tile)
    run = cli("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", "--tilemap", "off", "--progress", "none")
    again = cli("report", "out.mbtiles")
    assert (run.code, again.code) == (0, 0)
    for text in (run.out + run.err, again.out):
        lines = [line for line in text.splitlines() if HASH in line]
        assert len(lines) == 1
        found = re.search(r"one body came for (\d+) tiles \((\d\.\d)%, such as 5/(\d+)/(\d+): --placeholder", lines[0])
        assert found is not None, lines[0]
        number, share, row, col = (float(part) for part in found.groups())
        assert 50 <= number <= 61 and share == pytest.approx(100 * number / 1365, abs=0.1)
        assert is_scattered(Tile(5, int(row), int(col)))
