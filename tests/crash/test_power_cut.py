"""The power fails at any moment of a run, in any format: what is there is whole, and the same command goes on."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

import harvester
from harvester.caches.open import is_empty_or_missing
from harvester.errors import CacheError
from harvester.testing import RecordingDisk
from harvester.testing.aftermath import held
from harvester.testing.power import materialise
from harvester.testing.power_sqlite import recording_sqlite
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.testing.sqlite_files import can_watch
from tests.crash.power_runs import harvest, judged, recorded

pytestmark = pytest.mark.skipif(not can_watch(), reason="this Python hides the functions of its SQLite")

FORMATS = ("mbtiles", "mbtiles+dedup", "gpkg", "pmtiles", "tpk", "tpkx", "compact", "compactv2", "exploded", "xyz")

CUTS = int(os.environ.get("HARVESTER_POWER_CUTS", "25"))
"""Moments of a run at which the power fails, of each format, three states at each; 2,000 are all there are."""

GO_ON = 2
"""From how many moments the run is gone on with, with nothing and with all of what was under way."""

LEVELS = 2


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_after_a_power_cut_nothing_is_torn_nothing_recorded_is_lost_and_the_same_command_goes_on(
    tmp_path: Path, format: str
) -> None:
    root = tmp_path / "run"
    root.mkdir()
    with FaultyService(ArcGisSite()) as service:
        disk = RecordingDisk(root)
        out = root / "out"
        recorded(service, out, format, disk, LEVELS)
        found = judged(disk, out, cuts=CUTS, seed=len(format))
        moments = min(CUTS, len(disk.trace))
        assert found.pop("states") >= 2 * moments
        assert found.pop("different") >= moments // 2
        assert not found
        for number, state in enumerate(disk.states(samples=0, every=len(disk.trace) // GO_ON)):
            place = tmp_path / f"goes on {number}"
            place.mkdir()
            materialise(state, root, place)
            report = harvest(service.url, place / "out", format, LEVELS)
            assert report.exit_code == 0
            assert len(held(place / "out")) == report.counts.stored == sum(4**level for level in range(LEVELS + 1))
            assert {path.name for path in place.iterdir()} <= {"out", "out.ledger", *overwritten(place)}


def overwritten(place: Path) -> set[str]:
    """What an overwrite that was cut short keeps for the next one; the run that goes on here is a merge."""
    return {path.name for path in place.iterdir() if path.name.startswith(("out.new", "out.part"))}


@pytest.mark.parametrize("format", ["mbtiles", "gpkg"])
def test_a_database_whose_first_transaction_never_ended_is_no_cache_yet(tmp_path: Path, format: str) -> None:
    """Its first sector never arrived, others did: only the journal knows that nothing was there."""
    root = tmp_path / "run"
    root.mkdir()
    out = root / "out"
    with FaultyService(ArcGisSite()) as service:
        disk = RecordingDisk(root)
        with recording_sqlite(disk):
            harvest(service.url, out, format, 1, disk=disk)
        unborn = 0
        for state in disk.states(samples=1):
            data = state.files.get(out, b"")
            if not data or data.startswith(b"SQLite") or not state.files.get(root / "out-journal"):
                continue
            unborn += 1
            place = tmp_path / str(unborn)
            place.mkdir()
            materialise(state, root, place)
            assert is_empty_or_missing(place / "out")
            with pytest.raises(CacheError, match="is empty"):
                harvester.open_cache(place / "out")
            assert harvest(service.url, place / "out", format, 1).exit_code == 0
            assert len(held(place / "out")) == 5
    assert unborn


def test_a_database_with_a_journal_of_something_is_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.mbtiles"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("CREATE TABLE tiles (zoom_level, tile_column, tile_row, tile_data)")
    writer.execute("PRAGMA cache_size=1")
    writer.execute("BEGIN IMMEDIATE")
    writer.executemany("INSERT INTO tiles VALUES (0, ?, 0, zeroblob(9000))", [(col,) for col in range(50)])
    assert (tmp_path / "a.mbtiles-journal").stat().st_size > 512
    assert not is_empty_or_missing(path)
    writer.close()
