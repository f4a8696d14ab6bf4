"""What a tilemap denies: believed of one host, held against the others' tilemaps where there are several, and never
believed of a credential that has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from harvester.edges import Answer, Fault, Request
from harvester.job import Limits
from harvester.testing.memory import HOST, MemoryService, MemorySource, broken, http, memory_info, never
from harvester.tiling.tile import Tile, block_of
from tests.engine.lab import Bench, plan_of

ONE, TWO, THREE, FOUR = (replace(HOST, name=f"{name}.test") for name in ("one", "two", "three", "four"))
INFO = memory_info(tilemap=True)
STRIP = plan_of((10,), INFO, bbox=(-20_000_000.0, 100.0, 20_000_000.0, 100_000.0))
"""Three rows around the world: 3,072 tiles in eight blocks."""
BLOCKS = 8

Says = Callable[[Tile], bool]


def says(known: Says) -> Callable[[Request], Answer]:
    """A tilemap that knows these tiles."""

    def answer(request: Request) -> Answer:
        (level, row, col), size = request.tile, request.window
        present = [known(Tile(level, row + y, col + x)) for y in range(size) for x in range(size)]
        return http(200, np.packbits(np.array(present, dtype=bool)).tobytes())

    return answer


def bench_of(maps: dict[str, Callable[[Request], Answer | None]], there: Says = lambda tile: True, **settings) -> Bench:
    """Hosts by name, each with the answers of its tilemap; all of them serve the tiles that are there."""

    def scripted(request: Request) -> Answer | None:
        return maps[request.host.name](request) if request.window else None

    hosts = [host for host in (ONE, TWO, THREE, FOUR) if host.name in maps]
    return Bench(
        service=MemoryService(scripted=scripted, absent=lambda tile: not there(tile)),
        source=MemorySource(INFO, hosts=hosts),
        plan=STRIP,
        probe=True,
        **settings,
    )


def windows(bench: Bench) -> Counter[str]:
    return Counter(request.host.name for request in bench.asked if request.window)


def land(tile: Tile) -> bool:
    return tile.col % 3 == 0


WRONG = {
    "nothing at all": lambda request: http(422),
    "zeros": says(lambda tile: False),
    "a lost bundle": lambda request: http(422) if block_of(request.tile).col == 256 else says(land)(request),
    "every hundredth tile": says(lambda tile: land(tile) and tile.col % 100 != 0),
    "the opposite": says(lambda tile: not land(tile)),
}


@pytest.mark.parametrize("how", WRONG)
@pytest.mark.parametrize("others", [("two.test",), ("two.test", "three.test", "four.test")])
@pytest.mark.parametrize("wrong_first", [True, False])
def test_one_tile_server_whose_tilemap_is_wrong_makes_no_tile_absent(how, others, wrong_first):
    names = ("one.test", *others) if wrong_first else (*others, "one.test")
    wrong = names[0] if wrong_first else names[-2]
    maps = {name: WRONG[how] if name == wrong else says(land) for name in sorted(names)}
    bench = bench_of(maps, land)
    outturn = bench.go()
    expected = {tile for tile in STRIP.tiles() if land(tile)}
    assert (outturn.stop, set(bench.cache.bodies)) == (None, expected)
    assert outturn.tally.counts().absent == STRIP.total - len(expected)
    assert [text for text in outturn.notices if "tilemaps" in text and "differ" in text]
    assert windows(bench).total() <= BLOCKS * len(names)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_tilemaps_that_agree_are_believed_and_cost_one_request_a_block_each(number):
    names = ("one.test", "two.test", "three.test", "four.test")[:number]
    bench = bench_of(dict.fromkeys(names, says(land)), land)
    outturn = bench.go()
    expected = {tile for tile in STRIP.tiles() if land(tile)}
    assert (outturn.stop, outturn.notices, set(bench.cache.bodies)) == (None, (), expected)
    assert windows(bench) == dict.fromkeys(names, BLOCKS)
    assert len(bench.asked) == len(expected) + BLOCKS * number


def test_where_a_tilemap_denies_nothing_that_is_planned_no_other_is_asked():
    everything = says(lambda tile: tile.row < 600)
    bench = bench_of({"one.test": everything, "two.test": everything})
    assert (bench.go().stop, len(bench.cache.bodies)) == (None, STRIP.total)
    assert windows(bench).total() == BLOCKS


def test_of_one_host_each_block_is_asked_once():
    bench = bench_of({"one.test": says(land)}, land)
    assert bench.go().stop is None
    assert windows(bench) == {"one.test": BLOCKS}


SILENT = {
    "error": http(500),
    "busy": http(503),
    "busy for an hour": http(503, headers={"retry-after": "3600"}),
    "not there": http(404),
    "garbage": http(200, b"{}"),
    "refused": http(498),
    "cut": broken(Fault.TRUNCATED),
    "stalling": never(),
}


@pytest.mark.parametrize("silence", SILENT)
def test_where_the_other_tilemap_says_nothing_the_word_of_the_one_stands(silence):
    bench = bench_of({"one.test": says(land), "two.test": lambda request: SILENT[silence]}, land)
    outturn = bench.go()
    expected = {tile for tile in STRIP.tiles() if land(tile)}
    assert (outturn.stop, set(bench.cache.bodies)) == (None, expected)
    assert sum(not request.window for request in bench.asked) <= 1.02 * len(expected)


def test_once_two_tilemaps_differed_the_word_of_one_alone_makes_no_tile_absent():
    """The second host's tilemap ends after two blocks; what the first one denies then, wrongly, is asked for."""
    count = Counter[str]()

    def at_two(request: Request) -> Answer:
        count["two"] += 1
        return says(land)(request) if count["two"] <= 2 else http(404)

    bench = bench_of({"one.test": WRONG["zeros"], "two.test": at_two}, land)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().stored) == (None, sum(map(land, STRIP.tiles())))


