"""Any sequence of runs, kills, damage, merges and overwrites: after each step the cache holds nothing wrong, loses
nothing that was acknowledged, and the next run asks only for what is missing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import nullcontext
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harvester.assemble.run import harvest_job
from harvester.audit import verify
from harvester.audited import Audited
from harvester.caches.open import is_empty_or_missing
from harvester.durable import Disk
from harvester.edges import State
from harvester.errors import CacheError
from harvester.holes import holes
from harvester.job import Job, Limits, Policy
from harvester.ledger import read_ledger
from harvester.loop import run_loop
from harvester.report import Report
from harvester.testing.aftermath import held, swap_is_due
from harvester.testing.crash import SqliteSteps
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.testing.sqlite_files import can_watch, watching_sqlite
from harvester.tiling.tile import Tile
from tests.crash.dying import DyingDisk

DEEPEST = 3
"""85 tiles at most: enough for several policies, and a run takes a tenth of a second."""

STEPS = 250
"""File operations of a run of this size, with SQLite's own; most kills fall inside it."""

WORLD = 85.06
QUARTERS = {"nw": (-180.0, 0.0, 0.0, WORLD), "ne": (0.0, 0.0, 180.0, WORLD), "sw": (-180.0, -WORLD, 0.0, 0.0)}

POLICIES: dict[str, Policy] = {
    "coarse": Policy(lods=((0, 2),)),
    "all": Policy(lods=((0, DEEPEST),)),
    **{name: Policy(lods=((2, DEEPEST),), bbox=box) for name, box in QUARTERS.items()},
}

NAMES = ("out", "out.ledger", "out.lock", "out.new", "out.new.ledger", "out.old", "out.part", "out.work")
SIDE_FILES = {name + end for name in NAMES for end in ("", "-journal", ".part")}


def is_absent(tile: Tile) -> bool:
    """What the service doesn't have."""
    return tile.level == DEEPEST and tile.col == 3


def tiles_of(name: str) -> set[Tile]:
    """What a policy plans, worked out by the halves of the world."""
    levels = POLICIES[name].lods[0]
    found = set()
    for level in range(levels[0], levels[1] + 1):
        side = 2**level
        for row in range(side):
            for col in range(side):
                north, west = row < side // 2, col < side // 2
                if name in ("coarse", "all") or name == ("n" if north else "s") + ("w" if west else "e"):
                    found.add(Tile(level, row, col))
    return found


