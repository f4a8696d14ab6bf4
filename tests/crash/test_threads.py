"""A run whose disk dies under it ends with all that it began: no thread is left that would keep the process."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harvester.assemble.run import harvest_job
from harvester.job import Job, Policy
from harvester.loop import run_loop
from harvester.testing.service import FaultyService
from tests.crash.dying import DyingDisk


@pytest.mark.parametrize("format", ["mbtiles", "compactv2"])
def test_a_disk_that_dies_leaves_no_thread_behind(tmp_path: Path, format: str) -> None:
    with FaultyService() as service:
        before = {thread for thread in threading.enumerate() if not thread.daemon}
        for steps in range(4, 44, 4):
            disk = DyingDisk(steps)
            job = Job(
                source=service.url, output=tmp_path / f"{steps}", format=format, policies=(Policy(lods=((0, 2),)),)
            )
            try:
                run_loop(harvest_job(job, disk=disk))
            except BaseException as error:
                assert disk.dead, repr(error)
        assert {thread for thread in threading.enumerate() if not thread.daemon} <= before
