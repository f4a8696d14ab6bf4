"""A ledger that was lost and made anew by a small job: a larger job still finds what the cache holds."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("name", ["out.mbtiles", "out"])
def test_tiles_that_the_cache_holds_are_not_asked_again_though_the_ledger_never_heard_of_them(
    cli, serve, tmp_path, name
):
    service = serve()
    assert cli("run", service.url, "--lods", "0-3", "-o", name, "-q").code == 0
    (tmp_path / f"{name}.ledger").unlink()
    assert cli("run", service.url, "--lods", "0-1", "-o", name, "-q").code == 0
    service.log.clear()
    whole = cli("run", service.url, "--lods", "0-3", "-o", name, "-q", "--json")
    assert (whole.code, whole.json["kept"], whole.json["tile_requests"]) == (0, 85, 0)
    assert not service.log.tiles()
