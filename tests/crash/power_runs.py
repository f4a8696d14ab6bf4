"""Power cuts over whole runs: what cache and ledger may look like after one, judged as anybody would read them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import harvester
from harvester.assemble.run import harvest_job
from harvester.caches.open import is_empty_or_missing
from harvester.durable import Disk
from harvester.edges import State
from harvester.errors import CacheError
from harvester.job import Job, Limits, Policy
from harvester.ledger import read_ledger
from harvester.loop import run_loop
from harvester.report import Report
from harvester.testing import RecordingDisk
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


def bodies(tile: Tile) -> set[bytes]:
    """What the service may have sent for a tile."""
    return {body_of(tile, variant) for variant in range(VARIANTS)}


def held(path: Path) -> dict[Tile, bytes]:
    """Every tile that can be read under this name."""
    if is_empty_or_missing(path):
        return {}
    with harvester.open_cache(path) as cache:
        return {
            tile: body for level in cache.levels() for key in cache.blocks(level) for tile, body in cache.tiles(key)
        }


def ledger_states(path: Path) -> dict[Tile, State]:
    """Every planned tile of a ledger; nothing where there is no ledger yet."""
    if is_empty_or_missing(path):
        return {}
    with read_ledger(path) as ledger:
        return {
            key.tile(int(index)): State(int(states.ravel()[index]))
            for key, states in ledger.blocks()
            for index in states.ravel().nonzero()[0]
        }


def swap_is_due(out: Path) -> bool:
    """The replacement is whole and waits for its name: the next start finishes that before it looks at anything."""
    path = out.with_name(out.name + ".new.ledger")
    if is_empty_or_missing(path):
        return False
    try:
        with read_ledger(path) as ledger:
            return bool(ledger.meta("swapping"))
    except CacheError:
        return False


def integrity(path: Path) -> str:
    """SQLite's own ``integrity_check``; ``ok`` for what is no database."""
    if not path.is_file() or path.stat().st_size == 0 or path.read_bytes()[:15] != b"SQLite format 3":
        return "ok"
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)
    finally:
        connection.close()


def faults(out: Path, promised: frozenset[Tile]) -> Iterator[str]:
    """What is wrong with a cache and its ledger as a power cut left them: one word for each kind of wrong."""
    ledger, work = (out.with_name(out.name + end) for end in (".ledger", ".work"))
    try:
        tiles, states, collected = held(out), ledger_states(ledger), held(work)
    except CacheError as error:
        yield f"unreadable ({error.code})"
        return
    # Only now: it takes back what was left half done, as readers must do for themselves.
    for path in (out, ledger):
        if (found := integrity(path)) != "ok":
            yield f"integrity of {path.name}: {found}"
            return
    variants = {
        variant for tile, body in tiles.items() for variant in range(VARIANTS) if body == body_of(tile, variant)
    }
    if any(body not in bodies(tile) for tile, body in (*tiles.items(), *collected.items())):
        yield "torn"
    if len(variants) > 1:
        yield "mixture"
    if swap_is_due(out):
        return
    if any(state is State.STORED and tile not in tiles and tile not in collected for tile, state in states.items()):
        yield "lost"
    if not promised <= tiles.keys():
        yield "broken promise"


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
            found.update(faults(place / out.relative_to(disk.root), promised))
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
