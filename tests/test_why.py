"""Why a tile is or isn't there, told from ledger and cache as they lie on disk."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from harvester.caches.open import open_writer
from harvester.cli.why import account_lines
from harvester.durable import Disk
from harvester.edges import BlockChange, State, Stored, Subject
from harvester.errors import CacheError, UsageError
from harvester.job import Job, Policy
from harvester.ledger import open_ledger
from harvester.plan_record import job_record
from harvester.planning import make_plan
from harvester.testing.images import tile_png
from harvester.testing.memory import memory_info
from harvester.tiling.scheme_json import scheme_to_json
from harvester.tiling.tile import BlockKey, Tile
from harvester.why import why

INFO = memory_info()
KEY = BlockKey(2, 0, 0)
JOB = Job(source="http://x.test", policies=(Policy(lods=((2, 2),)),))
STORED, ABSENT, FAILED, PENDING = (Tile(2, 0, col) for col in range(4))
UNCHANGED, GONE, BROKEN, BUSY = (Tile(2, 1, col) for col in range(4))


async def make(out: Path, reason: str = "http_500", runs: tuple[int | None, ...] = (4, 0, None), **meta: Any) -> None:
    """A cache of LOD 2 with a tile in every state, one that is lost and one that is damaged."""
    plan = make_plan(INFO, [((2,), None)])
    ledger = await open_ledger(out.with_name(out.name + ".ledger"), create=True)
    await ledger.enlist(list(plan.blocks()))
    at = KEY.position
    await ledger.record(
        [
            BlockChange(KEY, State.STORED, [at(STORED), at(GONE), at(BROKEN)]),
            BlockChange(KEY, State.ABSENT, [at(ABSENT)]),
            BlockChange(KEY, State.FAILED, [at(FAILED), at(BUSY)], {at(FAILED): reason, at(BUSY): "http_503"}),
            BlockChange(KEY, State.UNCHANGED, [at(UNCHANGED)]),
        ],
        {},
    )
    await ledger.set_meta(
        {
            "scheme": scheme_to_json(INFO.scheme), "levels": [2], "tile_format": INFO.tile_format.value,
            "jobs": {"1": [1, 2]}, "job:1": job_record(JOB, INFO, plan),
            "addresses": {"2": ["https://a.test/{row}/{col}", "https://b.test/{row}/{col}"]},
            "absences": {"2": {"tilemap": 1}}, **meta,
        }
    )  # fmt: skip
    for fetched in runs:
        run = await ledger.add_run(str(out))
        if fetched is not None:
            await ledger.finish_run(run, {"fetched": fetched})
    await ledger.close()
    writer = await open_writer("mbtiles", out, Subject(info=INFO, levels=(2,), extent=INFO.extent), disk=Disk())
    body = tile_png(*STORED)
    await writer.store([Stored(tile, body, "png") for tile in (STORED, UNCHANGED)])
    await writer.store([Stored(BROKEN, body[:-30], "png")])
    await writer.close()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out.mbtiles"
    asyncio.run(make(path))
    return path


def told(out: Path, tile: Tile) -> str:
    return "\n".join(account_lines(why(out, tile)))


def test_a_stored_tile_tells_its_policy_address_bytes_and_the_runs_that_fetched(out: Path) -> None:
    account = why(out, STORED)
    assert account.state is State.STORED
    assert [planner.words for planner in account.planned_by] == ["LODs 2, the service's full extent"]
    assert account.url == "https://a.test/0/0"
    assert account.held is not None
    assert (account.held.kind, account.held.width, account.held.height) == ("png", 256, 256)
    assert account.held.bytes == len(tile_png(*STORED))
    assert account.fetching_runs == (1, 3)
    assert "one of the runs 1, 3" in told(out, STORED)


def test_the_address_is_that_of_the_server_that_has_the_row(out: Path) -> None:
    assert why(out, BROKEN).url == "https://b.test/1/2"


def test_a_failed_tile_tells_its_reason_its_run_and_how_often_it_could_be_tried(out: Path) -> None:
    account = why(out, FAILED)
    assert (account.state, account.reason, account.failed_in, account.tries) == (State.FAILED, "http_500", 2, 6)
    assert "http_500, in run 2 (up to 6 tries a run)" in told(out, FAILED)


def test_tries_say_nothing_of_a_tile_that_was_always_busy_or_refused(out: Path) -> None:
    assert (why(out, BUSY).reason, why(out, BUSY).tries) == ("http_503", None)
    assert "http_503, in run 2\n" in told(out, BUSY)


def test_an_absent_tile_tells_how_the_source_said_so(out: Path) -> None:
    assert "no such tile, by the tilemap." in told(out, ABSENT)


@pytest.mark.parametrize(
    ("absences", "words"),
    [
        (None, "how it said so was not kept"),
        ({"3": {"tilemap": 1}}, "how it said so was not kept"),
        ({"2": {"http_404": 3, "tilemap": 1200}}, "(at LOD 2, 1,200 by the tilemap, 3 by a 404)"),
        ({"2": {"blank_tile": 3}}, "by the header blank-tile"),
        ({"2": {"http_204": 3}}, "by a 204"),
    ],
)
def test_ways_to_say_absent_are_told_as_far_as_they_are_known(tmp_path: Path, absences: Any, words: str) -> None:
    path = tmp_path / "x.mbtiles"
    asyncio.run(make(path, absences=absences))
    assert words in told(path, ABSENT)


def test_a_pending_tile_has_no_answer_yet(out: Path) -> None:
    text = told(out, PENDING)
    assert text.splitlines()[1].startswith("pending: It is planned and has no end yet")
    assert "no answer to it is on record" in text and "came          no answer is on record" in text  # one was killed
    assert "address       https://a.test/0/3" in text


@pytest.mark.parametrize(
    ("tried", "words"),
    [
        ({"tiles": [], "more": False}, "no run came so far"),
        ({"tiles": [[1, "protocol: bad", [[2, 0, 0]]]], "more": False}, "no run came so far"),
        ({"tiles": [], "more": True}, "no answer to it is on record"),
        (
            {"tiles": [[2, "protocol: Duplicate Content-Length", [[2, 0, 3]]]], "more": False},
            "It was asked in run 2, which ended before a tile came: protocol (Duplicate Content-Length)",
        ),
    ],
)
def test_a_pending_tile_tells_what_came_when_a_run_asked_it(tmp_path: Path, tried: Any, words: str) -> None:
    path = tmp_path / "x.mbtiles"
    asyncio.run(make(path, runs=(4, 0), tried=tried))
    assert words in told(path, PENDING)
    if "protocol" in words:
        text = told(path, PENDING)
        assert "came          protocol (Duplicate Content-Length), in run 2" in text
        assert "asked         https://a.test/0/3" in text


def test_a_failed_tile_tells_what_came_beside_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "x.mbtiles"
    asyncio.run(make(path, reason="tls: tiles.test:443: certificate has expired"))
    account = why(path, FAILED)
    assert (account.reason, account.detail) == ("tls", "tiles.test:443: certificate has expired")
    assert "It failed: tls (tiles.test:443: certificate has expired)." in told(path, FAILED)


def test_an_unchanged_tile_is_told_as_such(out: Path) -> None:
    assert "has not changed" in told(out, UNCHANGED)


def test_a_tile_that_the_ledger_has_and_the_cache_lost_is_no_stored_tile(out: Path) -> None:
    account = why(out, GONE)
    assert account.held is None
    assert "the cache does not hold it" in told(out, GONE)


def test_a_damaged_tile_is_told_as_damaged(out: Path) -> None:
    account = why(out, BROKEN)
    assert account.held is not None and account.held.trouble
    assert f"damaged: {account.held.trouble}" in told(out, BROKEN)
    assert account.to_dict()["explanation"].startswith("It is in the cache, but damaged: ")


def test_an_unplanned_tile_tells_what_is_planned_in_its_place(out: Path) -> None:
    account = why(out, Tile(4, 2, 13))
    assert account.state is State.UNPLANNED
    assert account.unplanned is not None
    assert account.unplanned.because == "No policy selects LOD 4."
    assert account.unplanned.nearby == ((PENDING, State.PENDING),)
    text = told(out, Tile(4, 2, 13))
    assert "planned by    no policy" in text and "LODs planned  2" in text and "in its place  2/0/3 pending" in text


def test_a_ledger_that_kept_no_policies_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.mbtiles"
    asyncio.run(make(path, jobs=None, addresses=None))
    text = told(path, STORED)
    assert "the ledger does not keep the policies of that job" in text
    assert "the address of tiles of this LOD is not kept" in text
    failed = why(path, FAILED)
    assert (failed.reason, failed.tries, failed.failed_in) == ("http_500", None, None)


def test_a_cache_without_a_ledger_knows_only_what_it_holds(out: Path) -> None:
    out.with_name("out.mbtiles.ledger").unlink()
    assert why(out, STORED).state is State.STORED
    assert "planned means present" in told(out, STORED)
    assert "nothing more is known" in told(out, PENDING)
    assert "not there:" in told(out, PENDING)


def test_a_ledger_whose_cache_is_not_there_yet_answers(out: Path) -> None:
    out.unlink()
    assert "in the cache  no" in told(out, PENDING)


def test_a_tile_that_no_policy_planned_and_the_cache_holds_is_told(out: Path) -> None:
    async def add() -> None:
        subject = Subject(info=INFO, levels=(2, 3), extent=INFO.extent)
        writer = await open_writer("mbtiles", out, subject, disk=Disk())
        await writer.store([Stored(Tile(3, 0, 0), tile_png(*STORED), "png")])
        await writer.close()

    asyncio.run(add())
    assert "The cache holds it nevertheless" in told(out, Tile(3, 0, 0))


@pytest.mark.parametrize("tile", [Tile(99, 0, 0), Tile(2, 4, 0), Tile(2, 0, 4)])
def test_an_address_that_the_scheme_does_not_have_is_refused(out: Path, tile: Tile) -> None:
    with pytest.raises(UsageError) as raised:
        why(out, tile)
    assert raised.value.hint


def test_neither_cache_nor_ledger_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CacheError):
        why(tmp_path / "nothing.mbtiles", STORED)


def test_a_damaged_ledger_is_an_error(out: Path) -> None:
    with sqlite3.connect(out.with_name("out.mbtiles.ledger")) as database:
        database.execute("UPDATE block SET states = x'00'")
    database.close()
    with pytest.raises(CacheError) as raised:
        why(out, STORED)
    assert raised.value.code == "ledger_damaged"


@pytest.mark.parametrize(
    ("reason", "tries"),
    [
        ("http_500", 6),
        ("http_408", 6),
        ("truncated", 6),
        ("http_400", 1),
        ("http_410", 1),
        ("forbidden", 1),
        ("http_429", None),
    ],
)
def test_how_often_a_tile_could_be_tried_depends_on_what_came(tmp_path: Path, reason: str, tries: int | None) -> None:
    path = tmp_path / "x.mbtiles"
    asyncio.run(make(path, reason=reason))
    assert why(path, FAILED).tries == tries
    if tries == 1:
        assert f"{reason}, in run 2 (up to 1 try a run)" in told(path, FAILED)
