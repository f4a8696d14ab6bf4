"""What a run says it took is what a clock on the wall says: from the command's start to its end, sealing included."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harvester
from harvester.assemble.run import harvest_job
from harvester.durable import Disk
from harvester.ledger_reader import read_ledger
from harvester.loop import run_loop
from harvester.testing.service import ArcGisSite, FaultyService

SLOW_SECONDS = 0.3


class Slow(Disk):
    """A disk on which beginning the package takes its time."""

    def step(self, name: str, path: Path) -> None:
        """Work where ``OUT.part`` is opened for writing."""
        if name == "open" and path.name.endswith(".part") and path.name.startswith("out."):
            until = time.monotonic() + SLOW_SECONDS
            while time.monotonic() < until:
                pass


@pytest.fixture(scope="module")
def service() -> Iterator[FaultyService]:
    with FaultyService(ArcGisSite()) as running:
        yield running


def last_report(out: Path) -> dict[str, Any]:
    with read_ledger(out.with_name(out.name + ".ledger")) as ledger:
        return dict(ledger.runs()[-1].report or {})


@pytest.mark.parametrize("mode", ["merge", "overwrite"])
@pytest.mark.parametrize("format", ["tpkx", "tpk", "pmtiles"])
def test_sealing_is_part_of_what_a_run_took(service: FaultyService, tmp_path: Path, format: str, mode: str) -> None:
    disk = Slow()
    out = tmp_path / f"out.{format}"
    job = harvester.Job(source=service.url, output=out, mode=mode, policies=(harvester.Policy(lods=((0, 2),)),))
    began = time.monotonic()
    report: Any = run_loop(harvest_job(job, disk=disk))
    ended = time.monotonic()
    assert report.complete
    assert report.took.finishing >= SLOW_SECONDS
    assert report.seconds == pytest.approx(sum(report.took))
    assert report.seconds <= ended - began
    document = report.to_dict()
    assert set(document["took"]) == {"preparing", "fetching", "finishing"}
    assert last_report(out)["took"] == document["took"], "the ledger says the same"
    assert last_report(out)["seconds"] == document["seconds"]
    json.dumps(document)


def test_opening_the_source_is_part_of_it_too(service: FaultyService, tmp_path: Path) -> None:
    """Also of a run that finds all done: its time is that of asking for the service's document."""
    job = harvester.Job(source=service.url, output=tmp_path / "out", policies=(harvester.Policy(lods=((0, 1),)),))
    harvester.run(job)
    began = time.monotonic()
    report: Any = harvester.run(job)
    ended = time.monotonic()
    assert report.tile_requests == 0
    first, *_, last = [asked for asked in service.log if asked.kind == "document" and asked.at >= began] * 2
    assert report.took.fetching == 0.0
    assert last.ended is not None
    assert last.ended - first.at <= report.took.preparing <= report.seconds <= ended - began
