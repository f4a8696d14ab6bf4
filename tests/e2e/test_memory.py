"""Bodies without measure cost no more memory than the cap on a tile allows, however large they turn out to be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harvester.edges import MAX_TILE_BYTES
from harvester.testing.script import Rule
from harvester.testing.service import FaultyService
from tests.e2e.claims import TILES, script

CONCURRENCY = 2

HUGE = 512 << 20
"""What one such body would take."""

MOST = 3 * CONCURRENCY * MAX_TILE_BYTES
"""A body up to the cap, the same once more while it is joined or unpacked, and as much for the allocator: 96 MB."""


def run(folder: Path, service: FaultyService, name: str) -> tuple[int, Any, int]:
    """Exit code, report, and peak of memory in bytes."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.e2e.peak_memory", "run", service.url, "--lods", "0-3"),
            *("-o", str(folder / name), "--json", "-q", "--retries", "1", "--concurrency", str(CONCURRENCY)),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    return done.returncode, json.loads(done.stdout), int(done.stderr.split()[-1])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The peak of a run that meets nothing unusual."""
    with FaultyService() as service:
        code, report, peak = run(tmp_path_factory.mktemp("plain"), service, "out.mbtiles")
    assert (code, report["stored"]) == (0, TILES)
    return peak


@pytest.mark.parametrize("out", ["out.mbtiles", "out"])
@pytest.mark.parametrize("do", ["gzip_bomb", "endless"])
def test_a_body_without_end_takes_no_more_memory_than_the_cap_allows(serve, tmp_path, plain, do, out):
    """Rows 25 and 26: more than memory is asked for, and the cap is what is taken."""
    service = serve(script=script(Rule(do=do, bytes=HUGE, tiles=("3/2/*", "3/5/1"))))
    code, report, peak = run(tmp_path, service, out)
    assert (code, report["failed"]) == (1, 9)
    assert {one["reason"] for one in report["failures"]} == {"too_large"}
    assert report["stored"] == TILES - 9
    assert peak < plain + MOST < plain + HUGE // 4


@pytest.mark.parametrize("do", ["gzip_bomb", "endless"])
def test_a_document_without_end_takes_no_more_memory_than_its_cap(serve, tmp_path, plain, do):
    service = serve(script=script(Rule(do=do, bytes=HUGE, kind="document")))
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.peak_memory", "scales", service.url, "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 3
    assert "too large" in done.stderr
    assert int(done.stderr.split()[-1]) < plain + (192 << 20)


@pytest.mark.parametrize("do", ["gzip_bomb", "endless"])
def test_a_tilemap_without_end_takes_no_more_memory_than_the_cap_allows(serve, tmp_path, plain, do):
    service = serve(script=script(Rule(do=do, bytes=HUGE, kind="tilemap")))
    service.site.tilemap = "on"
    code, report, peak = run(tmp_path, service, "out.mbtiles")
    assert (code, report["stored"]) == (0, TILES)
    assert peak < plain + MOST
