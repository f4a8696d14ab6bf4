"""export_map_server_cache against a real service on loopback: what arcpy would give is there, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely

import harvester
from harvester.errors import CacheError, SourceError, UsageError
from harvester.events import Notice
from harvester.testing import schemes
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.tiling.tile import Tile

SCALES = [591657527.591555 / 2**level for level in range(6)]
"""Denominators of the service's first LODs."""

HALF = 20037508.342787

EAST = f"0 {-HALF} {HALF} {HALF}"
"""The eastern half of the world, in web mercator."""


@pytest.fixture
def service():
    with FaultyService(ArcGisSite(name="City/Streets")) as running:
        yield running


def asked(service: FaultyService) -> set[Tile]:
    return {one.tile for one in service.log.of("tile")}


def whole(path: str, service: FaultyService, tiles: set[Tile]) -> bool:
    """Does the cache hold these tiles, as served, and no others?"""
    with harvester.open_cache(path) as cache:
        held = {
            tile: body for level in cache.levels() for key in cache.blocks(level) for tile, body in cache.tiles(key)
        }
    return held == {tile: service.site.body(tile) for tile in tiles}


@pytest.mark.parametrize(
    ("cache_type", "storage", "place", "format"),
    [
        ("TILE_PACKAGE", "COMPACT", "Streets.tpk", "tpk"),
        ("TILE_PACKAGE", "COMPACT_V2", "Streets.tpkx", "tpkx"),
        ("CACHE_DATASET", "COMPACT", "Streets/Layers", "compact"),
        ("CACHE_DATASET", "COMPACT_V2", "Streets/Layers", "compactv2"),
        ("CACHE_DATASET", "EXPLODED", "Streets/Layers", "exploded"),
    ],
)
def test_the_questions_own_call_gives_the_cache_where_esri_puts_it(
    service, tmp_path, cache_type, storage, place, format
):
    scales = ";".join(f"{scale:.6f}" for scale in SCALES[:3])
    found = harvester.export_map_server_cache(
        service.url, str(tmp_path / "out"), cache_type, "COPY_DATA", storage, scales, 1, "#", "", "MERGE"
    )
    assert Path(found) == tmp_path / "out" / place
    tiles = {Tile(level, row, col) for level in range(3) for row in range(2**level) for col in range(2**level)}
    assert whole(found, service, tiles)
    with harvester.open_cache(found) as cache:
        assert cache.info.format == format
    if cache_type == "CACHE_DATASET":
        assert {"conf.xml", "conf.cdi", "_alllayers"} <= {path.name for path in Path(found).iterdir()}


def test_instances_are_the_most_requests_in_flight_unless_concurrency_is_given(service, tmp_path):
    service.script = Script(rules=(Rule(do="answer", kind="tile", delay=0.003),))
    harvester.export_map_server_cache(service.url, tmp_path, scales=SCALES[:4], num_of_caching_service_instances=2)
    assert service.log.max_concurrency("tile") <= 2
    with pytest.raises(TypeError, match="output"):
        harvester.export_map_server_cache(service.url, tmp_path, output="elsewhere")


def test_an_extent_in_the_services_crs_bounds_the_tiles_exactly(service, tmp_path):
    harvester.export_map_server_cache(service.url, tmp_path, scales=SCALES[1:4], export_extent=EAST)
    assert asked(service) == {
        Tile(level, row, col)
        for level in (1, 2, 3)
        for row in range(2**level)
        for col in range(2 ** (level - 1), 2**level)
    }


def test_an_extent_in_degrees_wider_than_half_the_world_is_the_box_that_it_says(tmp_path):
    with FaultyService(ArcGisSite(grid=schemes.GEOGRAPHIC)) as service:
        lod = schemes.GEOGRAPHIC.scheme.lods[2]
        harvester.export_map_server_cache(
            service.url, tmp_path, scales=[lod.scale], export_extent="-179 -89 179 89", max_tiles=5000
        )
        wide = asked(service)
        service.log.clear()
        harvester.export_map_server_cache(service.url, tmp_path / "all", scales=[lod.scale])
        assert wide == asked(service)


@pytest.mark.parametrize("kind", ["file", "text", "mapping", "shape", "arcpy"])
def test_an_area_wins_over_the_extent_in_whatever_form_it_comes(service, tmp_path, kind):
    ring = [[10, 10], [10, 60], [60, 60], [60, 10], [10, 10]]
    feature_set = {"spatialReference": {"wkid": 4326}, "features": [{"geometry": {"rings": [ring]}}]}
    path = tmp_path / "area.json"
    path.write_text(json.dumps(feature_set))
    area = {
        "file": str(path),
        "text": json.dumps(feature_set),
        "mapping": feature_set,
        "shape": shapely.box(10, 10, 60, 60),
        "arcpy": type("FeatureSet", (), {"JSON": json.dumps(feature_set)})(),
    }[kind]
    told = []
    harvester.export_map_server_cache(
        service.url, tmp_path / "out", scales=SCALES[1:3], area_of_interest=area, export_extent=f"{-HALF} 0 0 {HALF}",
        on_event=told.append,
    )  # fmt: skip
    assert asked(service) == {Tile(1, 0, 1), Tile(2, 1, 2)}
    assert any("export_extent is ignored" in one.text for one in told if isinstance(one, Notice))