def test_a_tilemap_of_a_host_that_is_gone_is_not_waited_for():
    gone = broken(Fault.CONNECT)
    bench = bench_of({"one.test": says(land), "two.test": lambda request: gone}, land)
    scripted = bench.service.scripted  # type: ignore[attr-defined]
    bench.service.scripted = lambda one: gone if one.host.name == "two.test" else scripted(one)  # type: ignore[attr-defined]
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().stored) == (None, sum(map(land, STRIP.tiles())))
    assert bench.seconds < 60


def ended_while_under_way(bench: Bench, tilemap: Callable[[Request], Answer]) -> set[Tile]:
    """The token is renewed ahead of time, with requests under way: tiles are refused to it after a second, and so it is
    known that it had ended when ``tilemap`` answers."""

    def scripted(request: Request) -> Answer | None:
        if request.credential:
            return says(land)(request) if request.window else None
        return tilemap(request) if request.window else http(498, seconds=1.0)

    bench.service = MemoryService(scripted=scripted, absent=lambda tile: tile.level == 5 and not land(tile))
    bench.source = MemorySource(
        INFO, hosts=bench.source.hosts, renewable=True, renews_in=lambda: 9e9 if bench.source.renewals else 0.0
    )
    bench.plan = plan_of((1, 5), INFO)
    return {tile for tile in bench.plan.tiles() if tile.level == 1 or land(tile)}


@pytest.mark.parametrize("hosts", [("one.test",), ("one.test", "two.test")])
def test_what_a_tilemap_says_to_a_token_that_is_known_to_have_ended_is_no_answer(hosts):
    bench = bench_of(dict.fromkeys(hosts, says(land)))
    expected = ended_while_under_way(bench, lambda request: http(422, seconds=4.0))
    assert (bench.go().stop, bench.source.renewals) == (None, 1)
    assert set(bench.cache.bodies) == expected


def test_what_a_tilemap_said_to_a_token_that_was_renewed_since_does_not_stand_alone():
    """The first host denies all at once; the second one says nothing, when it is known that the token had ended."""
    bench = bench_of({"one.test": says(land), "two.test": says(land)})
    expected = ended_while_under_way(
        bench, lambda request: http(422) if request.host.name == "one.test" else http(404, seconds=4.0)
    )
    assert (bench.go().stop, bench.source.renewals) == (None, 1)
    assert set(bench.cache.bodies) == expected


def test_the_rate_holds_for_tilemaps_that_are_asked_twice():
    bench = bench_of(dict.fromkeys(("one.test", "two.test"), says(land)), land, limits=Limits(rate=50))
    assert bench.go().stop is None
    times = [when for when, _ in bench.transport.log]
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[50:], strict=False))
