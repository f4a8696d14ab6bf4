"""A tile that another program took out of a finished cache: missing where the ledger knows of it, damage where only the
manifest does."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.e2e.claims import HASTY

ALL = ("--lods", "0-3", *HASTY)
NORTH_EAST = ("--lods", "2-3", "--bbox", "0,0,180,85.06", *HASTY)


def take_away(path, level: int) -> None:
    """The tile in the south-west corner."""
    with closing(sqlite3.connect(path)) as cache, cache:
        cache.execute("DELETE FROM tiles WHERE zoom_level = ? AND tile_column = 0 AND tile_row = 0", (level,))


@pytest.mark.parametrize("level", [2, 3])
def test_a_tile_that_is_pending_again_is_missing_and_no_damage(serve, cli, tmp_path, level):
    service = serve()
    assert cli("run", service.url, *ALL, "-o", "out.mbtiles").code == 0
    take_away(tmp_path / "out.mbtiles", level)
    for _ in range(2):
        said = cli("verify", "out.mbtiles", "--deep", "--json")
        assert (said.code, said.json["sound"], said.json["missing"]) == (1, True, 1), said.json["damages"]
        assert cli("run", service.url, *NORTH_EAST, "-o", "out.mbtiles").code == 0  # which says that it is pending
    assert cli("run", service.url, *ALL, "-o", "out.mbtiles").json["fetched"] == 1
    assert cli("verify", "out.mbtiles", "--deep").code == 0


def test_pending_tiles_of_one_lod_hide_no_loss_in_another(serve, cli, tmp_path):
    service = serve()
    assert cli("run", service.url, *ALL, "-o", "out.mbtiles").code == 0
    (tmp_path / "out.mbtiles.ledger").unlink()
    take_away(tmp_path / "out.mbtiles", 3)
    assert cli("run", service.url, "--lods", "0-2", *HASTY, "-o", "out.mbtiles").code == 0
    take_away(tmp_path / "out.mbtiles", 2)
    said = cli("verify", "out.mbtiles", "--deep", "--json")
    assert (said.code, said.json["missing"]) == (4, 1)
    assert said.json["damages"] == [
        {"where": "LOD 3", "what": "1 of the 64 tiles that its manifest counts are gone"}
    ]  # fmt: skip


def test_a_tile_that_no_ledger_knows_of_any_more_is_told_by_the_manifest(serve, cli, tmp_path):
    """Nothing but the manifest knows that it was there: its loss is damage until a run plans it."""
    service = serve()
    assert cli("run", service.url, *ALL, "-o", "out.mbtiles").code == 0
    (tmp_path / "out.mbtiles.ledger").write_bytes(b"")
    take_away(tmp_path / "out.mbtiles", 3)
    assert cli("run", service.url, *NORTH_EAST, "-o", "out.mbtiles").code == 0
    said = cli("verify", "out.mbtiles", "--deep", "--json")
    assert (said.code, said.json["sound"], said.json["missing"]) == (4, False, 0)
    assert said.json["damages"] == [
        {"where": "LOD 3", "what": "1 of the 64 tiles that its manifest counts are gone"}
    ]  # fmt: skip
    assert cli("run", service.url, *ALL, "-o", "out.mbtiles").json["fetched"] == 1
    assert cli("verify", "out.mbtiles", "--deep").code == 0
