"""Hosts that serve the same tiles: what one of them does is no matter of the others, and no tile is lost with it."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from harvester.edges import Answer, Fault, Host, Request
from harvester.engine.stop import StopReason
from harvester.engine.witness import AGAIN
from harvester.job import Limits
from harvester.testing.images import tile_png
from harvester.testing.memory import HOST, MemoryService, MemorySource, broken, http, never
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of

SICK = replace(HOST, name="sick.test")
WELL = replace(HOST, name="well.test")
THIRD = replace(HOST, name="third.test")
TILES = 1365
"""Of the levels 0 to 5."""

PROBES = 40
"""More than a breaker, its questions and a pause ask in ten minutes."""


def bench_of(
    at_sick: Callable[[Request], Answer | None],
    *,
    hosts: tuple[Host, ...] = (SICK, WELL),
    elsewhere: Callable[[Request], Answer | None] = lambda request: None,
    **settings: object,
) -> Bench:
    def scripted(request: Request) -> Answer | None:
        return at_sick(request) if request.host.name == SICK.name else elsewhere(request)

    return Bench(
        service=MemoryService(scripted=scripted),
        source=MemorySource(hosts=hosts, renewable=bool(settings.pop("renewable", False))),
        plan=plan_of((0, 1, 2, 3, 4, 5)),
        **settings,  # type: ignore[arg-type]
    )


def asked_at(bench: Bench) -> Counter[str]:
    return Counter(request.host.name for request in bench.asked)


def test_each_of_several_hosts_that_are_well_has_its_rows_mostly():
    bench = bench_of(lambda request: None)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched, len(bench.asked)) == (None, TILES, TILES)
    assert min(asked_at(bench).values()) > TILES / 3
    assert outturn.notices == ()


SICKNESSES = {
    "busy": lambda request: http(503),
    "busy for an hour": lambda request: http(503, headers={"retry-after": "3600"}),
    "busy for a minute": lambda request: http(429, headers={"retry-after": "60"}),
    "gone": lambda request: broken(Fault.CONNECT),
    "stalling": lambda request: never(),
    "broken": lambda request: http(500),
    "a portal": lambda request: http(200, b"<html>log in"),
    "refusing": lambda request: http(403),
    "locked": lambda request: http(401),
}


@pytest.mark.parametrize("sickness", SICKNESSES)
def test_one_sick_host_costs_no_tile_few_requests_and_hardly_any_time(sickness):
    bench = bench_of(SICKNESSES[sickness])
    outturn = bench.go()
    assert outturn.stop is None
    assert outturn.tally.fetched == TILES and not outturn.failures
    if sickness != "stalling":  # it is not yet known to be gone by then
        assert [text.split()[2] for text in outturn.notices] == ["http://sick.test"]
    assert asked_at(bench)["sick.test"] <= PROBES
    assert bench.seconds < 60, "two timeouts at the most"
    alone = bench_of(lambda request: None, hosts=(WELL,))
    alone.go()
    if sickness != "stalling":
        assert bench.seconds < 3 * alone.seconds


@pytest.mark.parametrize("sickness", SICKNESSES)
def test_one_sick_host_of_three_costs_no_tile(sickness):
    bench = bench_of(SICKNESSES[sickness], hosts=(WELL, SICK, THIRD))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, TILES)
    assert asked_at(bench)["sick.test"] <= PROBES


@pytest.mark.parametrize("sickness", SICKNESSES)
def test_a_host_that_falls_sick_amid_the_run_costs_no_tile(sickness):
    count = Counter[str]()

    def after_a_while(request: Request) -> Answer | None:
        count[request.host.name] += 1
        return SICKNESSES[sickness](request) if count[request.host.name] > 200 else None

    bench = bench_of(after_a_while)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, TILES)
    assert asked_at(bench)["sick.test"] <= 200 + 24 + PROBES, "those that were under way, and probes"


def test_a_host_that_recovers_is_asked_again():
    count = Counter[str]()

    def for_a_while(request: Request) -> Answer | None:
        count[request.host.name] += 1
        return http(500) if count[request.host.name] <= 22 else None

    bench = bench_of(for_a_while, elsewhere=lambda request: None, limits=Limits(rate=20))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, TILES)
    assert asked_at(bench)["sick.test"] > 200


@pytest.mark.parametrize(
    ("sickness", "code", "exit_code"),
    [
        ("busy", "source_failing", 3),
        ("busy for an hour", "retry_after", 3),
        ("gone", "source_failing", 3),
        ("stalling", "source_failing", 3),
        ("broken", "source_failing", 3),
        ("a portal", "unusable", 3),
        ("refusing", "unusable", 3),
        ("locked", "auth", 3),
    ],
)
def test_hosts_that_all_are_sick_end_the_run_as_one_does_and_are_hardly_asked(sickness, code, exit_code):
    sick = SICKNESSES[sickness]
    bench = bench_of(sick, elsewhere=sick)
    outturn = bench.go()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == (code, exit_code)
    assert outturn.tally.fetched == 0
    assert sum(asked_at(bench).values()) <= 1.1 * 60 + 2 * PROBES


def test_tiles_that_no_host_serves_fail_and_no_others():
    bad = {Tile(5, row, col) for row in range(4, 8) for col in range(10)}

    def broken_tile(request: Request) -> Answer | None:
        return http(500) if request.tile in bad else None

    bench = bench_of(broken_tile, elsewhere=broken_tile)
    outturn = bench.go()
    assert outturn.stop is None
    assert {failure.tile for failure in outturn.failures} == bad
    assert outturn.tally.fetched == TILES - len(bad)


@pytest.mark.parametrize("status", [403, 400])
def test_a_tile_that_one_host_refuses_is_asked_of_the_others_before_it_fails(status):
    bad = {Tile(5, row, col) for row in range(4, 8) for col in range(10)}
    bench = bench_of(lambda request: http(status) if request.tile in bad else None, limits=Limits(retries=0))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched, outturn.failures) == (None, TILES, ())
    both = bench_of(
        lambda request: http(status) if request.tile in bad else None,
        elsewhere=lambda request: http(status) if request.tile in bad else None,
        limits=Limits(retries=0),
    )
    outturn = both.go()
    assert outturn.stop is None and {failure.tile for failure in outturn.failures} == bad
    assert len(both.asked) <= TILES + len(bad) + PROBES


def test_without_retries_a_dead_hosts_tiles_are_still_asked_of_another():
    bench = bench_of(SICKNESSES["gone"], limits=Limits(retries=0))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, TILES)


def test_a_token_that_ended_is_renewed_once_for_all_hosts():
    bench = bench_of(lambda request: None, renewable=True)
    asked = Counter[int]()

    def scripted(request: Request) -> Answer | None:
        asked[request.credential] += 1
        return http(498) if request.credential == 0 and asked[0] > 500 else None

    bench.service = MemoryService(scripted=scripted)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, TILES)
    assert bench.source.renewals == 1


def test_a_token_that_one_host_does_not_know_is_not_renewed_for_it():
    bench = bench_of(lambda request: http(498), renewable=True)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, TILES)
    assert bench.source.renewals == 0
    assert asked_at(bench)["sick.test"] <= PROBES


@pytest.mark.parametrize("sickness", ["gone", "busy", "locked"])
def test_tilemap_windows_of_a_sick_host_are_asked_of_another(sickness):
    from harvester.testing.memory import memory_info

    bench = bench_of(SICKNESSES[sickness], probe=True)
    bench.source.info = memory_info(tilemap=True)
    bench.service.absent = lambda tile: tile.col % 2 == 1  # type: ignore[attr-defined]
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert outturn.stop is None and counts.failed == counts.pending == 0
    asked = [request for request in bench.asked if request.tile.level == 5 and not request.window]
    assert len(asked) <= 512 + 2 * PROBES


@pytest.mark.parametrize("concurrency", [1, 2, 3, 32])
def test_never_more_requests_are_under_way_than_concurrency_says_over_all_hosts(concurrency):
    bench = bench_of(lambda request: None, limits=Limits(concurrency=concurrency))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, TILES)
    assert bench.transport.most_in_flight <= concurrency


@pytest.mark.parametrize("concurrency", [1, 2])
def test_with_few_connections_a_stalling_host_costs_time_and_no_tile(concurrency):
    bench = bench_of(SICKNESSES["stalling"], limits=Limits(concurrency=concurrency, timeout_seconds=5))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, TILES)
    assert asked_at(bench)["sick.test"] <= PROBES


def test_the_rate_is_summed_over_the_hosts():
    bench = bench_of(lambda request: None, limits=Limits(rate=40))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, TILES)
    starts = [at for at, _ in bench.transport.log]
    assert max(sum(at <= other < at + 1 for other in starts) for at in starts) <= 40


def test_each_host_is_asked_as_much_as_it_bears():
    """The one bears two requests at once, the other many."""
    flying = Counter[str]()

    def two_at_once(request: Request) -> Answer | None:
        here = sum(one.host.name == SICK.name for one, _ in bench.transport._flying.values())
        flying["most"] = max(flying["most"], here)
        return http(429) if here >= 2 else None

    bench = bench_of(two_at_once)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, TILES)
    assert asked_at(bench)["sick.test"] > 100
    assert outturn.tally.throttled < 60


def test_a_run_that_is_stopped_amid_a_pause_of_one_host_ends_in_order():
    bench = bench_of(SICKNESSES["busy for a minute"])

    async def stop(engine):
        await asyncio.sleep(0.2)
        engine.stop(StopReason.signal("SIGINT", 130))

    bench.meanwhile = stop
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert outturn.stop is not None and outturn.stop.exit_code == 130
    assert counts.stored == outturn.tally.fetched and counts.pending > 0


@pytest.mark.parametrize("sickness", ["gone", "busy", "broken"])
def test_a_budget_of_tiles_is_met_though_a_host_is_sick(sickness):
    bench = bench_of(SICKNESSES[sickness], limits=Limits(max_tiles=300))
    outturn = bench.go()
    assert outturn.stop is not None and outturn.stop.code == "budget"
    assert outturn.tally.fetched == 300


def test_a_host_that_was_wrong_is_not_believed_alone_while_the_others_are_out():
    began: list[float] = []

    def stalls_for_a_while(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        began.append(now)
        return never() if 1 < now - began[0] < 50 else None

    bench = bench_of(SICKNESSES["refusing"], elsewhere=stalls_for_a_while)
    bench.plan = plan_of((6,))
    bench.service.seconds = 0.05  # type: ignore[attr-defined]
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched, outturn.failures) == (None, 4096, ())


def test_a_host_that_was_never_wrong_is_believed_alone_while_the_others_are_out():
    bad = {Tile(5, row, col) for row in range(4, 8) for col in range(10)}
    count = Counter[str]()

    def gone_after_a_while(request: Request) -> Answer | None:
        count["well.test"] += 1
        return broken(Fault.CONNECT) if count["well.test"] > 50 else None

    bench = bench_of(lambda request: http(403) if request.tile in bad else None, elsewhere=gone_after_a_while)
    outturn = bench.go()
    assert outturn.stop is None
    assert {failure.tile for failure in outturn.failures} == bad


@pytest.mark.parametrize("status", [500, 403, 401])
def test_however_large_a_region_no_host_serves_few_of_its_tiles_wait(status):
    bad = {Tile(7, row, col) for row in range(64) for col in range(128)}
    most = 0

    def broken_tile(request: Request) -> Answer | None:
        nonlocal most
        most = max(most, len(bench.engine._flow.asking._waiting_tries))
        return http(status) if request.tile in bad else None

    bench = bench_of(broken_tile, elsewhere=broken_tile)
    bench.plan = plan_of((7,))
    outturn = bench.go()
    assert outturn.tally.counts().failed == len(bad) and outturn.tally.counts().pending == 0
    assert most < 1500, "of 8,192"


def test_a_host_that_stalls_leaves_connections_to_the_others():
    count = Counter[str]()

    def after_a_while(request: Request) -> Answer | None:
        count["sick.test"] += 1
        return never() if count["sick.test"] > 300 else None

    bench = bench_of(after_a_while, limits=Limits(concurrency=8, timeout_seconds=30))
    bench.plan = plan_of((6,))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, 4096)
    times = [at for at, request in bench.transport.log if request.host.name == WELL.name]
    assert max(later - at for at, later in itertools.pairwise(times)) < 25, "asked all the time"


@pytest.mark.parametrize("sickness", SICKNESSES)
def test_a_sick_host_is_hardly_asked_in_a_run_of_half_an_hour_either(sickness):
    bench = bench_of(SICKNESSES[sickness], limits=Limits(rate=1))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, TILES)
    assert bench.seconds > 1200
    assert asked_at(bench)["sick.test"] <= 2 * PROBES
    if sickness == "busy for an hour":
        assert asked_at(bench)["sick.test"] == 1, "it said so"


def test_a_host_that_was_wrong_now_and_then_fails_no_tile_while_the_other_is_paused():
    began: list[float] = []

    def paused_for_a_while(request: Request) -> Answer | None:
        now = asyncio.get_running_loop().time()
        began.append(now)
        return http(503, headers={"retry-after": "20"}) if 0.3 < now - began[0] < 20 else None

    bench = bench_of(
        lambda request: http(403) if request.tile.col % 2 else None, elsewhere=paused_for_a_while, renewable=False
    )
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched, outturn.failures) == (None, TILES, ())


@pytest.mark.parametrize("hosts", [(SICK, WELL), (SICK, WELL, THIRD)])
def test_hosts_that_are_well_are_asked_in_turn_each_for_its_own_rows(hosts):
    """So each needs as many connections all the time, and has the rows that others ask it for."""
    bench = bench_of(lambda request: None, hosts=hosts)
    bench.go()
    at_home = sum(request.host is hosts[request.tile.row % len(hosts)] for request in bench.asked)
    assert at_home > 0.8 * TILES
    late = [request.host.name for request in bench.asked][TILES // 2 :]
    assert sum(one != other for one, other in itertools.pairwise(late)) > 0.8 * len(late)


def test_a_busy_host_holds_up_no_other_for_a_trial():
    bench = bench_of(
        SICKNESSES["busy"], elsewhere=lambda request: http(200, MemoryService().body(request.tile), seconds=2)
    )
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, TILES)
    assert not [request for request in bench.asked if request.attempt == AGAIN]


def test_tokens_that_end_are_held_against_no_host():
    asked = Counter[int]()

    def scripted(request: Request) -> Answer | None:
        asked[request.credential] += 1
        seconds = 0.05 if request.host.name == SICK.name else 2.0
        if request.credential == 0 and asked[0] > 1500:
            return http(498, seconds=seconds)
        return http(200, MemoryService().body(request.tile), seconds=seconds)

    bench = bench_of(lambda request: None, renewable=True, limits=Limits(concurrency=64))
    bench.plan = plan_of((6,))
    bench.service = MemoryService(scripted=scripted)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched, outturn.notices) == (None, 4096, ())
    sites = bench.engine._sites.all
    assert not any(site.was_wrong for site in sites)


def test_a_portal_at_one_host_does_not_end_the_run_before_a_slow_one_has_answered():
    bench = bench_of(
        SICKNESSES["a portal"], elsewhere=lambda request: http(200, MemoryService().body(request.tile), seconds=5)
    )
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, TILES)


@pytest.mark.parametrize(
    ("sickness", "then", "ended"),
    [("gone", "busy", ("gave_up", 1)), ("busy for an hour", "gone", ("source_failing", 3))],
)
def test_a_run_that_is_given_up_ends_with_3_only_if_every_host_was_down(sickness, then, ended):
    count = Counter[str]()

    def after_a_while(request: Request) -> Answer | None:
        count["well.test"] += 1
        return SICKNESSES[then](request) if count["well.test"] > 300 else None

    outturn = bench_of(SICKNESSES[sickness], elsewhere=after_a_while).go()
    assert outturn.stop is not None and (outturn.stop.code, outturn.stop.exit_code) == ended


def test_a_host_that_is_always_busy_is_not_asked_again_and_again_for_a_region_that_is_busy_everywhere():
    bad = {Tile(5, row, col) for row in range(4, 28) for col in range(24)}
    bench = bench_of(
        SICKNESSES["busy"],
        elsewhere=lambda request: http(503) if request.tile in bad else None,
        limits=Limits(give_up_after_seconds=3600),
    )
    outturn = bench.go()
    assert outturn.stop is None and {failure.tile for failure in outturn.failures} == bad
    assert asked_at(bench)["sick.test"] <= 2 * PROBES


def test_whether_the_credential_holds_is_asked_of_another_host_where_one_is_gone():
    count = Counter[str]()

    def gone_at_last(request: Request) -> Answer | None:
        count["sick.test"] += 1
        return broken(Fault.CONNECT) if count["sick.test"] > 30 else None

    bench = bench_of(gone_at_last, renewable=True)
    bench.plan = plan_of((3,))
    bench.service.body = lambda tile: tile_png(*(tile if tile.row < 4 else (3, 4, 0)))  # type: ignore[attr-defined]
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched, bench.source.renewals) == (None, 64, 0)
    assert outturn.tally.questions > 0


def test_tiles_that_are_busy_for_their_own_sake_are_no_reason_to_try_a_host_that_is_busy_for_all():
    bad = {Tile(5, at // 32, at % 32) for at in range(7, 1024, 40)}
    bench = bench_of(SICKNESSES["busy"], elsewhere=lambda request: http(503) if request.tile in bad else None)
    outturn = bench.go()
    assert outturn.stop is None and {failure.tile for failure in outturn.failures} == bad
    assert sum(request.attempt == AGAIN and request.host.name == SICK.name for request in bench.asked) <= 2


@pytest.mark.parametrize("levels", [(0, 1, 2), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("renewable", [False, True])
def test_what_came_before_a_host_refused_is_looked_back_at_where_it_is_served(levels, renewable):
    """A host that never knows the token puts nothing in doubt that the others gave."""
    bench = bench_of(lambda request: http(498), hosts=(WELL, SICK, THIRD), limits=Limits(rate=20), renewable=renewable)
    bench.plan = plan_of(levels)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().pending, outturn.tally.counts().failed) == (None, 0, 0)
    assert outturn.tally.questions > 0, "it was looked back"
    assert not any("stand-ins" in text for text in outturn.notices)


def test_a_host_that_refuses_what_is_looked_back_at_is_not_the_only_one_to_be_asked():
    served: set[Tile] = set()
    count = Counter[str]()

    def scripted(request: Request) -> Answer | None:
        count[request.host.name] += 1
        if request.host.name == SICK.name and len(served) == 21:
            return http(498)
        if request.host.name == WELL.name and 3 <= count[WELL.name] <= 4:
            return http(503)
        served.add(request.tile)
        return None

    bench = bench_of(scripted, elsewhere=scripted, limits=Limits(concurrency=2))
    bench.plan = plan_of((0, 1, 2))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, 21)
    assert count[SICK.name] > 10 and outturn.tally.questions > 20
    assert not any("stand-ins" in text for text in outturn.notices)
