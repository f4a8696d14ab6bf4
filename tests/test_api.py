"""The Python API, as the README shows it: blocking, in one's own event loop, and from within a running one."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

import harvester
from harvester.errors import UsageError
from harvester.events import Finished, Progress, Started
from harvester.job import AoiFile
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.tiling.tile import Tile


@pytest.fixture
def service():
    with FaultyService(ArcGisSite()) as running:
        yield running


def test_a_source_shows_its_lods_scheme_and_name(service):
    source = harvester.open_source(service.url)
    assert source.name == "Streets"
    assert [lod.level for lod in source.lods[:3]] == [0, 1, 2]
    assert str(source.tiling_scheme.crs) == "EPSG:3857"


def test_a_job_from_a_file_is_planned_run_and_read_back(service, tmp_path):
    path = tmp_path / "job.toml"
    path.write_text(f'source = "{service.url}"\noutput = "out.tpkx"\n[[policy]]\nlods = "0-3"\n')
    job = harvester.Job.from_file(path)
    plan = harvester.plan(job)
    assert plan.total == 85
    assert [(lod.level, lod.planned) for lod in plan.lods] == [(0, 1), (1, 4), (2, 16), (3, 64)]
    report = harvester.run(job)
    assert report.complete
    assert report.counts.stored == 85
    assert report.exit_code == 0
    with harvester.open_cache(tmp_path / "out.tpkx") as cache:
        assert cache.read(3, 1, 2) == service.site.body(Tile(3, 1, 2))
        assert cache.read(3, 1, 99) is None


@pytest.mark.parametrize("shard", [None, (1, 2)])
def test_a_plan_tells_of_the_area_that_was_repaired_for_it(service, tmp_path, shard):
    path = tmp_path / "bow.geojson"
    path.write_text('{"type": "Polygon", "coordinates": [[[0, 0], [20, 20], [20, 0], [0, 20], [0, 0]]]}')
    job = harvester.Job(
        source=service.url,
        output=tmp_path / "out.mbtiles",
        policies=(harvester.Policy(lods=((0, 3),), aoi=(AoiFile(path=path),)),),
        shard=shard,
    )
    told = harvester.plan(job).notices
    assert any("Self-intersection" in text and "repaired to 2 parts" in text for text in told), told


def test_harvest_runs_in_ones_own_event_loop_and_tells_what_happens(service, tmp_path):
    job = harvester.Job(
        source=service.url, output=tmp_path / "out.mbtiles", policies=(harvester.Policy(lods=((0, 3),)),)
    )
    events = []
    report = asyncio.run(harvester.harvest(job, on_event=events.append))
    assert report.complete
    kinds = [type(event) for event in events]
    assert kinds.index(Started) < kinds.index(Progress) < kinds.index(Finished)
    assert events[-1].report is report


def test_run_works_where_a_loop_is_running_as_in_a_notebook(service, tmp_path):
    job = harvester.Job(source=service.url, output=tmp_path / "out", policies=(harvester.Policy(lods=((0, 2),)),))

    async def cell() -> object:
        return harvester.run(job)

    assert asyncio.run(cell()).complete


def test_a_cancelled_harvest_leaves_a_state_that_the_next_one_goes_on_with(service, tmp_path):
    from harvester.testing.script import Rule, Script

    service.script = Script(rules=(Rule(do="answer", delay=0.05),))
    job = harvester.Job(
        source=service.url, output=tmp_path / "out.mbtiles", policies=(harvester.Policy(lods=((0, 5),)),)
    )

    async def cancelled() -> None:
        running = asyncio.Event()
        task = asyncio.create_task(
            harvester.harvest(job, on_event=lambda event: running.set() if isinstance(event, Progress) else None)
        )
        await running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert not (tmp_path / "out.mbtiles.lock").exists()
    service.script = Script()
    assert harvester.run(job).counts.stored == 1365


def test_errors_are_harvesters_own_and_carry_their_exit_code(tmp_path):
    with pytest.raises(harvester.HarvesterError) as caught:
        harvester.run(
            harvester.Job(source="https://nowhere.invalid/arcgis/rest/services/X/MapServer", output=tmp_path / "x")
        )
    assert caught.value.exit_code == 3
    assert caught.value.hint
    with pytest.raises(UsageError):
        harvester.Policy(lods=((3, 1),))


def test_importing_harvester_imports_nothing_heavy():
    heavy = ("numpy", "shapely", "aiohttp", "pyproj", "pyogrio", "PIL", "click")
    code = f"import sys, harvester; harvester.Job; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_public_name_has_a_docstring():
    for name in harvester.__all__:
        if name != "__version__":
            assert getattr(harvester, name).__doc__, name


def test_a_job_takes_its_paths_as_texts_too(service, tmp_path):
    job = harvester.Job(
        source=service.url,
        output=f"{tmp_path}/out/",
        report=f"{tmp_path}/report.json",
        policies=(harvester.Policy(lods=((0, 1),)),),
    )
    report = harvester.run(job)
    assert (report.format, report.complete, (tmp_path / "report.json").is_file()) == ("compactv2", True, True)
    with pytest.raises(UsageError, match="output"):
        harvester.Job(source=service.url, output="a\0b.mbtiles")
