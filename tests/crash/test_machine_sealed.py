"""The same machine over packages, which are collected beside and appear whole; and over jobs cut into shards."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from harvester.assemble.run import harvest_job
from harvester.delta.join import merge
from harvester.edges import State
from harvester.job import Job, Limits
from harvester.loop import run_loop
from harvester.report import Report
from harvester.testing.aftermath import held, ledger_states
from harvester.tiling.tile import Tile
from tests.crash.dying import DyingDisk
from tests.crash.test_machine import POLICIES, SETTINGS, STEPS, Harvests, is_absent, tiles_of


class SealedHarvests(Harvests):
    """``held`` is what has been collected: the package, and the work folder where there is one. The package is always
    one that a run has sealed: ``sealed`` is its content."""

    format = "tpkx"

    def begin_sealed(self) -> None:
        self.sealed: dict[Tile, bytes] = {}

    def readable(self) -> dict[Tile, bytes]:
        return {**self.visible(), **held(self.out.with_name("out.work"))}

    def looked_at(self, name: str) -> None:
        super().looked_at(name)
        if not tiles_of(name) & self.broken:
            assert self.visible().keys() >= {tile for tile in tiles_of(name) if not is_absent(tile)}

    def verify_is_of_the_package(self) -> bool:
        return self.finished is not None and not self.out.with_name("out.work").exists()

    @rule()
    def the_package_is_never_half(self) -> None:
        """What is under the final name holds nothing but right tiles (it opens at all, so it is whole)."""
        assert all(body in self.bodies(tile) for tile, body in self.visible().items())

    @precondition(lambda self: self.held)
    @rule()
    def something_takes_from_the_cache(self) -> None:
        """Somebody moves the package away, and what was left of the work folder."""
        if not self.out.exists():
            return
        self.out.unlink()
        self.held = self.readable()
        self.ledger_is_true = False
        self.finished = None


class PmtilesHarvests(SealedHarvests):
    """The same over PMTiles."""

    format = "pmtiles"


class ShardedHarvests(Harvests):
    """A job in shards, each with an output of its own and a life of its own, joined in the end."""

    @rule(
        name=st.sampled_from(sorted(POLICIES)),
        parts=st.integers(1, 4),
        format=st.sampled_from(["mbtiles", "compactv2", "tpkx"]),
        steps=st.lists(st.integers(0, STEPS), max_size=3),
    )
    def shards(self, name: str, parts: int, format: str, steps: list[int]) -> None:
        """Each tile is in exactly one of them, killed or not; joined they are the whole job."""
        wanted = tiles_of(name)
        planned: list[Tile] = []
        outputs = []
        for number in range(1, parts + 1):
            out = self.folder / f"out-shard-{number}"
            job = Job(
                source=self.service.url,
                output=out,
                format=format,
                shard=(number, parts),
                policies=(POLICIES[name],),
                limits=Limits(retries=0),
            )
            for step in steps[number - 1 : number]:
                disk = DyingDisk(step)
                try:
                    self.run_job(job, disk)
                except BaseException as error:
                    assert disk.dead, repr(error)
            report = self.run_job(job)
            assert report.exit_code == (1 if report.failures else 0)
            states = ledger_states(out.with_name(out.name + ".ledger"))
            planned += states
            stored = {tile for tile, state in states.items() if state is State.STORED}
            assert held(out).keys() == stored
            assert {tile for tile, state in states.items() if state is State.FAILED} == states.keys() & self.broken
            if stored:
                outputs.append(out)
        assert len(planned) == len(set(planned))
        assert set(planned) == wanted
        if outputs:
            joined = self.folder / "out-joined"
            run_loop(merge(outputs, joined, format="mbtiles"))
            assert held(joined) == {
                tile: self.site.body(tile) for tile in wanted if not is_absent(tile) and tile not in self.broken
            }
        for path in list(self.folder.glob("out-*")):
            self.clear(path)

    def run_job(self, job: Job, disk: DyingDisk | None = None) -> Report:
        report = run_loop(harvest_job(job, disk=disk))
        assert isinstance(report, Report)
        return report

    def clear(self, path: object) -> None:
        from harvester.durable import Disk

        Disk().remove_tree(path)  # type: ignore[arg-type]


TestTpkx = SealedHarvests.TestCase
TestTpkx.settings = SETTINGS
TestPmtiles = PmtilesHarvests.TestCase
TestPmtiles.settings = SETTINGS
TestShards = ShardedHarvests.TestCase
TestShards.settings = SETTINGS
