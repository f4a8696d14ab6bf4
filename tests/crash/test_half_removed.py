"""A run that dies while it clears up behind a finished package leaves no work for the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvester.testing.service import ArcGisSite, FaultyService
from tests.crash.dying import DyingDisk
from tests.crash.power_runs import harvest


class DiesClearingUp(DyingDisk):
    """Dies at the n-th name that it removes below the work folder of a package that is there."""

    def __init__(self, out: Path, number: int) -> None:
        super().__init__(1 << 30)
        self._out = out
        self._removals = number

    def step(self, name: str, path: Path) -> None:
        """Count removals alone."""
        if name in ("remove", "remove_tree") and "out.work" in path.parts and self._out.exists():
            self._removals -= 1
            if self._removals < 0:
                self._left = 0
        super().step(name, path)


@pytest.mark.parametrize("format", ["tpkx", "tpk", "pmtiles"])
def test_a_package_whose_work_folder_was_half_removed_is_whole_and_no_tile_is_asked_again(
    tmp_path: Path, format: str
) -> None:
    with FaultyService(ArcGisSite(absent=lambda tile: tile.col == 3)) as service:
        number = died = 0
        while True:
            folder = tmp_path / str(number)
            folder.mkdir()
            disk = DiesClearingUp(folder / "out", number)
            try:
                harvest(service.url, folder / "out", format, 2, disk=disk)
            except BaseException as error:
                assert disk.dead, repr(error)
            if not disk.dead:
                break
            died += 1
            package = (folder / "out").read_bytes()
            assert (folder / "out.work").exists()
            again = harvest(service.url, folder / "out", format, 2)
            assert (again.exit_code, again.tile_requests) == (0, 0)
            assert (folder / "out").read_bytes() == package
            assert {path.name for path in folder.iterdir()} == {"out", "out.ledger"}
            number += 2
        assert died >= 4
