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
