"""Addresses and absences: what a run keeps of its source holds no secret and says what was asked of whom."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from harvester.assemble.remember import absences, address_pattern, remember_job
from harvester.edges import Host, Request, State
from harvester.engine import Tally
from harvester.job import Job, Policy
from harvester.ledger import open_ledger
from harvester.planning import make_plan
from harvester.testing.memory import MemorySource
from harvester.tiling.tile import Tile


class Elsewhere(MemorySource):
    """A source whose tiles have other addresses."""

    def __init__(self, pattern: str, hosts: int = 1) -> None:
        super().__init__()
        self.pattern = pattern
        self.named = [Host(scheme="https", name=f"t{i}.test", port=443) for i in range(hosts)]

    def request(self, tile: Tile, attempt: int) -> Request:
        level, row, col = tile
        path = self.pattern.format(z=level, y=row, x=col, tms=(1 << level) - 1 - row)
        return Request(self.named[row % len(self.named)], path, tile, 0, attempt)


def test_an_address_keeps_no_secret_of_its_query() -> None:
    (pattern,) = address_pattern(Elsewhere("/tile/{z}/{y}/{x}?token=canary123&blankTile=false"), 7) or [""]
    assert pattern == "https://t0.test/tile/7/{row}/{col}?token=***&blankTile=false"


@pytest.mark.parametrize("hosts", [1, 2, 3, 4, 16])
def test_rows_that_are_shared_out_over_hosts_are_found_at_their_host(hosts: int) -> None:
    source = Elsewhere("/{z}/{x}/{y}.png", hosts)
    patterns = address_pattern(source, 9)
    assert patterns is not None and len(patterns) == hosts
    for row in range(40):
        request = source.request(Tile(9, row, 5), 0)
        url = patterns[row % hosts].replace("{row}", str(row)).replace("{col}", "5")
        assert url == request.host.origin + request.path


@pytest.mark.parametrize(
    "path", ["/{z}/{x}/{tms}.png", "/all", "/{z}/{y}", "/{z}/{x}", "/{y}/{y}/{x}", "/{{row}}/{y}/{x}"]
)
def test_an_address_without_row_and_column_as_they_are_is_not_kept(path: str) -> None:
    assert address_pattern(Elsewhere(path), 5) is None


def test_more_hosts_than_a_service_has_are_no_pattern() -> None:
    assert address_pattern(Elsewhere("/{z}/{y}/{x}", 17), 5) is None


def test_absences_are_counted_by_level_and_way_and_the_rest_is_the_tilemaps() -> None:
    tally = Tally()
    tally.add(3, State.ABSENT, 10 + 2 + 30)
    tally.add(4, State.ABSENT, 1)
    tally.absences.update({(3, "http_404"): 2, (4, "http_404"): 1})
    found = absences(tally, {3: 10}, {"3": {"tilemap": 4}, "2": {"http_204": 1}})
    assert found == {"2": {"http_204": 1}, "3": {"tilemap": 34, "http_404": 2}, "4": {"http_404": 1}}


def test_jobs_are_kept_once_and_the_oldest_are_forgotten(tmp_path: Path) -> None:
    async def use() -> tuple[object, object, object]:
        ledger = await open_ledger(tmp_path / "x.ledger", create=True)
        source = MemorySource()
        for run, level in enumerate((1, 2, 1, 3), 1):
            job = Job(source="http://x.test", policies=(Policy(lods=((level, level),)),))
            await remember_job(ledger, run, job, make_plan(source.info, [((level,), None)]), source, keep=2)
        found = [await ledger.get_meta(name) for name in ("jobs", "job:1", "addresses")]
        await ledger.close()
        return found[0], found[1], found[2]

    spans, first, addresses = asyncio.run(use())
    assert spans == {"2": [2, 2], "3": [4, 4]}
    assert first is None
    assert isinstance(addresses, dict) and set(addresses) == {"1", "2", "3"}
