"""A host that asks for more time than a run has is left alone at once, whatever it was asked for; and a run that stops
while nothing is under way ends there and then."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from harvester.edges import Answer, Request
from harvester.engine.stop import StopReason
from harvester.engine.unproven import KEPT
from harvester.job import Limits
from harvester.testing.images import tile_png
from harvester.testing.memory import HOST, MemoryService, MemorySource, http, memory_info
from tests.engine.lab import Bench, plan_of

LEVELS = (0, 1, 2, 3, 4)
TILES = 341
GOOD = 200
BLANK = tile_png(0, 0, 0, variant=255)


class Leaving(MemoryService):
    """From the ``since``th request on it answers 503 and asks to come back in so many seconds."""

    def __init__(self, since: int, rest: int) -> None:
        super().__init__()
        self.since, self.rest = since, rest
        self.asked = 0

    def __call__(self, request: Request) -> Answer:
        self.asked += 1
        if self.asked > self.since:
            return http(503, seconds=0.01, headers={"retry-after": str(self.rest)})
        return super().__call__(request)


def interrupted() -> Bench:
    """A run that a long pause ended, with something to be looked back at."""
    first = Bench(service=Leaving(GOOD, 1200), plan=plan_of(LEVELS), limits=Limits(concurrency=8))
    outturn = first.go()
    assert outturn.stop is not None and (outturn.stop.code, outturn.stop.exit_code) == ("retry_after", 1)
    assert kept(first)
    return first


def resumed(first: Bench, service: MemoryService, **limits: float) -> Bench:
    return Bench(service=service, cache=first.cache, ledger=first.ledger, plan=first.plan, limits=Limits(**limits))


def kept(bench: Bench) -> list[object]:
    """What the next run is to look back at."""
    rows: list[object] = asyncio.run(bench.ledger.get_meta(KEPT))["tiles"]
    return rows


@pytest.mark.parametrize(
    ("rest", "limits", "minutes"), [(1200, {}, "20 minutes"), (300, {"max_duration_seconds": 20.0}, "5 minutes")]
)
def test_a_run_that_looks_back_too_early_ends_at_once_and_says_when_to_come_back(rest, limits, minutes):
    first = interrupted()
    before = kept(first)
    early = resumed(first, Leaving(0, rest), concurrency=8, **limits)
    outturn = early.go()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == ("retry_after", 1), "tiles had ended in the run before"
    assert minutes in outturn.stop.message
    assert early.seconds < 5
    assert len({when for when, _ in early.transport.log}) == 1, "nothing after the first answer"
    assert kept(early) == before
    assert any("next run" in text for text in outturn.notices)

    third = resumed(first, MemoryService())
    assert (third.go().stop, len(third.cache.bodies)) == (None, TILES)
    assert kept(third) == []


def test_a_tile_that_is_asked_too_early_by_a_later_run_ends_it_with_1_as_tiles_had_ended_before():
    first = interrupted()
    looked_back = Leaving(0, 1200)

    def scripted(request: Request) -> Answer | None:
        return None if request.tile in first.cache.bodies else looked_back(request)

    outturn = resumed(first, MemoryService(scripted=scripted), concurrency=1).go()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == ("retry_after", 1)
    assert looked_back.asked == 1


class Blanking(Leaving):
    """Gives one picture for all tiles but the first twenty, before it asks to come back."""

    def __call__(self, request: Request) -> Answer:
        answer = super().__call__(request)
        return http(200, BLANK, seconds=0.01) if answer.status == 200 and self.asked > 20 else answer


def test_a_long_pause_in_answer_to_the_question_for_the_credential_ends_the_run():
    """The last tiles came all alike, so at the end one is asked that did not."""
    service = Blanking(TILES, 1200)
    bench = Bench(service=service, source=MemorySource(renewable=True), plan=plan_of(LEVELS))
    outturn = bench.go()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == ("retry_after", 1)
    assert service.asked == TILES + 1
    assert bench.seconds < 60


# ------------------------------------------------------------------------------------------ tilemap windows


def windowed(scripted, levels=LEVELS, *, others=(), **limits: float) -> Bench:
    """A run that asks for tilemap windows; ``scripted`` answers them."""
    info = memory_info(tilemap=True)
    return Bench(
        service=MemoryService(scripted=lambda request: scripted(request) if request.window else None),
        source=MemorySource(info, hosts=(HOST, *others)),
        plan=plan_of(levels, info),
        probe=True,
        limits=Limits(**limits),
    )


def leaving(rest: int):
    return lambda request: http(503, seconds=0.5, headers={"retry-after": str(rest)})


@pytest.mark.parametrize(("levels", "exit_code", "tiles"), [((4, 5), 3, 0), (LEVELS, 1, 5)])
def test_a_long_pause_in_answer_to_a_tilemap_window_ends_the_run_as_one_in_answer_to_a_tile_does(
    levels, exit_code, tiles
):
    """The tiles of the levels 0 and 1 are too few for a window, and end before it is answered."""
    bench = windowed(leaving(3600), levels)
    outturn = bench.go()
    assert outturn.stop is not None
    assert (outturn.stop.code, outturn.stop.exit_code) == ("retry_after", exit_code)
    assert "60 minutes" in outturn.stop.message
    assert bench.seconds < 2
    assert (outturn.tally.fetched, outturn.tally.throttled > 0) == (tiles, True)


def test_a_pause_for_a_tilemap_window_beyond_what_is_left_of_the_time_ends_the_run():
    bench = windowed(leaving(60), (4, 5), max_duration_seconds=30.0)
    outturn = bench.go()
    assert outturn.stop is not None and outturn.stop.code == "retry_after"
    assert bench.seconds < 2


def test_a_pause_for_a_tilemap_window_that_can_be_waited_for_is():
    asked: list[Request] = []

    def scripted(request: Request) -> Answer | None:
        asked.append(request)
        return http(503, headers={"retry-after": "500"}) if len(asked) == 1 else None

    bench = windowed(scripted, (5,))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched, len(asked)) == (None, 1024, 2)
    assert bench.seconds > 500


def test_a_tile_server_that_asks_for_a_long_pause_at_a_tilemap_window_is_left_alone_and_the_others_go_on():
    other = replace(HOST, name="other.test")
    bench = windowed(
        lambda request: leaving(3600)(request) if request.host.name == HOST.name else None, (4, 5), others=(other,)
    )
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched) == (None, 256 + 1024)
    assert bench.seconds < 60
    assert sum(request.host.name == HOST.name for request in bench.asked) <= 4


# ------------------------------------------------------------------------------------------ stops in a pause


def sigint_after(seconds: float):
    async def press(engine) -> None:
        await asyncio.sleep(seconds)
        engine.stop(StopReason.signal("SIGINT", 130))

    return press


@pytest.mark.parametrize(
    ("limits", "press", "code", "ends"),
    [
        ({}, 6.0, "stopped", 6.0),
        ({"give_up_after_seconds": 20.0}, None, "source_failing", 20.0),
    ],
)
@pytest.mark.parametrize("looking_back", [False, True])
def test_a_run_that_stops_in_a_pause_with_nothing_under_way_ends_at_once(looking_back, limits, press, code, ends):
    """Whether a tile is waited for or something to be looked back at."""
    service = Leaving(0, 300)
    bench = (
        resumed(interrupted(), service, **limits) if looking_back else Bench(service=service, limits=Limits(**limits))
    )
    if press is not None:
        bench.meanwhile = sigint_after(press)
    outturn = bench.go()
    assert outturn.stop is not None and outturn.stop.code == code
    assert ends <= bench.seconds < ends + 2
    assert not looking_back or kept(bench)


def test_a_pause_beyond_what_is_left_of_the_time_ends_a_run_that_looks_back_once_it_is_asked_for():
    """The first pause is within the time, the second is not."""
    bench = resumed(interrupted(), Leaving(0, 25), max_duration_seconds=40.0)
    outturn = bench.go()
    assert outturn.stop is not None and (outturn.stop.code, outturn.stop.exit_code) == ("retry_after", 1)
    assert "25 seconds" in outturn.stop.message
    assert 25 <= bench.seconds < 27
    assert kept(bench)


def test_a_max_duration_that_ends_between_two_questions_ends_the_run_on_time():
    """The host says that it is busy, and not for how long: nothing is under way when the time is up."""
    service = MemoryService(scripted=lambda request: http(503))
    bench = resumed(interrupted(), service, max_duration_seconds=8.0, concurrency=2)
    outturn = bench.go()
    assert outturn.stop is not None and outturn.stop.code == "budget"
    assert 8 <= bench.seconds < 9
    assert kept(bench)


def test_a_stop_in_a_pause_does_not_wait_to_ask_whether_the_credential_holds():
    """What is in doubt is then pending."""
    bench = Bench(service=Blanking(GOOD, 300), source=MemorySource(renewable=True), plan=plan_of(LEVELS))
    bench.meanwhile = sigint_after(6.0)
    outturn = bench.go()
    assert outturn.stop is not None and outturn.stop.code == "stopped"
    assert 6 <= bench.seconds < 8
    assert BLANK not in bench.cache.bodies.values()


def test_answers_that_are_under_way_after_a_pause_of_minutes_are_waited_for():
    """For that time nothing was asked, so nothing stalls: each would be broken off, and cost its tile a try."""
    asked = 0

    def rests_once(request: Request) -> Answer | None:
        nonlocal asked
        asked += 1
        return http(503, headers={"retry-after": "200"}) if asked == 9 else None

    service = MemoryService(scripted=rests_once, seconds=2.0)
    bench = Bench(service=service, plan=plan_of((3,)), limits=Limits(concurrency=4, retries=0))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().stored, bench.transport.rebuilds) == (None, 64, 0)


def test_requests_that_are_minutes_apart_are_waited_for():
    limits = Limits(concurrency=4, retries=0, rate=0.01, give_up_after_seconds=3600)
    bench = Bench(service=MemoryService(seconds=2.0), plan=plan_of((1,)), limits=limits)
    assert (bench.go().tally.counts().stored, bench.transport.rebuilds) == (4, 0)
