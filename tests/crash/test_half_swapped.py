"""A package that is finished and waits for its name gets it at the next start, whatever that was asked to do."""

from __future__ import annotations

from pathlib import Path

import pytest

import harvester
from harvester.assemble.run import harvest_job
from harvester.durable import Disk
from harvester.loop import run_loop
from harvester.testing.aftermath import held, swap_is_due
from harvester.testing.service import ArcGisSite, FaultyService
from tests.crash.dying import DyingDisk, Killed


class DiesAtTheSwap(DyingDisk):
    """When the finished package is about to get its name."""

    def __init__(self, out: Path) -> None:
        super().__init__(1 << 30)
        self._names = {out.name, out.name + ".part"}

    def step(self, name: str, path: Path) -> None:
        """Dead from that step on."""
        if name == "replace" and path.name in self._names:
            self.dead = True
        super().step(name, path)


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("name", ["out.tpkx", "out.pmtiles"])
def test_a_finished_package_is_swapped_in_after_a_kill_and_none_of_its_tiles_is_asked_again(
    tmp_path: Path, name: str, there: bool
) -> None:
    out = tmp_path / name
    with FaultyService(ArcGisSite()) as service:

        def run(finest: int, mode: str, disk: Disk | None = None) -> None:
            policies = (harvester.Policy(lods=((0, finest),)),)
            job = harvester.Job(source=service.url, output=out, mode=mode, policies=policies)
            run_loop(harvest_job(job, disk=disk))

        if there:
            run(1, "merge")
        with pytest.raises(Killed):
            run(2, "overwrite", DiesAtTheSwap(out))
        assert swap_is_due(out)
        service.log.clear()
        run(2, "merge")
        assert (len(held(out)), service.log.count("tile")) == (21, 0)
        assert {path.name for path in tmp_path.iterdir()} == {name, f"{name}.ledger"}
