"""Power cuts over whole runs: what cache and ledger may look like after one, judged as anybody would read them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from harvester.assemble.run import harvest_job
from harvester.durable import Disk
from harvester.job import Job, Limits, Policy
from harvester.loop import run_loop
from harvester.report import Report
from harvester.testing import RecordingDisk
from harvester.testing.aftermath import faults, held
from harvester.testing.power import materialise
from harvester.testing.power_sqlite import recording_sqlite
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.tiling.tile import Tile

VARIANTS = 2
"""Contents that the service had while a run was recorded; any of them is a right tile."""


@cache
def body_of(tile: Tile, variant: int) -> bytes:
    """What the service sent for a tile at that time."""
    return ArcGisSite(variant=variant).body(tile)


def bodies(tile: Tile) -> list[bytes]:
    """What the service may have sent for a tile."""
    return [body_of(tile, variant) for variant in range(VARIANTS)]


def judged(disk: RecordingDisk, out: Path, *, cuts: int, seed: int = 1) -> Counter[str]:
    """The faults of what power cuts leave, at about so many moments spread over the trace, three states at each.

    ``states`` counts those, ``different`` the different ones. What was acknowledged last is promised.
    """
    found: Counter[str] = Counter()
    seen: set[int] = set()
    with laid_out() as folder:
        for state in disk.states(seed=seed, samples=1, every=max(1, len(disk.trace) // cuts)):
            found["states"] += 1
            promised = state.acknowledged[-1] if state.acknowledged else frozenset()
            assert isinstance(promised, frozenset)
            key = hash((frozenset(state.files.items()), len(promised)))
            if key in seen:
                continue
            seen.add(key)
            found["different"] += 1
            place = folder / f"cut{len(seen)}"
            place.mkdir()
            materialise(state, disk.root, place)
            found.update(faults(place / out.relative_to(disk.root), bodies, promised=promised))
            shutil.rmtree(place, ignore_errors=True)
    return found


@contextmanager
def laid_out() -> Iterator[Path]:
    """A folder for what is looked at only once: in memory where the system has such a place, for syncs are slow."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


def harvest(url: str, out: Path, format: str, levels: int, *, mode: str = "merge", disk: Disk | None = None) -> Report:
    """One run of the whole world down to a level, in this process."""
    job = Job(source=url, output=out, format=format.partition("+")[0], mode=mode, dedup=format.endswith("+dedup"),
        policies=(Policy(lods=((0, levels),)),), limits=Limits(retries=0))  # fmt: skip
    report = run_loop(harvest_job(job, disk=disk))
    assert isinstance(report, Report)
    return report


def recorded(service: FaultyService, out: Path, format: str, disk: RecordingDisk, levels: int = 2) -> None:
    """A cache begun, added to level by level, then replaced by what the service holds meanwhile, all in one trace."""
    with recording_sqlite(disk):
        for level in range(1, levels + 1):
            assert harvest(service.url, out, format, level, disk=disk).exit_code == 0
            disk.acknowledge(frozenset(held(out)))
        service.site.variant = 1
        disk.acknowledge(frozenset())
        assert harvest(service.url, out, format, 1, mode="overwrite", disk=disk).exit_code == 0
        disk.acknowledge(frozenset(held(out)))
