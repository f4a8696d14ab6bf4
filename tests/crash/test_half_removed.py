"""What a run had collected when it died is not asked again, though a package was finished in between."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from harvester.testing.aftermath import held
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


class DiesBeforeRecording(DyingDisk):
    """Dies when the first tiles are in the work folder and the ledger is about to hear of them."""

    def __init__(self, out: Path) -> None:
        super().__init__(1 << 30)
        self._work = out.with_name("out.work")

    def step(self, name: str, path: Path) -> None:
        """Look before each of the ledger's transactions."""
        if not self.dead and name == "sqlite_begin" and path.name == "out.ledger" and held(self._work):
            self._left = 0
        super().step(name, path)


@pytest.mark.parametrize("format", ["tpkx", "pmtiles"])
def test_tiles_of_a_killed_job_that_another_job_sealed_are_not_asked_again(tmp_path: Path, format: str) -> None:
    out = tmp_path / "out"
    with FaultyService(ArcGisSite()) as service:
        disk = DiesBeforeRecording(out)
        with suppress(BaseException):
            harvest(service.url, out, format, 2, disk=disk)
        assert disk.dead
        collected = held(out.with_name("out.work"))
        assert len(collected) == 21
        assert harvest(service.url, out, format, 1).exit_code == 0
        assert held(out) == collected
        service.log.clear()
        assert harvest(service.url, out, format, 2).exit_code == 0
        assert not service.log.tiles()


class DiesSettling(DyingDisk):
    """Dies at the n-th name that it removes once the new cache is there under its name."""

    def __init__(self, number: int) -> None:
        super().__init__(1 << 30)
        self._removals = number
        self._swapped = False

    def step(self, name: str, path: Path) -> None:
        """Count removals after the swap."""
        if name in ("remove", "remove_tree") and self._swapped:
            self._removals -= 1
            if self._removals < 0:
                self._left = 0
        self._swapped |= name == "replace" and path.name == "out"
        super().step(name, path)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["tpkx", "compactv2"])
def test_an_overwrite_that_died_while_it_cleared_up_is_finished_by_the_next_start(tmp_path: Path, format: str) -> None:
    with FaultyService(ArcGisSite()) as service:
        first = tmp_path / "first"
        first.mkdir()
        assert harvest(service.url, first / "out", format, 1).exit_code == 0
        service.site.variant = 1
        number = died = 0
        while True:
            folder = tmp_path / str(number)
            shutil.copytree(first, folder)
            disk = DiesSettling(number)
            with suppress(BaseException):
                harvest(service.url, folder / "out", format, 1, mode="overwrite", disk=disk)
            new = held(folder / "out")
            if not disk.dead:
                break
            died += 1
            again = harvest(service.url, folder / "out", format, 1)
            assert (again.exit_code, again.tile_requests) == (0, 0)
            assert held(folder / "out") == new
            assert {path.name for path in folder.iterdir()} == {"out", "out.ledger"}
            assert harvest(service.url, folder / "out", format, 1, mode="overwrite").exit_code == 0
            number += 1
        assert died >= 4
