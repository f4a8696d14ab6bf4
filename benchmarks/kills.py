"""A thousand deaths: runs in every format and mode, killed at every kind of step, each judged and gone on with.

``python -m benchmarks.kills --kills 1000`` serves a small world, counts the steps of a whole run (file operations, and
SQLite's own writes and syncs), then kills runs at steps spread evenly over it. After each: a reader sees whole tiles
only, and the ledger calls nothing stored that isn't; the same command ends complete, every byte right, nothing else
beside it; a sealed package is byte for byte that of a run that nobody killed. A part of ``make soak``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.keep import keep
from benchmarks.kill_service import service
from benchmarks.kill_ways import (
    DEEPEST,
    HELD_BEFORE,
    KINDS,
    NEW,
    WAYS,
    Way,
    bodies_of,
    expected,
    job_of,
    kind_of,
    out_of,
)
from harvester.assemble.run import harvest_job
from harvester.audit import verify
from harvester.caches.open import FORMATS
from harvester.durable import Disk
from harvester.job import Job
from harvester.loop import run_loop
from harvester.report import Report
from harvester.testing.aftermath import faults, held
from harvester.testing.crash import KILLED, CrashingDisk, CrashPoint, SqliteSteps
from harvester.testing.sqlite_files import can_watch, watching_sqlite
from harvester.tiling.tile import Tile

RUN_SECONDS = 300.0
"""A run that takes longer hangs."""


class Death(NamedTuple):
    """One kill: how it ended (``killed``, or ``ended`` when the run was over before), and what was wrong after it."""

    way: Way
    number: int
    step: int
    ended: str
    wrong: list[str]


# ---------------------------------------------------------------------------------------------- one run


def work(job: Job, point: CrashPoint | None, told: Path) -> None:
    """In a process of its own: run, and tell how it ended and how many steps it took; or be killed."""
    disk = Disk() if point is None else CrashingDisk(point)
    with ExitStack() as stack:
        if point is not None and can_watch():
            stack.enter_context(watching_sqlite(SqliteSteps(disk)))
        report = run_loop(harvest_job(job, disk=disk))
    assert isinstance(report, Report)
    steps = disk.steps if isinstance(disk, CrashingDisk) else 0
    told.write_text(json.dumps({"steps": steps, "exit_code": report.exit_code, **report.to_dict()}))


def start(job: Job, point: CrashPoint | None, told: Path) -> int:
    """Do ``work`` in a process of its own, forked where the system can; gives its exit code."""
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    process = context.Process(target=work, args=(job, point, told))
    process.start()
    process.join(RUN_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
        return -1000
    return int(process.exitcode)


# ---------------------------------------------------------------------------------------------- one death


class Prepared(NamedTuple):
    """A way made ready: what is there before, how many steps a whole run takes, and what a sealed package is then."""

    way: Way
    url: str
    before: Path
    steps: int
    digest: str


def prepare(url: str, way: Way, folder: Path) -> Path:
    """What is there before the run that is killed, made while the service had its old content."""
    before = folder / str(way)
    before.mkdir()
    if way.mode != "new":
        levels = HELD_BEFORE if way.mode == "add" else DEEPEST
        merging = way._replace(mode="add")
        code = start(job_of(url, out_of(before, way), merging, levels), None, folder / "told.json")
        assert code == 0, f"{way}: cannot prepare ({code})"
    return before


def measure(url: str, way: Way, before: Path, folder: Path) -> Prepared:
    """A whole run, counted."""
    place = folder / f"{way} whole"
    shutil.copytree(before, place)
    told = folder / "told.json"
    assert start(job_of(url, out_of(place, way), way, DEEPEST), CrashPoint(0), told) == 0
    digest = digest_of(out_of(place, way), way)
    shutil.rmtree(place)
    return Prepared(way, url, before, json.loads(told.read_text())["steps"], digest)


def digest_of(out: Path, way: Way) -> str:
    """SHA-256 of a sealed package; nothing for formats whose bytes tell the order of arrival."""
    return hashlib.sha256(out.read_bytes()).hexdigest() if FORMATS[way.name.partition("+")[0]].sealed else ""


def spread(way: Way, number: int) -> float:
    """The n-th place between 0 and 1, each as far as can be from those before (multiples of the golden ratio).

    Each way begins elsewhere, so that few deaths of each are spread over all of them, too.
    """
    return (WAYS.index(way) / len(WAYS) + number * (5**0.5 - 1) / 2) % 1


def die(ready: Prepared, number: int, folder: Path) -> Death:
    """The n-th death of a way, judged, and the same command to its end, judged."""
    way = ready.way
    step = 1 + int(spread(way, number) * ready.steps)
    place = folder / f"{way} {number}"
    told = folder / "told.json"
    shutil.copytree(ready.before, place)
    out = out_of(place, way)
    job = job_of(ready.url, out, way, DEEPEST)
    code = start(job, CrashPoint(step, half=bool(number & 1)), told)
    ended = "killed" if code in (-9, KILLED) else "ended" if code == 0 else f"exit {code}"
    wrong = list(faults(out, bodies_of(kind_of(way)), promised=promised(way), mixed=way.mode == "add"))
    if ended not in ("killed", "ended"):
        wrong.append(ended)
    told.unlink(missing_ok=True)
    wrong += [f"afterwards: {text}" for text in gone_on(ready, out, start(job, None, told), told)]
    shutil.rmtree(place)
    return Death(way, number, step, ended, wrong)


def promised(way: Way) -> list[Tile]:
    """What must be there after a kill: what was there, unless it is being replaced."""
    return [tile for tile in expected(way) if tile.level <= HELD_BEFORE] if way.mode == "add" else []


def gone_on(ready: Prepared, out: Path, code: int, told: Path) -> Iterator[str]:
    """What is wrong after the same command has been given again."""
    if code != 0 or not told.exists():
        yield f"exit {code}"
        return
    report = json.loads(told.read_text())
    if report["exit_code"] != 0 or not report["complete"]:
        yield f"not complete: {report['exit_code']}"
    ends = ("stored", "unchanged", "absent", "failed", "pending")
    if any(row["planned"] != sum(row[end] for end in ends) for row in (report, *report["lods"])):
        yield "the report's sums do not hold"
    yield from faults(
        out, bodies_of(kind_of(ready.way)), promised=list(expected(ready.way)), mixed=ready.way.mode == "add"
    )
    if held(out) != expected(ready.way):
        yield "a tile is missing, too many, or wrong"
    finding = verify(out)
    if not (finding.complete and finding.sound and finding.planned == report["planned"]):
        yield f"verify: {finding}"
    names = {path.name for path in out.parent.iterdir()}
    if names != {out.name, f"{out.name}.ledger"}:
        yield f"left over: {sorted(names)}"
    if inside := [path.name for path in out.rglob("*") if path.suffix == ".part" or path.name.startswith(".")]:
        yield f"left over inside: {sorted(inside)}"
    if digest_of(out, ready.way) != ready.digest:
        yield "not the package of a run that nobody killed"


# ---------------------------------------------------------------------------------------------- all of them


class Tale:
    """What is known so far, a line for each death: a soak that was stopped goes on behind the last one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.deaths: list[Death] = []
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                name, mode, *rest = json.loads(line)
                self.deaths.append(Death(Way(name, mode), *rest))

    def tell(self, death: Death) -> None:
        """One more."""
        self.deaths.append(death)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps([*death.way, *death[1:]]) + "\n")

    @property
    def killed(self) -> int:
        """Runs that were killed, not those that were over before."""
        return sum(death.ended != "ended" for death in self.deaths)