@pytest.mark.parametrize("cache_type", ["CACHE_DATASET", "TILE_PACKAGE"])
def test_merge_keeps_what_is_there_and_overwrite_replaces_the_whole_cache(service, tmp_path, cache_type):
    call = {"export_cache_type": cache_type, "storage_format_type": "COMPACT_V2"}
    harvester.export_map_server_cache(service.url, tmp_path, scales=SCALES[:2], **call)
    service.log.clear()
    out = harvester.export_map_server_cache(service.url, tmp_path, scales=SCALES[:3], **call)
    assert {tile.level for tile in asked(service)} == {2}
    service.site.variant = 1
    harvester.export_map_server_cache(service.url, tmp_path, scales=SCALES[:1], overwrite="overwrite", **call)
    assert whole(out, service, {Tile(0, 0, 0)})


def test_overwrite_says_what_it_replaces_where_something_is_there(service, tmp_path):
    def told(overwrite: str) -> list[str]:
        events: list[object] = []
        harvester.export_map_server_cache(
            service.url, tmp_path, scales=SCALES[:2], overwrite=overwrite, on_event=events.append
        )
        return [one.text for one in events if isinstance(one, Notice) and "replaced as a whole" in one.text]

    assert [len(told(word)) for word in ("OVERWRITE", "MERGE", "OVERWRITE")] == [0, 0, 1]
    (tmp_path / "Streets.tpk").write_text("somebody's")
    events: list[object] = []
    with pytest.raises(CacheError, match="is no cache"):
        harvester.export_map_server_cache(
            service.url, tmp_path, "TILE_PACKAGE", scales=SCALES[:2], overwrite=True, on_event=events.append
        )
    assert not any("replaced as a whole" in one.text for one in events if isinstance(one, Notice))


@pytest.mark.parametrize(
    ("extent", "doubted"), [("10 50 12 52", True), ("10 50 12 52 EPSG:4326", False), ("0 0 5000000 5000000", False)]
)
def test_numbers_that_seem_degrees_in_a_service_in_metres_are_told(service, tmp_path, extent, doubted):
    told: list[object] = []
    harvester.export_map_server_cache(
        service.url, tmp_path, scales=SCALES[:1], export_extent=extent, on_event=told.append
    )
    said = [one.text for one in told if isinstance(one, Notice) and "if these are degrees" in one.text]
    assert bool(said) is doubted
    assert not doubted or '"10 50 12 52 EPSG:4326"' in said[0]


def test_an_incomplete_export_raises_with_the_report_and_the_same_call_mends_it(service, tmp_path):
    service.script = Script(rules=(Rule(do="status", status=500, kind="tile", tiles=("2/1/1",)),))
    with pytest.raises(harvester.IncompleteExportError, match="1 tile failed") as caught:
        harvester.export_map_server_cache(service.url, tmp_path, scales=SCALES[:3], retries=0)
    assert caught.value.exit_code == 1
    assert (caught.value.report.counts.stored, caught.value.report.counts.failed) == (20, 1)
    service.script = Script()
    service.log.clear()
    harvester.export_map_server_cache(service.url, tmp_path, scales=SCALES[:3], retries=0)
    assert asked(service) == {Tile(2, 1, 1)}


def test_a_budget_used_up_is_told_as_its_own_reason(service, tmp_path):
    with pytest.raises(harvester.IncompleteExportError, match="budget") as caught:
        harvester.export_map_server_cache(service.url, tmp_path, scales=SCALES[:4], max_tiles=10)
    assert caught.value.code == "budget"


def test_a_plan_too_large_names_the_keyword_that_allows_it(service, tmp_path):
    with pytest.raises(UsageError) as caught:
        harvester.export_map_server_cache(service.url, tmp_path)
    assert "max_tiles" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_an_extent_may_be_in_a_crs_of_its_own(service, tmp_path):
    harvester.export_map_server_cache(service.url, tmp_path, scales=SCALES[2:3], export_extent="10 10 60 60 EPSG:4326")
    assert asked(service) == {Tile(2, 1, 2)}
    for reference in ("EPSG:999999", "nonsense"):
        with pytest.raises(UsageError, match=r"^export_extent: "):
            harvester.export_map_server_cache(service.url, tmp_path, export_extent=f"0 0 1 1 {reference}")
    box = {"xmin": 0, "ymin": 0, "xmax": 1, "ymax": 1, "spatialReference": {"wkid": 999999}}
    with pytest.raises(UsageError, match=r"^export_extent: "):
        harvester.export_map_server_cache(service.url, tmp_path, export_extent=box)


def test_a_cache_that_cannot_be_finished_is_told_with_its_own_reason():
    from harvester.report import Report

    whole = Report(source="s", output="o", format="tpk").with_error(CacheError("disk full", hint="Make room."))
    error = harvester.IncompleteExportError(whole)
    assert (error.message, error.hint, error.code, error.exit_code) == ("disk full: o", "Make room.", "cache", 4)


def test_a_web_map_is_refused_with_the_command_that_takes_it(service, tmp_path):
    path = tmp_path / "streets.webmap"
    layer = {"id": "a", "title": "A", "url": service.url, "layerType": "ArcGISTiledMapServiceLayer"}
    path.write_text(json.dumps({"operationalLayers": [layer]}))
    with pytest.raises(UsageError, match="web map") as caught:
        harvester.export_map_server_cache(str(path), tmp_path / "out")
    assert f'harvester run "{path}" -o FOLDER' in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_exported_ends_before_a_file_is_made(service, tmp_path):
    with pytest.raises(UsageError, match="LOD at scale 12345"):
        harvester.export_map_server_cache(service.url, tmp_path / "out", scales=[12345])
    with pytest.raises(SourceError):
        harvester.export_map_server_cache(service.url.replace("Streets", "Nowhere"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "Streets.tpk").write_text("not a package")
    with pytest.raises(CacheError):
        harvester.export_map_server_cache(service.url, tmp_path, "TILE_PACKAGE", scales=SCALES[:1])
