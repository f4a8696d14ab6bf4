"""A package is taken apart to be added to while the event loop goes on; stopped, it leaves the folder as it was."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harvester
from harvester.assemble.run import harvest_job
from harvester.assemble.unpacking import UnpackingStopped, unpack_beside
from harvester.caches.open import open_cache
from harvester.durable import Disk
from harvester.engine import StopReason, StopSwitch
from harvester.errors import CacheError
from harvester.events import Event, Notice
from harvester.loop import run_loop
from harvester.output import OutputPaths
from harvester.testing.service import ArcGisSite, FaultyService

SIGINT = StopReason.signal("SIGINT", 130)

FORMATS = ("tpkx", "tpk", "pmtiles")


class Held(Disk):
    """Stands still before the first bundle is written, until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Event()
        self.may_go_on = threading.Event()

    def step(self, name: str, path: Path) -> None:
        """Wait where a bundle is written."""
        if name == "write" and path.suffix == ".bundle" and not self.arrived.is_set():
            self.arrived.set()
            assert self.may_go_on.wait(60)


@pytest.fixture(scope="module")
def service() -> Iterator[FaultyService]:
    with FaultyService(ArcGisSite()) as running:
        yield running


def job_of(service: FaultyService, out: Path, last: int) -> harvester.Job:
    return harvester.Job(source=service.url, output=out, policies=(harvester.Policy(lods=((0, last),)),))


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".ledger"}


@pytest.mark.parametrize("format", FORMATS)
def test_a_signal_is_served_while_a_package_is_unpacked_and_nothing_is_left(
    service: FaultyService, tmp_path: Path, format: str
) -> None:
    out = tmp_path / f"out.{format}"
    assert harvester.run(job_of(service, out, 2)).complete
    before = everything(tmp_path)
    requests = service.log.count("tile")
    disk, switch, told = Held(), StopSwitch(), list[str]()

    def emit(event: Event) -> None:
        if isinstance(event, Notice):
            told.append(event.text)

    async def work() -> Any:
        task = asyncio.ensure_future(harvest_job(job_of(service, out, 3), emit=emit, switch=switch, disk=disk))

        def end() -> None:
            task.cancel()

        switch.on_early = end
        while not disk.arrived.is_set():
            await asyncio.sleep(0)
        assert any("unpacking" in text for text in told), "a person is told what takes so long"
        switch.press(SIGINT)
        await asyncio.sleep(0)
        disk.may_go_on.set()
        return await task

    with pytest.raises(asyncio.CancelledError):
        run_loop(work())
    assert everything(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {out.name, f"{out.name}.ledger"}
    assert service.log.count("tile") == requests
    again: Any = harvester.run(job_of(service, out, 3))
    assert (again.exit_code, again.stored, again.fetched) == (0, 85, 64)
    assert again.notices.count(f"unpacking {out.name} to add to it") == 1


@pytest.mark.parametrize("ending", ["stopped", "full disk"])
def test_unpacking_that_is_given_up_or_fails_leaves_no_part(
    service: FaultyService, tmp_path: Path, ending: str
) -> None:
    """Between the layers of a web map nobody is cancelled: there the switch alone says so."""
    out = tmp_path / "out.tpkx"
    assert harvester.run(job_of(service, out, 2)).complete
    paths = OutputPaths(out=out, sealed=True, overwrite=False)
    disk = Held()

    def stopped() -> bool:
        disk.may_go_on.set()
        return ending == "stopped"

    class Full(Held):
        def step(self, name: str, path: Path) -> None:
            if name == "write" and path.suffix == ".bundle":
                raise OSError(28, "No space left on device")

    async def work() -> None:
        chosen = disk if ending == "stopped" else Full()
        with open_cache(out) as reader:
            scheme = reader.info.scheme
        await unpack_beside("tpkx", paths, paths.work, scheme, disk=chosen, stopped=stopped, tell=lambda text: None)

    with pytest.raises(UnpackingStopped if ending == "stopped" else CacheError):
        asyncio.run(work())
    assert {path.name for path in tmp_path.iterdir()} == {out.name, f"{out.name}.ledger"}