def soak(kills: int, folder: Path, *, tale: Tale, minutes: float, ways: Sequence[Way] = WAYS) -> dict[str, Any]:
    """Kill until so many were killed or the time is over, each way in turn; gives what was found."""
    began = time.monotonic()
    with ExitStack() as stack:
        served = {kind: stack.enter_context(service(kind)) for kind in KINDS}
        urls = {way: served[kind_of(way)].say("") for way in ways}
        before = {way: prepare(urls[way], way, folder) for way in ways}
        for one in served.values():
            one.say(f"variant {NEW}")
        ready = {way: measure(urls[way], way, before[way], folder) for way in ways}
        numbers = Counter(death.way for death in tale.deaths)
        while tale.killed < kills and time.monotonic() - began < minutes * 60:
            way = min(ways, key=lambda way: numbers[way])
            death = die(ready[way], numbers[way], folder)
            numbers[way] += 1
            tale.tell(death)
            if death.wrong:
                print(f"{way}, step {death.step} of {ready[way].steps}: {'; '.join(death.wrong)}", file=sys.stderr)
            elif tale.killed % 50 == 0:
                print(f"{tale.killed} killed, {time.monotonic() - began:.0f} s", file=sys.stderr)
    killed = [death for death in tale.deaths if death.ended != "ended"]
    return {
        "kills": len(killed),
        "kills_asked": kills,
        "ended_before": len(tale.deaths) - len(killed),
        "inside_sqlite": can_watch(),
        "ways": {
            str(way): {"kills": sum(death.way == way for death in killed), "steps": ready[way].steps} for way in ways
        },
        "seconds": round(time.monotonic() - began, 1),
        "broken": [
            {"way": str(death.way), "step": death.step, "half": bool(death.number & 1), "wrong": death.wrong}
            for death in tale.deaths
            if death.wrong
        ],
    }


def main(argv: Sequence[str]) -> int:
    """Gives 0 when nothing was wrong after any death and as many were killed as were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=120.0, help="the most that it may take; resumable with --tale")
    parser.add_argument("--tale", type=Path, help="a file that remembers each death: the same command goes on from it")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    options = parser.parse_args(argv)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        found = soak(options.kills, Path(folder), tale=Tale(options.tale), minutes=options.minutes)
    if options.save:
        keep("kills", found)
    print(json.dumps(found, indent=1))
    return 1 if found["broken"] or found["kills"] < options.kills else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
