"""A plan too large to be listed tile by tile: what the ledger does not list is counted, told, and never denied."""

from __future__ import annotations

import json

import pytest

from harvester.testing.service import ArcGisSite, FaultyService
from tests.e2e.claims import command

PLANNED = sum(4**level for level in range(15))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A cache of 20 tiles of a plan of 357,913,941, of which the ledger lists a part."""
    folder = tmp_path_factory.mktemp("large")
    with FaultyService(ArcGisSite()) as service:
        result = command(
            "run", service.url, "-o", folder / "out.mbtiles", "--lods", "0-14", "--max-tiles", "20", "-q", "--json"
        )
    assert (result.code, result.json["planned"], result.json["stored"]) == (1, PLANNED, 20)
    return folder / "out.mbtiles"


def test_holes_say_how_many_tiles_have_no_polygon(out, tmp_path):
    result = command("holes", out, "-o", tmp_path / "holes.geojson", "--json")
    counts = result.json
    assert counts["unlisted"] > 0
    assert counts["pending"] + counts["unlisted"] + 20 == PLANNED
    assert f"{counts['unlisted']:,} more pending tiles" in result.err
    collection = json.loads((tmp_path / "holes.geojson").read_text())
    assert sum(collection["unlisted"].values()) == counts["unlisted"]
    assert "14" in collection["unlisted"]


def test_holes_and_verify_agree(out, tmp_path):
    missing = command("verify", out, "--json").json["missing"]
    counts = command("holes", out, "-o", tmp_path / "holes.geojson", "--json", "-q").json
    assert missing == counts["failed"] + counts["pending"] + counts["unlisted"]


def test_a_tile_that_is_not_listed_yet_is_pending_by_its_policy(out):
    result = command("why", out, "14/16000/16000", "--json")
    assert (result.code, result.json["state"]) == (0, "pending")
    assert [one["policy"] for one in result.json["planned_by"]] == [1]
    assert "No policy" not in command("why", out, "14/16000/16000").out


def test_a_small_plan_has_nothing_unlisted(cli, serve):
    cli("run", serve().url, "-o", "out.mbtiles", "--lods", "0-2", "--max-tiles", "3", "-q")
    result = cli("holes", "out.mbtiles", "--json")
    assert (result.json["pending"], result.json["unlisted"]) == (18, 0)
    assert "more pending" not in result.err
    assert (
        "1 pending tile\n"
        in cli(
            "holes",
            cli("run", serve().url, "-o", "b.mbtiles", "--lods", "0-1", "--max-tiles", "4", "-q") and "b.mbtiles",
        ).err
    )


def test_a_smaller_job_after_it_says_nothing_of_what_is_not_listed(cli, serve):
    url = serve().url
    large = ("run", url, "-o", "out.mbtiles", "--lods", "0-14", "--max-tiles", "20", "-q", "--json")
    assert cli(*large).json["planned"] == PLANNED
    before = cli("holes", "out.mbtiles", "--json").json["unlisted"]
    assert cli("run", url, "-o", "out.mbtiles", "--lods", "0-1", "-q").code == 0
    found = cli("verify", "out.mbtiles", "--json")
    assert (found.code, found.json["complete"]) == (1, False)
    assert cli("holes", "out.mbtiles", "--json").json["unlisted"] == before > 0
    assert cli("why", "out.mbtiles", "14/16000/16000", "--json").json["state"] == "pending"
