"""``on_event`` may raise whatever and whenever: nothing that came is lost, the lock goes, and the caller gets it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import harvester
from harvester.events import Event, Finished, Notice, Progress, Started, TileFailed
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite, FaultyService
from tests.e2e.claims import held, poisoned


class ListenerError(Exception):
    """What the listener raises."""


@pytest.fixture
def service() -> Iterator[FaultyService]:
    with FaultyService(ArcGisSite()) as running:
        yield running


def raising_at(kind: type, error: BaseException) -> Callable[[Event], None]:
    """A listener that raises at the first event of this kind, and must not be told anything after it."""
    raised: list[object] = []

    def listen(event: Event) -> None:
        assert not raised, "a listener that raised is told nothing more"
        if isinstance(event, kind):
            raised.append(event)
            raise error

    return listen


def job_of(service: FaultyService, out: Path) -> harvester.Job:
    return harvester.Job(source=service.url, output=out, policies=(harvester.Policy(lods=((0, 5),)),))


@pytest.mark.parametrize(
    ("name", "kind", "error"),
    [
        ("out.mbtiles", Progress, ListenerError("mine")),
        ("out.tpkx", Progress, SystemExit(7)),
        ("out", TileFailed, ListenerError("mine")),
        ("out.mbtiles", TileFailed, asyncio.CancelledError()),
        ("out.tpkx", Finished, ListenerError("mine")),
    ],
    ids=str,
)
def test_a_listener_that_raises_stops_the_run_in_order_and_its_error_reaches_the_caller(
    service: FaultyService, tmp_path: Path, name: str, kind: type, error: BaseException
) -> None:
    if kind is TileFailed:
        service.script = Script(rules=(Rule(do="status", status=400, tiles=("1/0/0",)),))
    job = job_of(service, tmp_path / name)
    with pytest.raises(type(error)) as caught:
        harvester.run(job, on_event=raising_at(kind, error))
    assert caught.value is error
    assert not (tmp_path / f"{name}.lock").exists()
    assert not [one.name for one in threading.enumerate() if "worker" in one.name]
    asked = service.log.tiles()
    assert asked
    service.script = Script()
    service.log.clear()
    report: Any = harvester.run(job)
    assert report.complete
    assert report.kept == len(asked) - (kind is TileFailed), "what had come is stored, and not asked again"
    assert len(held(tmp_path / name)) == 1365
    assert poisoned(tmp_path / name, service.site) == set()


@pytest.mark.parametrize("kind", [Notice, Started])
def test_a_listener_that_raises_before_the_first_tile_leaves_no_file(
    service: FaultyService, tmp_path: Path, kind: type
) -> None:
    job = job_of(service, tmp_path / "out.tpkx").with_options(dedup=True)
    with pytest.raises(ListenerError):
        harvester.run(job, on_event=raising_at(kind, ListenerError("mine")))
    assert list(tmp_path.iterdir()) == []
    assert service.log.count("tile") == 0


def test_a_listener_that_raises_is_no_error_of_the_report_that_the_next_run_reads(
    service: FaultyService, tmp_path: Path
) -> None:
    job = job_of(service, tmp_path / "out.mbtiles")
    with pytest.raises(ListenerError):
        asyncio.run(harvester.harvest(job, on_event=raising_at(Progress, ListenerError("secret words"))))
    from harvester.ledger import read_ledger

    with read_ledger(tmp_path / "out.mbtiles.ledger") as ledger:
        (run,) = ledger.runs()
    assert run.report is not None
    assert run.report["error"]["message"] == "on_event raised ListenerError"