class Harvests(RuleBasedStateMachine):
    """``held`` is the model: what the cache must hold, tile by tile, byte by byte."""

    format = "mbtiles"

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.out = self.folder / "out"
        self.site = ArcGisSite(absent=is_absent)
        self.service = FaultyService(self.site)
        self.service.__enter__()
        self.held: dict[Tile, bytes] = {}
        self.planned: set[Tile] = set()
        self.broken: set[Tile] = set()
        self.ledger_is_true = True
        """Nothing has damaged the ledger, or taken from the cache, since a run that looked at all of it."""
        self.torn = False
        """A bundle has lost its tail: ``verify`` says so until the tiles are fetched again."""
        self.lost: set[Tile] = set()
        """Tiles that somebody took from the cache, and no run has fetched since."""
        self.finished: str | None = None

    def teardown(self) -> None:
        if hasattr(self, "service"):
            self.service.__exit__(None, None, None)
            shutil.rmtree(self.folder, ignore_errors=True)

    # ---- what is done

    def harvest(self, name: str, disk: Disk | None = None, mode: str = "merge", budget: int | None = None) -> Report:
        self.service.log.clear()
        job = Job(
            source=self.service.url,
            output=self.out,
            format=self.format,
            mode=mode,
            policies=(POLICIES[name],),
            limits=Limits(max_tiles=budget, retries=0),
        )
        with watching_sqlite(SqliteSteps(disk)) if disk is not None and can_watch() else nullcontext():
            report = run_loop(harvest_job(job, disk=disk))
        assert isinstance(report, Report)
        assert self.asked_once(), "a tile was asked twice in one run that had no fault"
        return report

    def asked_once(self) -> bool:
        return all(times == 1 for times in self.service.log.tiles().values())

    def asked(self) -> set[Tile]:
        return set(self.service.log.tiles())

    def visible(self) -> dict[Tile, bytes]:
        """What anybody can read under the final name."""
        return held(self.out)

    def readable(self) -> dict[Tile, bytes]:
        """What has been collected so far."""
        return self.visible()

    def learn(self, before: dict[Tile, bytes]) -> None:
        """After a merge: what was there is there unchanged; what is new was asked now and is right."""
        now = self.readable()
        assert before.items() <= now.items(), "a tile was lost or changed (I1)"
        for tile in now.keys() - before.keys():
            assert tile in self.asked(), f"{tile} came from nowhere"
            assert now[tile] == self.site.body(tile), f"{tile} is not what the service sent (I2)"
            self.lost.discard(tile)
        assert not self.asked() & before.keys(), "a tile that was there was asked again (I5)"
        self.held = now

    @rule(name=st.sampled_from(sorted(POLICIES)))
    def run(self, name: str) -> None:
        """To its end: complete but for tiles that the service refuses (I4)."""
        before, wanted = self.held, tiles_of(name)
        report = self.harvest(name)
        self.planned |= wanted
        self.learn(before)
        failed = {Tile(tile.level, tile.row, tile.col) for tile in report.failures}
        assert failed == {tile for tile in wanted & self.broken if tile not in before}
        assert report.exit_code == (1 if failed else 0)
        counts = report.counts
        assert (counts.planned, counts.pending, counts.failed) == (len(wanted), 0, len(failed))
        assert {tile for tile in wanted if tile in self.held} == {t for t in wanted if not is_absent(t)} - failed
        self.looked_at(name)
        self.finished = None if failed else name

    def looked_at(self, name: str) -> None:
        """A run has held the ledger against those blocks of the cache that it plans."""
        self.ledger_is_true |= name == "all" or self.format == "mbtiles"
        self.torn &= name != "all"

    @rule(name=st.sampled_from(sorted(POLICIES)), budget=st.integers(1, 40))
    def run_some(self, name: str, budget: int) -> None:
        before = self.held
        report = self.harvest(name, budget=budget)
        self.planned |= tiles_of(name)
        self.learn(before)
        assert report.fetched == len(self.held) - len(before) <= budget
        assert report.counts.planned == len(tiles_of(name))
        self.finished = None

    @rule(name=st.sampled_from(sorted(POLICIES)), steps=st.integers(0, STEPS))
    def kill(self, name: str, steps: int) -> None:
        """At any file operation; nothing that lies there is lost, nothing wrong is readable."""
        before, disk = self.held, DyingDisk(steps)
        try:
            self.harvest(name, disk=disk)
        except BaseException as error:
            assert disk.dead, repr(error)
            assert self.asked_once()
        self.learn(before)
        if disk.dead:
            self.finished = None
            self.planned_may_grow(name)
        else:
            self.planned |= tiles_of(name)
            self.looked_at(name)
            self.finished = None if tiles_of(name) & self.broken else name

    def planned_may_grow(self, name: str) -> None:
        """A run that was killed has entered its plan or a part of it, or not yet."""
        states = self.ledger_states()
        if states is not None and states.keys() <= self.planned | tiles_of(name):
            self.planned |= states.keys()

    @rule(name=st.sampled_from(sorted(POLICIES)))
    def overwrite(self, name: str) -> None:
        """All of the new, or all of the old while tiles fail."""
        wanted = tiles_of(name)
        old = self.held
        report = self.harvest(name, mode="overwrite")
        now = self.readable()
        if report.exit_code == 0:
            fresh = {tile: self.site.body(tile) for tile in wanted if not is_absent(tile)}
            assert now.keys() == fresh.keys()
            assert all(now[tile] in self.bodies(tile) for tile in now)
            self.held, self.planned, self.finished = now, wanted, name
            self.ledger_is_true, self.torn, self.lost = True, False, set()
        else:
            assert now == old, "an overwrite that did not end with 0 changed the cache"
            assert wanted & self.broken

    @rule(name=st.sampled_from(sorted(POLICIES)), steps=st.integers(0, 2 * STEPS))
    def kill_overwrite(self, name: str, steps: int) -> None:
        """Whole-old, or whole-new, or (for the moment between two renames of folders) not there; never a mixture."""
        old, wanted, disk = self.visible(), tiles_of(name), DyingDisk(steps)
        try:
            self.harvest(name, disk=disk, mode="overwrite")
        except BaseException as error:
            assert disk.dead, repr(error)
        now = self.visible()
        whole = {tile for tile in wanted if not is_absent(tile)}
        if now != old or swap_is_due(self.out):
            assert now == old or not now or now.keys() == whole, "a mixture of old and new"
            # The next start finishes the swap, whatever it is asked to do.
            self.harvest(name, budget=1)
            now = self.readable()
            assert now.keys() == whole
            assert all(now[tile] in self.bodies(tile) for tile in now)
            self.held, self.planned = now, set(wanted)
            self.ledger_is_true, self.torn, self.lost = True, False, set()
        elif self.readable() != self.held:
            # Replaced by the same tiles: what had been collected to be added to the old ones has gone with them.
            assert self.readable() == now
            assert now.keys() == whole
            self.held, self.planned = now, set(wanted)
        self.finished = None

    # ---- what happens to it

    @rule()
    def the_map_changes(self) -> None:
        self.site.variant = (self.site.variant + 1) % 5

    def bodies(self, tile: Tile) -> set[bytes]:
        """What the service may have sent for a tile."""
        return {ArcGisSite(variant=variant).body(tile) for variant in range(5)}

    @rule(some=st.sets(st.sampled_from(sorted(tile for tile in tiles_of("all") if not is_absent(tile))), max_size=3))
    def the_service_refuses_some_tiles(self, some: set[Tile]) -> None:
        self.broken = some
        rules = tuple(Rule(do="status", status=500, tiles=(str(tile),)) for tile in sorted(some))
        self.service.script = Script(rules=rules)
        self.finished = None

    @precondition(lambda self: (self.folder / "out.ledger").exists())
    @rule(how=st.sampled_from(["gone", "cut", "garbage"]), share=st.floats(0.0, 0.999))
    def the_ledger_is_damaged(self, how: str, share: float) -> None:
        path = self.folder / "out.ledger"
        data = path.read_bytes()
        at = int(len(data) * share)
        if how == "gone":
            path.unlink()
        elif how == "cut":
            path.write_bytes(data[:at])
        else:
            path.write_bytes(data[:100] + b"\x55" * max(0, len(data) - 100))
        self.ledger_is_true = False
        self.finished = None

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 10_000))
    def something_takes_from_the_cache(self, number: int) -> None:
        """Another program deletes a tile of a database; the tail of a bundle is torn off."""
        if self.format == "mbtiles":
            tile = sorted(self.held)[number % len(self.held)]
            connection = sqlite3.connect(self.out)
            with connection:
                row = 2**tile.level - 1 - tile.row
                connection.execute(
                    "DELETE FROM tiles WHERE zoom_level=? AND tile_column=? AND tile_row=?", (tile.level, tile.col, row)
                )
            connection.close()
        else:
            bundles = sorted(self.out.rglob("*.bundle"))
            bundle = bundles[number % len(bundles)]
            data = bundle.read_bytes()
            if number % 2 and not self.torn:
                bundle.write_bytes(data + b"torn" * (number % 700))  # a record without its entry
            else:
                # Cut only: bytes that fill a torn record up again are found by verify alone, the format has no sum.
                bundle.write_bytes(data[: max(64 + 8 * 128 * 128, len(data) - number % 3000)])
                self.torn = True
        now = self.readable()
        assert now.items() <= self.held.items(), "damage made another tile readable (I2)"
        self.lost |= self.held.keys() - now.keys()
        self.held = now
        self.ledger_is_true = False
        self.finished = None

    # ---- what is looked at

    @precondition(lambda self: self.finished)
    @rule()
    def the_finished_job_again(self) -> None:
        """No tile is asked, no byte changes (I9)."""
        assert self.finished is not None
        before = self.bytes_of_cache()
        report = self.harvest(self.finished)
        assert (report.exit_code, report.tile_requests, self.asked()) == (0, 0, set())
        assert self.bytes_of_cache() == before

    def bytes_of_cache(self) -> dict[str, bytes]:
        files = [self.out] if self.out.is_file() else [path for path in self.out.rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in files}

    def ledger_states(self) -> dict[Tile, State] | None:
        """What the ledger says; None where it cannot be read just now."""
        if not (self.folder / "out.ledger").exists():
            return None
        try:
            ledger = read_ledger(self.folder / "out.ledger")
        except CacheError:
            return None
        try:
            return {
                key.tile(int(index)): State(int(states.ravel()[index]))
                for key, states in ledger.blocks()
                for index in states.ravel().nonzero()[0]
            }
        finally:
            ledger.close()

    @precondition(lambda self: self.ledger_is_true and not is_empty_or_missing(self.out))
    @rule(deep=st.booleans())
    def verify_says_what_is_there(self, deep: bool) -> None:
        states = self.ledger_states()
        if states is None:
            return
        finding = verify(self.out, deep=deep)
        damages = [damage.what for damage in finding.damages]
        if deep and self.lost - states.keys():
            # The ledger was damaged as well, so that nothing but the manifest knows of them.
            damages = [what for what in damages if "that its manifest counts are gone" not in what]
        assert not damages or self.torn, damages
        assert finding.planned == len(states)
        assert finding.present == len(states.keys() & self.held.keys())
        assert finding.planned == finding.present + finding.absent + finding.missing

    @precondition(lambda self: self.ledger_is_true and not is_empty_or_missing(self.out))
    @rule()
    def holes_are_what_failed_or_is_pending(self) -> None:
        states = self.ledger_states()
        if states is None:
            return
        with Audited(self.out) as audited:
            collection = holes(audited.blocks(), audited.scheme, {})
        told = sum(feature["properties"]["tiles"] for feature in collection["features"])
        assert told == sum(state in (State.FAILED, State.PENDING) for state in states.values())

    @invariant()
    def the_cache_is_what_the_model_says(self) -> None:
        """It opens (I3), and holds exactly what it must (I1, I2, I6)."""
        if hasattr(self, "out"):
            assert self.readable() == self.held

    @invariant()
    def what_the_ledger_calls_stored_is_stored(self) -> None:
        """Acknowledged means present (I1)."""
        if hasattr(self, "out") and self.ledger_is_true and (states := self.ledger_states()) is not None:
            stored = {tile for tile, state in states.items() if state is State.STORED}
            assert stored <= self.held.keys()

    @invariant()
    def nothing_lies_anywhere_else(self) -> None:
        """Only the files that a run owns (I11)."""
        if hasattr(self, "out"):
            assert {path.name for path in self.folder.iterdir()} <= SIDE_FILES


class CompactHarvests(Harvests):
    """The same over bundles."""

    format = "compactv2"


MORE = int(os.environ.get("HARVESTER_MACHINE_EXAMPLES", "0"))
"""So many sequences, other ones each time, instead of the few that are the same in every run (``make soak``)."""

SETTINGS = settings(
    max_examples=MORE or 8,
    stateful_step_count=14,
    derandomize=not MORE,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)

TestMbtiles = Harvests.TestCase
TestMbtiles.settings = SETTINGS
TestCompact = CompactHarvests.TestCase
TestCompact.settings = SETTINGS
