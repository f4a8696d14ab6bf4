"""A run of more vector tiles than are looked at for their layers says so, whatever it is written as."""

from __future__ import annotations

import pytest

from harvester.testing import schemes
from harvester.testing.service import ArcGisSite
from tests.e2e.claims import HASTY


@pytest.mark.parametrize("name", ["roads.mbtiles", "roads.pmtiles", "roads.vtpk"])
def test_a_run_says_where_only_a_sample_was_looked_at_for_the_layers(serve, cli, name):
    service = serve(ArcGisSite(kind="vector", grid=schemes.WEB_MERCATOR_512, name="Roads"))
    done = cli("run", service.url, "--lods", "2,6", "--bbox=-180,-85,0,85", "-o", name, *HASTY)
    assert done.code == 0
    assert done.out.count("of zoom 6 only a sample of the tiles") == 1
