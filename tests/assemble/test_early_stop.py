"""A run that is stopped before its first tile request leaves everything as it was: at each of its suspensions, and at
each of its file operations, by count and not by time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import harvester
from harvester.assemble.made import Made
from harvester.assemble.run import harvest_job
from harvester.durable import Disk
from harvester.engine import StopReason, StopSwitch
from harvester.loop import run_loop
from harvester.testing.service import ArcGisSite, FaultyService
from tests.e2e.claims import held, poisoned

SIGINT = StopReason.signal("SIGINT", 130)


class Steps:
    """Awaits a coroutine and calls ``act`` just before the suspension of this number, from 1."""

    def __init__(self, work: Coroutine[Any, Any, Any], number: int, act: Callable[[], object]) -> None:
        self._work = work
        self._number = number
        self._act = act
        self.count = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        raised: BaseException | None = None
        while True:
            try:
                waits_for = next(steps) if raised is None else steps.throw(raised)
            except StopIteration as end:
                return end.value
            raised = None
            self.count += 1
            if self.count == self._number:
                self._act()
            try:
                yield waits_for
            except BaseException as error:
                raised = error


class StoppingDisk(Disk):
    """Calls ``act`` at the file operation of this number, from 1."""

    def __init__(self, number: int, act: Callable[[], object]) -> None:
        super().__init__()
        self.count = 0
        self._number = number
        self._act = act

    def step(self, name: str, path: Path) -> None:
        """Count, and act if this is the one."""
        self.count += 1
        if self.count == self._number:
            self._act()


@pytest.fixture(scope="module")
def service() -> Iterator[FaultyService]:
    with FaultyService(ArcGisSite()) as running:
        yield running


def job_of(service: FaultyService, out: Path, levels: tuple[int, int] = (0, 2), mode: str = "merge") -> harvester.Job:
    return harvester.Job(source=service.url, output=out, policies=(harvester.Policy(lods=(levels,)),), mode=mode)


def state_of(folder: Path) -> dict[str, int | bool]:
    """Every name below a folder, with its size."""
    return {str(path.relative_to(folder)): path.is_dir() or path.stat().st_size for path in folder.rglob("*")}


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


def stopped_at_suspension(job: harvester.Job, number: int) -> int:
    """Stop a run as a signal does, at its suspension of this number; gives its exit code."""
    switch = StopSwitch()

    async def work() -> Any:
        task = asyncio.current_task()
        assert task is not None
        switch.on_early = lambda: _cancel(task)
        return await Steps(harvest_job(job, switch=switch), number, lambda: switch.press(SIGINT))

    try:
        return int(run_loop(work()).exit_code)
    except asyncio.CancelledError:
        assert switch.reason is not None
        return switch.reason.exit_code


def stopped_at_operation(job: harvester.Job, number: int) -> int:
    """The same at its file operation of this number."""
    switch = StopSwitch()

    async def work() -> Any:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        switch.on_early = lambda: _cancel(task)
        disk = StoppingDisk(number, lambda: loop.call_soon_threadsafe(switch.press, SIGINT))
        return await harvest_job(job, switch=switch, disk=disk)

    try:
        return int(run_loop(work()).exit_code)
    except asyncio.CancelledError:
        assert switch.reason is not None
        return switch.reason.exit_code


@pytest.mark.parametrize(
    ("name", "mode", "there", "stopped"),
    [
        ("out.mbtiles", "overwrite", "a cache", stopped_at_suspension),
        ("out.tpkx", "merge", "a cache", stopped_at_suspension),
        ("out.pmtiles", "overwrite", "nothing", stopped_at_suspension),
        ("out.gpkg", "merge", "nothing", stopped_at_suspension),
        ("out", "overwrite", "a cache", stopped_at_suspension),
        ("out.mbtiles", "merge", "nothing", stopped_at_operation),
        ("out.tpkx", "overwrite", "a cache", stopped_at_operation),
        ("out", "overwrite", "nothing", stopped_at_operation),
    ],
)
def test_a_run_stopped_before_its_first_tile_request_leaves_all_as_it_was(
    service: FaultyService, tmp_path: Path, name: str, mode: str, there: str, stopped: Callable[..., int]
) -> None:
    if there == "a cache":
        assert harvester.run(job_of(service, tmp_path / name, (0, 1))).complete
    out = tmp_path / name
    job = job_of(service, out, mode=mode)
    before = state_of(tmp_path)
    ledger = tmp_path / f"{name}.ledger"
    service.log.clear()
    number = 0
    while True:
        number += 1
        code = stopped(job, number)
        if service.log.count("tile"):
            break
        assert code == 130, number
        after = state_of(tmp_path)
        if there == "a cache" and mode == "merge":
            # It has learnt of the new plan, which is no file more.
            after[ledger.name] = before[ledger.name]
        assert after == before, number
    assert number > (15 if stopped is stopped_at_suspension else 1)
    assert not [one.name for one in threading.enumerate() if "worker" in one.name]
    assert harvester.run(job).complete
    assert len(held(out)) == 21
    assert poisoned(out, service.site) == set()


@pytest.mark.parametrize("name", ["folder", "file.mbtiles"])
def test_what_was_empty_is_empty_again(service: FaultyService, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.mbtiles").touch()
    before = state_of(tmp_path)
    service.log.clear()
    number = 20
    while True:
        number += 3
        stopped_at_suspension(job_of(service, tmp_path / name), number)
        if service.log.count("tile"):
            break
        assert state_of(tmp_path) == before, number
    assert number > 30


def test_folders_that_were_made_go_unless_somebody_uses_them_meanwhile(tmp_path: Path) -> None:
    with Made(Disk()) as made:
        made.folders(tmp_path / "new" / "folder")
        assert (tmp_path / "new" / "folder").is_dir()
    assert state_of(tmp_path) == {}
    with Made(Disk()) as made:
        made.folders(tmp_path / "new" / "folder")
        (tmp_path / "new" / "letter").write_text("mine")
    assert state_of(tmp_path) == {"new": True, "new/letter": 4}


def test_what_is_kept_stays(tmp_path: Path) -> None:
    with Made(Disk()) as made:
        made.folders(tmp_path / "new")
        made.note(tmp_path / "new" / "out.mbtiles")
        (tmp_path / "new" / "out.mbtiles").write_text("tiles")
        made.kept = True
    assert state_of(tmp_path) == {"new": True, "new/out.mbtiles": 5}
