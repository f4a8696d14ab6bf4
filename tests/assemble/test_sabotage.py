"""What others do to a run's files while it runs: it ends with 4 and its report, claims nothing that is not there, and
the same command goes on with what is left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import harvester
from harvester.events import Event, Progress
from harvester.testing.script import Script
from harvester.testing.service import ArcGisSite, FaultyService
from tests.e2e.claims import held, poisoned, sums_hold

NAMES = ("out.mbtiles", "out", "out.tpkx")

TILES = 341


def folder_goes(out: Path) -> None:
    shutil.rmtree(out.parent)


def folder_is_renamed(out: Path) -> None:
    out.parent.rename(out.parent.with_name("moved"))
    out.parent.mkdir()


def cache_is_renamed(out: Path) -> None:
    _cache(out).rename(out.with_name("elsewhere"))


def ledger_is_removed(out: Path) -> None:
    _ledger(out).unlink()


def ledger_is_emptied(out: Path) -> None:
    os.truncate(_ledger(out), 0)


def ledger_is_cut(out: Path) -> None:
    os.truncate(_ledger(out), 5000)


def ledger_is_overwritten(out: Path) -> None:
    _ledger(out).write_bytes(b"garbage " * 4000)


def cache_is_cut(out: Path) -> None:
    for path in _files(out):
        os.truncate(path, path.stat().st_size // 2)


def cache_is_overwritten(out: Path) -> None:
    for path in _files(out):
        path.write_bytes(b"garbage " * 40000)


def _ledger(out: Path) -> Path:
    return out.with_name(out.name + ".ledger")


def _cache(out: Path) -> Path:
    work = out.with_name(out.name + ".work")
    return work if work.exists() else out


def _files(out: Path) -> list[Path]:
    cache = _cache(out)
    return sorted(cache.rglob("*.bundle")) if cache.is_dir() else [cache]


@pytest.fixture
def service() -> Iterator[FaultyService]:
    with FaultyService(ArcGisSite(), Script(latency=0.01)) as running:
        yield running


def sabotaged(service: FaultyService, out: Path, act: Callable[[Path], None]) -> tuple[harvester.Job, Any]:
    """A run to which this is done once its first tiles are in the cache, and its report."""
    out.parent.mkdir()
    job = harvester.Job(source=service.url, output=out, policies=(harvester.Policy(lods=((0, 4),)),))
    done: list[Event] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.counts.stored and not done:
            done.append(event)
            act(out)

    report = harvester.run(job.with_options(rate=100), on_event=listen)
    assert done
    return job, report


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody remove or cut a file that is open")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "act",
    [
        folder_goes,
        folder_is_renamed,
        cache_is_renamed,
        ledger_is_removed,
        ledger_is_emptied,
        ledger_is_cut,
        ledger_is_overwritten,
    ],
)
def test_the_run_ends_with_4_and_its_report_and_the_same_command_goes_on(
    service: FaultyService, tmp_path: Path, name: str, act: Callable[[Path], None]
) -> None:
    out = tmp_path / "folder" / name
    job, report = sabotaged(service, out, act)
    assert (report.exit_code, report.complete) == (4, False), report
    assert sums_hold(report.to_dict())
    assert report.planned == TILES
    assert report.stop.hint
    assert report.stop.message.count(name) == 1, "the file is named once"
    assert "readonly" not in report.stop.message, "what happened is told in words"
    out.parent.mkdir(exist_ok=True)
    again: Any = harvester.run(job)
    assert (again.exit_code, again.stored) == (0, TILES)
    assert len(held(out)) == TILES
    assert poisoned(out, service.site) == set()


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody cut a file that is open")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("act", [cache_is_cut, cache_is_overwritten])
def test_a_cache_that_was_damaged_while_it_was_written_is_never_called_complete(
    service: FaultyService, tmp_path: Path, name: str, act: Callable[[Path], None]
) -> None:
    out = tmp_path / "folder" / name
    _, report = sabotaged(service, out, act)
    assert (report.exit_code, report.complete) == (4, False), report
    assert report.stop.code in ("damaged", "not_a_cache")
    assert sums_hold(report.to_dict())
