"""The demo's job files."""

from __future__ import annotations

import json
from pathlib import Path

import shapely

from harvester.demo.job import AREAS, OUTPUTS, area_bytes, write_jobs
from harvester.job import Job

SOURCE = "http://127.0.0.1:8000/arcgis/rest/services/World/MapServer"


def test_the_job_files_are_read_as_two_policies_with_their_areas(tmp_path: Path) -> None:
    paths = write_jobs(tmp_path / "demo", SOURCE)
    assert [path.name for path in paths] == ["nordic-mbtiles.toml", "nordic-tpkx.toml"]
    for path, output in zip(paths, OUTPUTS, strict=True):
        job = Job.from_file(path)
        assert job.source == SOURCE
        assert job.output is not None and job.output.name == output
        assert [policy.lods for policy in job.policies] == [((0, 7),), ((6, 9),)]
        for policy in job.policies:
            assert all(area.path.is_file() for area in policy.aoi)


def test_the_areas_are_sound_polygons_one_around_the_other() -> None:
    outer, inner = (
        shapely.from_geojson(json.dumps(json.loads(area_bytes(name))["features"][0]["geometry"])) for name in AREAS
    )
    assert outer.is_valid and inner.is_valid
    assert outer.area > 5 * inner.area
    assert shapely.intersection(outer, inner).area > 0.98 * inner.area
