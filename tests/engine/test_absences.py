"""What one of several hosts says is not there: believed as far as the others bear it out, and taken back where not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from xxhash import xxh3_128_hexdigest

from harvester.edges import Answer, Fault, Request, State
from harvester.engine import words
from harvester.engine.absences import FIRST_ASKED, ONE_IN, Belief
from harvester.engine.doubt import Doubt
from harvester.engine.sites import Site
from harvester.engine.tally import Tally
from harvester.engine.words import Words
from harvester.engine.writer import Writer
from harvester.job import Limits
from harvester.pacing import Pacer
from harvester.testing.images import tile_png
from harvester.testing.memory import HOST, MemoryCache, MemoryLedger, MemoryService, MemorySource, broken, http
from harvester.tiling.tile import BlockKey, Tile
from tests.engine.lab import Bench, plan_of

ONE, TWO, THREE = (replace(HOST, name=name) for name in ("one.test", "two.test", "three.test"))
ALL = (ONE, TWO, THREE)
LEVELS = (0, 1, 2, 3, 4, 5)
TILES = 1365
FEW = 60
"""More than a host that knows no tile is asked before it is left alone."""

NOTHING = tile_png(9, 9, 9)
GONE = {
    "404": http(404),
    "204": http(204),
    "a declared placeholder": http(200, NOTHING),
}


def bench_of(scripted: Callable[[Request], Answer | None], **settings: object) -> Bench:
    hosts = settings.pop("hosts", ALL)
    renewable = bool(settings.pop("renewable", False))
    settings.setdefault("plan", plan_of(LEVELS))
    return Bench(
        service=MemoryService(scripted=scripted),
        source=MemorySource(hosts=hosts, renewable=renewable),  # type: ignore[arg-type]
        placeholders=(xxh3_128_hexdigest(NOTHING),),
        **settings,  # type: ignore[arg-type]
    )


def at(host: str, answer: Answer) -> Callable[[Request], Answer | None]:
    return lambda request: answer if request.host.name == host else None


def asked_at(bench: Bench) -> Counter[str]:
    return Counter(request.host.name for request in bench.asked)


def whole(bench: Bench) -> bool:
    return bench.cache.bodies == {tile: tile_png(*tile) for tile in bench.plan.tiles()}


@pytest.mark.parametrize("how", GONE)
@pytest.mark.parametrize("hosts", [(ONE, TWO), ALL, (THREE, ONE, TWO)])
def test_a_host_that_knows_no_tile_makes_none_absent_and_is_named(how, hosts):
    bench = bench_of(at("one.test", GONE[how]), hosts=hosts)
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert (outturn.stop, counts.stored, counts.absent, outturn.tally.answered_404) == (None, TILES, 0, 0)
    assert whole(bench)
    assert [text.split()[2] for text in outturn.notices] == ["http://one.test"]
    assert "not there" in outturn.notices[0]
    if how != "a declared placeholder":  # which is a picture, and so a sign of life
        assert asked_at(bench)["one.test"] <= FEW


def test_two_hosts_of_three_that_know_no_tile_bear_each_other_out_in_vain():
    bench = bench_of(lambda request: http(404) if request.host.name != "three.test" else None)
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().absent, whole(bench)) == (None, 0, True)
    assert {text.split()[2] for text in outturn.notices} == {"http://one.test", "http://two.test"}


def test_what_a_host_lost_amid_the_run_is_asked_of_the_others_though_it_was_believed_before():
    """The first eight are long past: one in 64 shows it, and all since then is taken back."""
    count = Counter[str]()

    def lost(request: Request) -> Answer | None:
        count[request.host.name] += 1
        if request.tile.col % 3 == 0:
            return http(404)  # at each host: nothing is there
        return http(404) if request.host.name == "one.test" and count["one.test"] > 1500 else None

    bench = bench_of(lost, plan=plan_of((7,)))
    outturn = bench.go()
    counts = outturn.tally.counts()
    there = sum(tile.col % 3 != 0 for tile in bench.plan.tiles())
    assert (outturn.stop, counts.stored, counts.absent) == (None, there, 16384 - there)
    assert counts.stored == len(bench.cache.bodies) == outturn.tally.fetched
    assert outturn.tally.absences == {(7, "http_404"): counts.absent} and outturn.tally.answered_404 == counts.absent


@pytest.mark.parametrize("share", [2, 5])
def test_where_really_nothing_is_there_hardly_two_requests_in_a_hundred_are_added(share):
    bench = bench_of(lambda request: None, plan=plan_of((7,)))
    bench.service.absent = lambda tile: (7 * tile.row + 3 * tile.col) % share != 0  # type: ignore[attr-defined]
    outturn = bench.go()
    absent = outturn.tally.counts().absent
    assert outturn.stop is None and absent + outturn.tally.fetched == 16384
    assert 16384 + absent / ONE_IN / 2 < len(bench.asked) < 16384 + 0.02 * absent + 6 * FIRST_ASKED
    assert outturn.notices == ()


def test_with_one_host_nothing_is_asked_twice():
    bench = bench_of(lambda request: http(404) if request.tile.col % 2 else None, hosts=(ONE,))
    outturn = bench.go()
    assert (outturn.stop, len(bench.asked)) == (None, TILES)


@pytest.mark.parametrize("other", [http(500), http(403), http(401), broken(Fault.TRUNCATED)])
def test_where_the_others_do_not_tell_the_word_of_a_host_that_was_never_wrong_stands(other):
    """As it does where there is one host."""
    gone = {Tile(5, row, col) for row in range(4, 7) for col in range(10)}

    def scripted(request: Request) -> Answer | None:
        if request.tile not in gone:
            return None
        return http(404) if request.host.name == "one.test" else other

    bench = bench_of(scripted, hosts=(ONE, TWO))
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert (outturn.stop, counts.absent, counts.failed, counts.stored) == (None, len(gone), 0, TILES - len(gone))


@pytest.mark.parametrize("other", [http(500), http(403)])
def test_where_the_others_do_not_tell_the_word_of_a_host_that_was_wrong_is_no_end(other):
    """It knows no tile; the other one refuses some: those are failed, as where there is no first one."""
    bad = {Tile(5, row, col) for row in range(4, 7) for col in range(10)}

    def scripted(request: Request) -> Answer | None:
        if request.host.name == "one.test":
            return http(404)
        return other if request.tile in bad else None

    bench = bench_of(scripted, hosts=(ONE, TWO))
    outturn = bench.go()
    assert outturn.stop is None
    assert {failure.tile for failure in outturn.failures} == bad
    assert outturn.tally.counts().absent == 0


def test_a_host_that_lost_a_region_is_still_asked_for_the_others():
    def lost(request: Request) -> Answer | None:
        return http(404) if request.host.name == "one.test" and request.tile.row >= 60 else None

    bench = bench_of(lost, plan=plan_of((6,)), hosts=(ONE, TWO))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched, whole(bench)) == (None, 4096, True)
    assert asked_at(bench)["one.test"] > 1500


def test_while_the_others_are_gone_a_host_that_was_wrong_ends_no_tile_and_one_that_was_not_does():
    count = Counter[str]()

    def scripted(request: Request) -> Answer | None:
        count[request.host.name] += 1
        if request.host.name == "two.test":
            return broken(Fault.CONNECT) if count["two.test"] > wrong_until else None
        return http(404) if count["two.test"] < wrong_until or request.tile.col % 2 else None

    wrong_until = 60
    bench = bench_of(scripted, hosts=(ONE, TWO), limits=Limits(give_up_after_seconds=120))
    outturn = bench.go()
    assert outturn.stop is not None and outturn.tally.counts().absent == 0
    assert count["one.test"] < 10 * TILES, "ever more seldom"
    wrong_until = 0
    count.clear()
    bench = bench_of(scripted, hosts=(ONE, TWO))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().failed) == (None, 0)
    assert outturn.tally.counts().absent == sum(tile.col % 2 for tile in bench.plan.tiles())


def test_what_was_taken_back_is_not_taken_back_again_for_a_token_that_ends():
    """Both put the same absences in doubt: a tile is pending once, and asked once more."""
    asked = Counter[int]()

    def scripted(request: Request) -> Answer | None:
        asked[request.credential] += 1
        if request.credential == 0 and asked[0] > 120:
            return http(498)
        return http(404) if request.host.name == "one.test" and asked[0] > 60 else None

    bench = bench_of(scripted, renewable=True, hosts=(ONE, TWO), limits=Limits(concurrency=4))
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert (outturn.stop, counts.stored, counts.pending, bench.source.renewals) == (None, TILES, 0, 1)
    assert whole(bench) and outturn.tally.fetched == TILES


def test_a_tile_that_one_host_lost_and_the_other_refuses_is_failed_for_the_refusal():
    """The first is in doubt, since the other serves its neighbours; it goes on to be asked for all else."""
    lost = {Tile(6, row, col) for row in range(40, 64) for col in range(64)}
    bad = {tile for tile in lost if tile.row % 4 == 0 and tile.col % 4 == 0}

    def scripted(request: Request) -> Answer | None:
        if request.host.name == "one.test":
            return http(404) if request.tile in lost else None
        return http(403) if request.tile in bad else None

    bench = bench_of(scripted, plan=plan_of((6,)), hosts=(ONE, TWO))
    outturn = bench.go()
    counts = outturn.tally.counts()
    assert (outturn.stop, counts.absent, {failure.tile for failure in outturn.failures}) == (None, 0, bad)
    asked = Counter(request.tile for request in bench.asked if request.attempt >= 0)
    assert max(asked[tile] for tile in bad) <= 4


def test_a_host_that_knows_no_tile_is_hardly_asked_in_a_long_run_either():
    bench = bench_of(at("one.test", http(404)), hosts=(ONE, TWO), limits=Limits(rate=1))
    outturn = bench.go()
    assert (outturn.stop, whole(bench)) == (None, True)
    assert bench.seconds > 1200
    assert asked_at(bench)["one.test"] <= 2 * FEW


def test_a_host_that_is_right_about_most_absences_is_not_left_alone():
    def scripted(request: Request) -> Answer | None:
        is_there = (5 * request.tile.row + 3 * request.tile.col) % 8 == 0
        return None if is_there and request.host.name == "two.test" else http(404)

    bench = bench_of(scripted, plan=plan_of((6,)), hosts=(ONE, TWO))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.fetched, outturn.tally.counts().absent) == (None, 512, 4096 - 512)
    assert asked_at(bench)["one.test"] > 400


def test_a_host_that_was_believed_while_the_others_were_out_is_asked_about_once_they_are_back():
    def scripted(request: Request) -> Answer | None:
        began.append(asyncio.get_running_loop().time())
        if request.host.name == "one.test":
            return http(404)
        return http(503, headers={"retry-after": "20"}) if began[-1] - began[0] < 20 else None

    began: list[float] = []
    bench = bench_of(scripted, plan=plan_of((0, 1, 2, 3)), hosts=(ONE, TWO), limits=Limits(rate=3))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().absent, whole(bench)) == (None, 0, True)


@pytest.mark.parametrize("concurrency", [1, 2, 4, 32])
def test_what_a_host_bore_out_that_then_was_wrong_is_asked_of_others(concurrency):
    """The one knows no tile, and the other said so, too, until it is found wrong itself, late."""

    def scripted(request: Request) -> Answer | None:
        row = request.tile.row
        if request.host.name == "one.test":
            return http(404)
        return http(404) if request.host.name == "two.test" and (row % 3 == 0 or row >= 31) else None

    bench = bench_of(scripted, plan=plan_of((5,)), limits=Limits(concurrency=concurrency))
    outturn = bench.go()
    assert (outturn.stop, outturn.tally.counts().absent, whole(bench)) == (None, 0, True)


def test_where_one_host_refuses_and_the_other_was_wrong_about_absences_no_word_is_left_to_believe():
    bench = bench_of(at("one.test", http(404)), hosts=(ONE, TWO), plan=plan_of((0, 1, 2)))
    bench.go()
    one, two = bench.engine._sites.all
    assert (one.is_in_doubt, two.is_in_doubt) == (True, False)
    equals = bench.engine._flow._equals
    assert equals is not None
    tile = Tile(9, 3, 4)
    asked = [Request(host, "/", tile, attempt=1) for host in (ONE, TWO)]
    assert not equals.opinions.asks_another(99.0, asked[1], [one]), "it has said its word"
    equals.opinions.refused[tile] = [two]
    assert equals.absences.said(99.0, asked[0], "http_404") is Belief.FAILED


def doubt_of(tile: Tile) -> tuple[Doubt, Words, Site]:
    """One absent tile on the word of one host, remembered for what it says of the credential as well."""
    writer = Writer(
        MemoryCache(), MemoryLedger(), clock=lambda: 0.0, on_recorded=lambda batch: None, on_room=lambda: None
    )
    doubt, kept, site = Doubt(writer, Tally()), Words(), site_of("one")
    doubt.words = kept
    kept.add(site, tile, "http_404")
    doubt.remember(1.0, Request(ONE, "/", tile), http(404), State.ABSENT, "http_404")
    return doubt, kept, site


def test_what_a_token_took_back_rests_on_no_hosts_word():
    doubt, kept, site = doubt_of(Tile(3, 1, 1))
    assert [ended.tile for ended in doubt.take_back(0)] == [Tile(3, 1, 1)]
    assert kept.take(site) == []


def test_what_was_taken_back_with_a_hosts_word_is_not_taken_back_for_a_token():
    doubt, kept, site = doubt_of(Tile(3, 1, 1))
    doubt.take_absences_out(kept.take(site))
    assert doubt.take_back(0) == []


# ---------------------------------------------------------------------------------------------- words

KEY = BlockKey(9, 128, 0)


def site_of(name: str) -> Site:
    pacer = Pacer(limit_max=4, now=0.0, draw=lambda: 0.5)
    return Site(replace(HOST, name=name), pacer, lambda site: None)  # type: ignore[arg-type, return-value]


def test_words_come_back_as_the_positions_that_rest_on_one_host_alone():
    one, two = site_of("one"), site_of("two")
    kept = Words()
    for site, position, reason in [(one, 3, "http_404"), (one, 200, "blank_tile"), (one, 9, "http_404")]:
        kept.add(site, KEY.tile(position), reason)
    kept.add(two, KEY.tile(9), "http_404")
    kept.forget(KEY, [3])
    kept.add(one, KEY.tile(5), "http_404")
    assert sorted(kept.take(one)) == [(KEY, "blank_tile", [200]), (KEY, "http_404", [5])]
    assert kept.take(one) == []
    assert kept.take(two) == [(KEY, "http_404", [9])]


def test_of_more_words_than_are_kept_the_oldest_go_and_their_host_is_known():
    one, two = site_of("one"), site_of("two")
    kept = Words()
    kept.add(one, Tile(14, 0, 0), "http_404")
    for block in range(words.MOST_FIELDS):
        kept.add(two, Tile(14, 128 * (block // 128), 128 * (block % 128)), "http_404")
    assert kept.are_cut == {one}
    assert kept.take(one) == []
    assert len(kept.take(two)) == words.MOST_FIELDS
