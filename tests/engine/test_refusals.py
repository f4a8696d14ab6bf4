"""A refusal (401, 498, 499) that speaks of its tile and one that speaks of the credential are told apart by tiles that
were served: nothing is given up for the one, nothing poisoned by the other. In virtual time."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harvester.edges import Answer, Fault, Request
from harvester.engine import Outturn
from harvester.engine.witness import SHARES
from harvester.job import Limits
from harvester.testing.images import tile_png
from harvester.testing.memory import MemoryService, MemorySource, broken, http, memory_info
from harvester.tiling.tile import Tile
from tests.engine.lab import Bench, plan_of

SOURCES = {"open to all": {}, "with a login": {"renewable": True}}


def source_of(kind: str, **more: object) -> MemorySource:
    return MemorySource(**SOURCES[kind], **more)  # type: ignore[arg-type]


def refusing(bad: set[Tile], status: int) -> MemoryService:
    return MemoryService(scripted=lambda request: http(status) if request.tile in bad and not request.window else None)


def refused(outturn: Outturn) -> bool:
    """All was asked, and the run ends with exit 3."""
    stop = outturn.stop
    return stop is not None and (stop.code, stop.exit_code) == ("auth", 3) and outturn.tally.counts().pending == 0


@pytest.mark.parametrize("status", [401, 498, 499])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("bad", [Tile(0, 0, 0), Tile(3, 4, 4), Tile(3, 7, 7)], ids=["first", "middle", "last"])
def test_one_tile_that_is_always_refused_is_failed_and_all_others_are_stored(bad, source, status):
    bench = Bench(service=refusing({bad}, status), source=source_of(source))
    outturn = bench.go()
    assert refused(outturn) and str(bad) in outturn.stop.message
    assert outturn.tally.counts() == (85, 84, 0, 0, 1, 0)
    assert [(failure.tile, failure.reason) for failure in outturn.failures] == [(bad, f"http_{status}")]
    assert bench.source.renewals == 0
    assert len(bench.asked) <= 85 + 1 + 8 + 24, "and a few that were stored before it, to see whether they are sound"
    assert outturn.tally.tile_requests == len(bench.asked) == 85 + outturn.tally.retries + outturn.tally.questions


@pytest.mark.parametrize("source", SOURCES)
def test_such_a_tile_alone_is_failed_again_by_every_run(source):
    bad = Tile(3, 4, 4)
    first = Bench(service=refusing({bad}, 499), source=source_of(source))
    first.go()
    for _ in range(2):
        again = Bench(service=first.service, source=source_of(source), cache=first.cache, ledger=first.ledger)
        outturn = again.go()
        assert (refused(outturn), outturn.tally.counts()) == (True, (85, 84, 0, 0, 1, 0))
        assert again.source.renewals == 0
        assert len(again.asked) <= 2 + 8


@pytest.mark.parametrize("where", [*range(8), "where others are looked for"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("level", [3, 4])
def test_tiles_that_are_refused_here_and_there_are_asked_again_by_every_run_and_failed_again(source, where, level):
    """In the second run nothing else is left to ask: those that failed before are no witnesses."""
    plan, draw = plan_of((level,)), random.Random(str(where))
    places = draw.sample(range(plan.total), 4)
    if where == "where others are looked for":
        places = [int(share * plan.total) for share in SHARES[:10]]
    bad = {plan.tile_at(place): draw.choice([401, 498, 499]) for place in places}
    service = MemoryService(scripted=lambda request: http(bad[request.tile]) if request.tile in bad else None)
    first = Bench(service=service, source=source_of(source), plan=plan_of((level,)))
    before = first.go()
    assert (refused(before), before.tally.counts().failed) == (True, len(bad))
    for _ in range(2):
        again = Bench(
            service=service, source=source_of(source), plan=first.plan, cache=first.cache, ledger=first.ledger
        )
        outturn = again.go()
        assert (refused(outturn), outturn.tally.counts()) == (True, before.tally.counts())
        assert {failure.tile: failure.reason for failure in outturn.failures} == {
            tile: f"http_{status}" for tile, status in bad.items()
        }
        assert {request.tile for request in again.asked} >= set(bad)
        assert again.source.renewals == 0


@pytest.mark.parametrize("source", SOURCES)
def test_a_whole_region_that_is_refused_is_failed_with_few_questions(source):
    bad = {Tile(5, row, col) for row in range(10, 20) for col in range(20)}
    bench = Bench(service=refusing(bad, 499), source=source_of(source), plan=plan_of((5,)))
    outturn = bench.go()
    assert (refused(outturn), outturn.tally.counts()) == (True, (1024, 824, 0, 0, 200, 0))
    assert bench.source.renewals == 0
    assert len(bench.asked) <= 1024 + 200 + 4 * 200 // 4
    assert bench.seconds < 60


def test_a_window_that_is_refused_though_tiles_are_served_means_that_the_tiles_are_asked():
    info = memory_info(tilemap=True)
    service = MemoryService(scripted=lambda request: http(499) if request.window else None)
    bench = Bench(service=service, source=MemorySource(info, renewable=True), plan=plan_of((3, 4), info), probe=True)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().stored, bench.source.renewals) == (None, 320, 0)


@pytest.mark.parametrize("limits", [{"max_tiles": 40}, {"concurrency": 1}, {"rate": 20.0}, {"retries": 0}])
def test_a_refused_tile_is_told_whatever_the_limits_are(limits):
    bench = Bench(service=refusing({Tile(0, 0, 0)}, 498), source=MemorySource(renewable=True), limits=Limits(**limits))
    outturn = bench.go()
    counts = outturn.tally.counts()
    if "max_tiles" in limits:
        assert outturn.stop is not None and outturn.stop.code == "budget"
        assert (counts.stored, counts.failed) == (40, 1)
    else:
        assert (refused(outturn), counts) == (True, (85, 84, 0, 0, 1, 0))


class Lying(MemoryService):
    """From the ``ends``th request on the first token is refused once, and then answered with stand-ins, several kinds
    in turn; a new token opens everything."""

    def __init__(self, ends: int, kinds: int) -> None:
        super().__init__()
        self.ends = ends
        self.lies = [tile_png(0, 0, 0, variant=200 + kind) for kind in range(kinds)]
        self.asked = self.told = 0

    def __call__(self, request: Request) -> Answer:
        self.asked += 1
        if request.credential or self.asked < self.ends:
            return super().__call__(request)
        if self.asked == self.ends:
            return http(498)
        self.told += 1
        return http(200, self.lies[self.told % len(self.lies)])


@pytest.mark.parametrize("ends", [1, 2, 5, 20, 60, 84])
@pytest.mark.parametrize("kinds", [1, 2, 3])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_stand_ins_that_come_in_answer_to_the_question_do_not_prove_that_the_credential_holds(ends, kinds, concurrency):
    service = Lying(ends, kinds)
    bench = Bench(service=service, source=MemorySource(renewable=True), limits=Limits(concurrency=concurrency))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().stored) == (None, 85)
    assert bench.source.renewals == 1
    assert bench.cache.bodies == {tile: tile_png(*tile) for tile in bench.plan.tiles()}


@pytest.mark.parametrize("kinds", [1, 2, 3])
def test_neither_do_they_when_an_earlier_run_stored_everything_else(kinds):
    first = Bench(service=refusing({Tile(3, 4, 4)}, 500), limits=Limits(retries=0))
    first.go()
    service = Lying(1, kinds)
    again = Bench(service=service, source=MemorySource(renewable=True), cache=first.cache, ledger=first.ledger)
    assert again.go().tally.counts().stored == 85
    assert again.source.renewals == 1
    assert again.cache.bodies[Tile(3, 4, 4)] == tile_png(3, 4, 4)


@pytest.mark.parametrize("ends", [1, 30])
def test_a_token_that_has_really_ended_costs_one_renewal_and_a_few_questions(ends):
    def scripted(request: Request) -> Answer | None:
        return http(498) if not request.credential and len(bench.transport.log) >= ends else None

    bench = Bench(service=MemoryService(scripted=scripted), source=MemorySource(renewable=True))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().stored, bench.source.renewals) == (None, 85, 1)
    assert outturn.tally.questions <= (1 + 20 if ends > 1 else 3)
    assert outturn.tally.tile_requests == len(bench.asked)


def test_a_bad_tile_amid_tokens_that_end_is_failed_and_every_renewal_is_for_an_ended_token():
    used: Counter[int] = Counter()
    bad = Tile(4, 3, 3)

    def scripted(request: Request) -> Answer | None:
        used[request.credential] += 1
        return http(498) if used[request.credential] > 100 or request.tile == bad else None

    bench = Bench(service=MemoryService(scripted=scripted), source=MemorySource(renewable=True), plan=plan_of((4,)))
    outturn = bench.go()
    assert (refused(outturn), outturn.tally.counts()) == (True, (256, 255, 0, 0, 1, 0))
    assert 2 <= bench.source.renewals <= 5


def test_what_was_failed_for_a_refusal_is_asked_again_when_the_token_turns_out_to_have_ended():
    """The token ends right after the question about a bad tile; what it was refused since is in doubt as well."""
    questions: list[Request] = []

    def scripted(request: Request) -> Answer | None:
        if request.credential:
            return None
        if len(questions) == 4:
            return http(498)
        if request.attempt < 0:
            questions.append(request)
        return http(499) if request.tile == Tile(3, 3, 3) else None

    bench = Bench(
        service=MemoryService(scripted=scripted), source=MemorySource(renewable=True), limits=Limits(concurrency=4)
    )
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().stored) == (None, 85)
    assert bench.source.renewals == 1


@pytest.mark.parametrize("renewable", [False, True])
def test_a_tile_that_is_refused_while_the_token_holds_is_not_said_to_be_refused_with_a_new_one(renewable):
    bench = Bench(service=refusing({Tile(3, 2, 5)}, 498), source=MemorySource(renewable=renewable))
    outturn = bench.go()
    assert refused(outturn) and bench.source.renewals == 0
    assert outturn.stop is not None and "3/2/5 again (http_498) on a second try" in outturn.stop.message


@settings(max_examples=40, deadline=None)
@example(9187, 33, 12, 4, True)
@example(22840, 35, 7, 8, True)
@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(0, 30), st.integers(1, 12), st.booleans())
def test_whatever_tiles_and_hosts_refuse_each_tile_has_one_end_and_every_byte_is_right(
    seed, percent, bad_percent, concurrency, renewable
):
    """Passing trouble for any tile, lasting trouble for some, connections that close, tokens that end."""
    draw = random.Random(seed)
    stale = broken(Fault.RESET)._replace(stale=True)
    lasting = [http(500), http(503), http(429), http(499), http(401), http(403), http(200, b"<html>")]
    passing = [*lasting, stale, broken(Fault.TRUNCATED), http(404)]
    bad: dict[Tile, Answer] = {}
    ends = draw.choice([10**9, 60, 200])
    used: Counter[int] = Counter()

    def scripted(request: Request) -> Answer | None:
        used[request.credential] += 1
        if used[request.credential] > ends and renewable:
            return http(498)
        if request.tile not in bad:
            bad[request.tile] = draw.choice(lasting) if draw.random() * 100 < bad_percent else http(200)
        if bad[request.tile].status != 200 or bad[request.tile].body:
            return bad[request.tile]
        answer = draw.choice(passing) if draw.random() * 100 < percent else None
        return None if answer is stale and request.fresh else answer

    bench = Bench(
        service=MemoryService(scripted=scripted),
        source=MemorySource(renewable=renewable),
        limits=Limits(retries=2, concurrency=concurrency, give_up_after_seconds=120, max_duration_seconds=3000),
    )
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert counts.planned == sum(counts[1:]) == 85 and min(counts) >= 0
    assert outturn.stop is not None or counts.pending == 0
    assert counts.failed == len(outturn.failures)
    assert counts.stored == len(bench.cache.bodies)
    assert all(body == tile_png(*tile) for tile, body in bench.cache.bodies.items())
    assert outturn.tally.tile_requests == len(bench.asked)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("rows", [range(10), range(14, 20)])
def test_a_refused_region_that_is_all_that_was_asked_so_far_is_told_from_an_ended_credential(source, rows):
    """Nothing was served yet, or by an earlier run: what is asked elsewhere may lie in the region, too."""
    bad = {Tile(5, row, col) for row in rows for col in range(32)}
    first = Bench(
        service=refusing(bad, 498), source=source_of(source), plan=plan_of((5,)), limits=Limits(max_tiles=300)
    )
    first.go()
    for _ in range(2):
        again = Bench(
            service=first.service, source=source_of(source), plan=plan_of((5,)), cache=first.cache, ledger=first.ledger
        )
        outturn = again.go()
        assert (refused(outturn), outturn.tally.counts().failed) == (True, len(bad))
        assert outturn.tally.counts().stored == 1024 - len(bad)


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("status", [401, 498, 499])
def test_a_refusal_while_the_token_is_renewed_says_nothing_of_its_tile(status, concurrency):
    """Others are asked about it by then with the new token, which says nothing of the old one."""
    tile, refused_with = Tile(3, 4, 4), set[int]()

    def scripted(request: Request) -> Answer | None:
        if request.tile != tile or request.credential > 1:
            return None
        refused_with.add(request.credential)
        return http(status)

    source = source_of("with a login", renews_in=lambda: 0.0 if source.credential in refused_with else None)
    service = MemoryService(scripted=scripted, seconds=0.3)
    bench = Bench(service=service, source=source, limits=Limits(concurrency=concurrency))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts()) == (None, (85, 85, 0, 0, 0, 0))
    assert source.renewals == 2


def test_a_tile_that_is_always_refused_is_failed_though_each_time_a_new_token_comes_meanwhile():
    bad, refused_with = Tile(3, 4, 4), set[int]()

    def scripted(request: Request) -> Answer | None:
        if request.tile != bad:
            return None
        refused_with.add(request.credential)
        return http(499)

    source = source_of("with a login", renews_in=lambda: 0.0 if source.credential in refused_with else None)
    bench = Bench(service=MemoryService(scripted=scripted, seconds=0.3), source=source)
    outturn = bench.go()
    assert refused(outturn) and outturn.tally.counts() == (85, 84, 0, 0, 1, 0)
