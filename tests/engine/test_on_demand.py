"""Tiles that are refused (429, 503) the first time they are asked for and served the second time (or the third, the
fourth), all or some of them, are told by experiment from those of a host that is asked too much. In virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable

import pytest

from harvester.edges import Answer, Request
from harvester.job import Limits
from harvester.testing.memory import MemoryService, http
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of

Scripted = Callable[[Request], "Answer | None"]

LEVELS = (0, 1, 2, 3, 4, 5)
TILES = 1365

PAUSES = {"": {}, "Retry-After: 1": {"retry-after": "1"}}


def refused_at_first(
    share: float, headers: dict[str, str], *, status: int = 503, seed: int = 1, times: int = 1
) -> Scripted:
    """This share of the tiles, drawn by lot, so many times."""
    draw, asked = random.Random(seed), Counter[Tile]()
    refused: dict[Tile, bool] = {}

    def scripted(request: Request) -> Answer | None:
        asked[request.tile] += 1
        if request.tile not in refused:
            refused[request.tile] = draw.random() < share
        if asked[request.tile] > times or not refused[request.tile]:
            return None
        return http(status, headers=headers, seconds=0.02)

    return scripted


def harvested(scripted: Scripted, *, seconds: float = 0.02, levels: tuple[int, ...] = LEVELS) -> Bench:
    bench = Bench(
        service=MemoryService(scripted=scripted, seconds=seconds),
        plan=plan_of(levels),
        limits=Limits(max_duration_seconds=3600),
    )
    outturn = bench.go()
    tiles = bench.plan.total
    assert (outturn.stop, outturn.tally.counts()) == (None, (tiles, tiles, 0, 0, 0, 0))
    assert outturn.tally.tile_requests == len(bench.asked) == tiles + outturn.tally.retries + outturn.tally.questions
    return bench


def is_known(bench: Bench) -> bool:
    return bench.engine._flow._questions.demand.is_known


# ------------------------------------------------------------------------------------------------ on demand


@pytest.mark.parametrize("headers", PAUSES.values(), ids=PAUSES)
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("share", [0.5, 0.6, 0.8, 0.9, 1.0])
def test_tiles_that_are_refused_at_first_only_take_tens_of_seconds(share, status, headers):
    """Half an hour and more where that is taken for a word of the pace."""
    bench = harvested(refused_at_first(share, headers, status=status))
    assert bench.seconds < 60
    assert len(bench.asked) < (1 + share) * TILES + 160
    assert is_known(bench)


@pytest.mark.parametrize("headers", PAUSES.values(), ids=PAUSES)
@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("share", [0.35, 0.6, 0.9, 1.0])
def test_those_that_are_refused_twice_or_three_times_take_minutes(share, times, headers):
    """One to two hours where that is taken for a word of the pace, and for ever where nothing at all is served at first
    and what is refused is not asked again."""
    bench = harvested(refused_at_first(share, headers, times=times))
    assert bench.seconds < 300
    assert len(bench.asked) < (1 + times * share) * TILES + 250
    assert is_known(bench)
    assert bench.engine._flow._questions.demand.times == times


@pytest.mark.parametrize("levels", [(0, 1, 2, 3), LEVELS], ids=["85 tiles", "1,365 tiles"])
@pytest.mark.parametrize(("times", "seconds"), [(1, 40), (2, 100), (3, 200)])
def test_where_nothing_at_all_is_served_at_first_one_tile_is_asked_until_it_is(times, seconds, levels):
    """What is asked meanwhile to learn something of the host does not put another one in its place."""
    assert harvested(refused_at_first(1.0, {}, times=times), levels=levels).seconds < seconds


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_few_that_are_left_at_last_take_a_minute(seed):
    """So few that no experiment is worth its time while others come, and none can be made without those: it was a
    request in two seconds, and a quarter of an hour."""
    bench = harvested(refused_at_first(0.15, {}, times=3, seed=seed))
    assert bench.seconds < 100
    assert len(bench.asked) < 1.45 * TILES + 150


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_limit_is_kept_while_these_are_left(seed):
    tell = refused_at_first(0.15, {}, times=3, seed=seed)
    left, last, over = 8.0, 0.0, 0

    def scripted(request: Request) -> Answer | None:
        nonlocal left, last, over
        now = asyncio.get_running_loop().time()
        left, last = min(8.0, left + 20.0 * (now - last)), now
        if left < 1.0:
            over += 1
            return http(429, seconds=0.02)
        left -= 1.0
        return tell(request)

    harvested(scripted, levels=(0, 1, 2, 3, 4))
    assert over < 60, "three times as many where one tile that is served is believed"


@pytest.mark.parametrize("every", [2, 3])
def test_so_do_those_of_which_every_second_or_third_is(every):
    """In the order in which they are asked, so none comes next to another."""
    asked: dict[Tile, int] = {}

    def scripted(request: Request) -> Answer | None:
        if request.tile in asked:
            return None
        asked[request.tile] = len(asked)
        return http(503) if asked[request.tile] % every == 0 else None

    assert harvested(scripted).seconds < 120


def test_a_pause_that_a_tile_asks_for_is_its_own_once_that_is_known():
    refused: dict[Tile, float] = {}
    served: dict[Tile, float] = {}
    tell = refused_at_first(0.8, {"retry-after": "3"})

    def scripted(request: Request) -> Answer | None:
        answer, now = tell(request), asyncio.get_running_loop().time()
        if request.attempt >= 0:
            (served if answer is None else refused)[request.tile] = now
        return answer

    bench = harvested(scripted)
    assert bench.seconds < 120, "1,092 pauses would be almost an hour"
    assert all(served[tile] - at >= 3.0 for tile, at in refused.items() if tile in served)


def test_tiles_that_take_a_while_to_be_ready_are_waited_for():
    """Refused until four seconds after they were asked for; the host answers all others meanwhile."""
    began: dict[Tile, float] = {}

    def scripted(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        ready = began.setdefault(request.tile, now) + (4.0 if request.tile.col % 3 else 0.0)
        return http(503, seconds=0.02) if now < ready else None

    assert harvested(scripted).seconds < 400


@pytest.mark.parametrize("seed", range(24))
def test_a_plan_may_end_in_the_midst_of_the_experiment(seed):
    """Of whose tiles the last are served at once, so none waits for a pair: several fresh ones are asked in a row then,
    and there may be fewer."""
    draw, asked = random.Random(seed), Counter[Tile]()
    refused = 9 + seed % 8

    def scripted(request: Request) -> Answer | None:
        asked[request.tile] += 1
        if asked[request.tile] > 1 or len(asked) > refused or draw.random() < 0.2:
            return None
        return http(503, seconds=0.02)

    bench = Bench(
        service=MemoryService(scripted=scripted, seconds=0.02),
        plan=plan_of((3, 4), bbox=(-20e6, -20e6, -10e6, -12e6 + 1e6 * (seed % 5))),
        limits=Limits(max_duration_seconds=3600, concurrency=1 + seed % 3),
    )
    assert bench.go().tally.counts().failed == 0


def test_a_limit_is_kept_by_what_is_asked_for_the_second_time():
    """Eight at a time, of a host that refuses first tries as well."""
    tell, flying = refused_at_first(0.6, {}), list[float]()
    most = 0

    def scripted(request: Request) -> Answer | None:
        nonlocal most
        now = asyncio.get_running_loop().time()
        flying[:] = [end for end in flying if end > now]
        most = max(most, len(flying))
        if (answer := tell(request)) is not None or len(flying) >= 8:
            return answer or http(503, seconds=0.005)
        flying.append(now + 0.05)
        return None

    assert harvested(scripted, seconds=0.05).seconds < 90


# ------------------------------------------------------------------------------------------------ limits


def knee(most: int, seconds: float, headers: dict[str, str]) -> Scripted:
    """So many at a time."""
    flying: list[float] = []

    def scripted(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        flying[:] = [end for end in flying if end > now]
        if len(flying) >= most:
            return http(503, headers=headers, seconds=0.005)
        flying.append(now + seconds)
        return None

    return scripted


def bucket(rate: float, burst: float, headers: dict[str, str]) -> Scripted:
    """So many a second, and as many at once."""
    at, tokens = 0.0, burst

    def scripted(request: Request) -> Answer | None:
        nonlocal at, tokens
        now = asyncio.get_running_loop().time()
        tokens, at = min(burst, tokens + (now - at) * rate), now
        if tokens < 1.0:
            return http(429, headers=headers, seconds=0.005)
        tokens -= 1.0
        return None

    return scripted


def window(most: int, length: float, headers: dict[str, str]) -> Scripted:
    """So many in each stretch of the clock."""
    counts: Counter[int] = Counter()

    def scripted(request: Request) -> Answer | None:
        number = int(asyncio.get_running_loop().time() / length)
        counts[number] += 1
        return http(429, headers=headers, seconds=0.005) if counts[number] > most else None

    return scripted


def sliding(most: int, length: float, headers: dict[str, str]) -> Scripted:
    """So many in any stretch of that length."""
    served: deque[float] = deque()

    def scripted(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        while served and served[0] <= now - length:
            served.popleft()
        if len(served) >= most:
            return http(429, headers=headers, seconds=0.005)
        served.append(now)
        return None

    return scripted


HOSTS: dict[str, tuple[Callable[[dict[str, str]], Scripted], float, float]] = {
    "one at a time": (lambda headers: knee(1, 0.1, headers), 0.1, 200),
    "one at a time, slow": (lambda headers: knee(1, 0.5, headers), 0.5, 800),
    "four at a time": (lambda headers: knee(4, 0.1, headers), 0.1, 60),
    "eight at a time": (lambda headers: knee(8, 0.1, headers), 0.1, 40),
    "thirty-two at a time": (lambda headers: knee(32, 0.1, headers), 0.1, 20),
    "five a second": (lambda headers: bucket(5.0, 1.0, headers), 0.02, 400),
    "five a second, five at once": (lambda headers: bucket(5.0, 5.0, headers), 0.02, 400),
    "fifty a second, five at once": (lambda headers: bucket(50.0, 5.0, headers), 0.02, 60),
    "fifty a second, fifty at once": (lambda headers: bucket(50.0, 50.0, headers), 0.02, 60),
    "ten in each second": (lambda headers: window(10, 1.0, headers), 0.02, 240),
    "fifty in each ten seconds": (lambda headers: window(50, 10.0, headers), 0.02, 600),
    "a hundred in each ten seconds": (lambda headers: window(100, 10.0, headers), 0.02, 400),
    "a hundred in any ten seconds": (lambda headers: sliding(100, 10.0, headers), 0.02, 300),
}


@pytest.mark.parametrize("headers", PAUSES.values(), ids=PAUSES)
@pytest.mark.parametrize("name", HOSTS)
def test_a_limit_is_never_taken_for_tiles_that_are_made_on_demand(name, headers):
    """Nor for tiles of which some are always busy, and none is failed."""
    make, seconds, most = HOSTS[name]
    bench = harvested(make(headers), seconds=seconds)
    questions = bench.engine._flow._questions
    assert not questions.demand.is_known and not questions.demand.was_known
    assert bench.seconds < most


@pytest.mark.parametrize("share", [0.3, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_refusals_at_random_are_no_tiles_made_on_demand(share, seed):
    draw = random.Random(seed)
    bench = Bench(
        service=MemoryService(scripted=lambda request: http(503, seconds=0.005) if draw.random() < share else None),
        plan=plan_of((5,)),
        limits=Limits(max_duration_seconds=900),
    )
    outturn = bench.go()
    assert outturn.tally.counts().failed == 0
    assert not bench.engine._flow._questions.demand.was_known


def test_a_host_that_serves_every_second_request_only_is_none():
    """Fresh tiles and others are asked in an order drawn by lot: else each of the one kind would be refused, and each
    of the other served."""
    asked = 0

    def scripted(request: Request) -> Answer | None:
        nonlocal asked
        asked += 1
        return http(503, seconds=0.02) if asked % 2 else None

    bench = Bench(
        service=MemoryService(scripted=scripted, seconds=0.02),
        plan=plan_of((5,)),
        limits=Limits(max_duration_seconds=900),
    )
    assert bench.go().tally.counts().failed == 0
    assert not bench.engine._flow._questions.demand.was_known
