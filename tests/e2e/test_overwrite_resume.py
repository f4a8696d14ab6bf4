"""An interrupted overwrite is gone on with by the same job, and by no other."""

from __future__ import annotations

import pytest

from tests.e2e.claims import held


@pytest.mark.parametrize("name", ["out.mbtiles", "out", "out.tpkx"])
def test_an_overwrite_with_another_plan_keeps_nothing_of_the_interrupted_one(cli, serve, tmp_path, name):
    service = serve()
    broken = cli("run", service.url, "--lods", "3", "-o", name, "-q", "--mode", "overwrite", "--max-tiles", "10")
    assert broken.code == 1
    ended = cli("run", service.url, "--lods", "0-2", "-o", name, "-q", "--mode", "overwrite", "--json")
    assert (ended.code, ended.json["kept"]) == (0, 0)
    assert {tile.level for tile in held(tmp_path / name)} == {0, 1, 2}
    verdict = cli("verify", name, "--json")
    assert (verdict.code, verdict.json["planned"]) == (0, 21)


def test_an_overwrite_in_another_storage_format_begins_anew_and_replaces_what_was_there(cli, serve, tmp_path):
    service = serve()
    plan = ("run", service.url, "--lods", "0-2", "-o", "out", "-q", "--json")
    assert cli(*plan, "--format", "exploded").code == 0
    assert cli(*plan, "--format", "compact", "--mode", "overwrite", "--max-tiles", "10").code == 1
    ended = cli(*plan, "--format", "compactv2", "--mode", "overwrite")
    assert (ended.code, ended.json["kept"]) == (0, 0), ended.err
    assert len(held(tmp_path / "out")) == 21
    assert cli("info", "out", "--json").json["format"] == "compactv2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.ledger"]
    assert cli(*plan, "--format", "compactv2").json["tile_requests"] == 0
    refused = cli(*plan, "--format", "compact")
    assert (refused.code, refused.json["error"]["code"]) == (4, "format")
