"""The joined pace, in a simulated run: no amplification, no host asked in its pause, everything ends."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harvester.edges import Outcome
from harvester.pacing import Pacer, RateLimit, RetryHeap
from harvester.pacing.breaker import Breaker
from harvester.pacing.concurrency import Concurrency
from harvester.pacing.retry import RetryBudget

RETRIES = 5
GIVE_UP_SECONDS = 900.0

Answer = Callable[[int, float], tuple[Outcome, float, float | None]]
"""Tile and time -> what the host answers, after how many seconds, with which Retry-After."""


@dataclass
class Run:
    """A simulated run over ``tiles`` tiles: what it asked and how each tile ended."""

    tiles: int
    answer: Answer
    rate: float | None = None
    limit_max: int = 32
    seed: int = 1
    starts: list[tuple[float, int, bool]] = field(default_factory=list)
    """Time, tile, whether it was a first try."""
    probes: int = 0
    done: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    def go(self) -> Run:
        draw = random.Random(self.seed)
        now = 0.0
        limit = RateLimit(self.rate, now) if self.rate else None
        pacer = Pacer(limit_max=self.limit_max, now=now, draw=draw.random, rate=limit)
        heap = RetryHeap[tuple[int, int]](draw.random, pacer.budget)
        flights: list[tuple[float, int, int, int, Outcome, float, float | None]] = []
        planned = 0
        last_end = now
        while len(self.done) < self.tiles and now - last_end < GIVE_UP_SECONDS and pacer.pause.too_long is None:
            wake = math.inf
            while True:
                left = planned < self.tiles
                retry = (heap.next_due() or math.inf) <= now and not (left and pacer.retries_wait)
                if not left and not retry:
                    wake = heap.next_due() or math.inf
                    break
                is_probe = pacer.breaker.open_since is not None
                wait = pacer.may_start(now, len(flights))
                if wait:
                    wake = now + wait
                    if (due := heap.next_due()) is not None and due > now:
                        wake = min(wake, due)
                    break
                if retry:
                    tile, tries = heap.pop()
                else:
                    tile, tries, planned = planned, 0, planned + 1
                self.probes += is_probe
                self.starts.append((now, tile, tries == 0))
                outcome, seconds, rest = self.answer(tile, now)
                heapq.heappush(flights, (now + seconds, len(self.starts), tile, tries, outcome, seconds, rest))
            if flights and flights[0][0] <= wake:
                now, _, tile, tries, outcome, seconds, rest = heapq.heappop(flights)
                pacer.ended(now, outcome, seconds, first_try=tries == 0, retry_after=rest)
                if outcome is Outcome.RETRY and tries < RETRIES:
                    heap.push((tile, tries + 1), now, tries=tries + 1, throttled=False)
                elif outcome is Outcome.THROTTLED:
                    heap.push((tile, max(tries, 1)), now, tries=max(tries, 1), throttled=True)
                else:
                    self.done[tile] = outcome.value
                    last_end = now
            else:
                assert wake < math.inf, "nothing in flight and nothing to wait for"
                now = max(wake, math.nextafter(now, math.inf))
        self.seconds = now
        return self

    @property
    def tried(self) -> int:
        return len({tile for _, tile, _ in self.starts})


def test_a_host_that_fails_everything_gets_hardly_more_requests_than_tiles_were_tried() -> None:
    for outcome, seconds in (
        (Outcome.RETRY, 0.05),
        (Outcome.RETRY, 0.001),
        (Outcome.RETRY, 2.0),
        (Outcome.THROTTLED, 0.02),
    ):
        for seed in range(3):
            run = Run(5000, lambda tile, now, o=outcome, s=seconds: (o, s, None), seed=seed).go()  # type: ignore[misc]
            assert len(run.starts) <= 1.1 * run.tried + 1
            assert run.probes < 60
            assert run.seconds < 2000
            assert "whole" not in run.done.values()


def test_a_host_that_recovers_is_found_and_every_tile_comes() -> None:
    def answer(tile: int, now: float) -> tuple[Outcome, float, float | None]:
        return (Outcome.WHOLE if now < 1 or now > 60 else Outcome.RETRY), 0.05, None

    run = Run(3000, answer).go()
    whole = [tile for tile, end in run.done.items() if end == "whole"]
    assert len(run.done) == 3000
    assert len(whole) >= 2990
    assert run.seconds < 120


def test_a_host_that_comes_back_is_not_met_with_full_force() -> None:
    pacer = Pacer(limit_max=256, now=0.0, draw=lambda: 0.5)
    now = 0.0
    while pacer.limit < 256:
        now += 0.001
        pacer.may_start(now, 256)
        pacer.ended(now, Outcome.WHOLE, 0.05, first_try=True)
    for _ in range(20):
        pacer.ended(now, Outcome.RETRY, 0.05, first_try=True)
    assert pacer.may_start(now, 0) == 1.0
    assert pacer.may_start(now + 1, 0) == 0.0
    pacer.ended(now + 1.05, Outcome.WHOLE, 0.05, first_try=False)
    assert pacer.limit == 4
    assert pacer.may_start(now + 1.05, 0) == 0.0


def test_a_few_bad_tiles_end_after_all_their_tries_and_cost_the_others_nothing() -> None:
    def answer(tile: int, now: float) -> tuple[Outcome, float, float | None]:
        return (Outcome.RETRY if tile % 100 == 0 else Outcome.WHOLE), 0.05, None

    run = Run(5000, answer).go()
    assert sum(end == "retry" for end in run.done.values()) == 50
    assert len(run.starts) == 5000 + 50 * RETRIES
    assert run.seconds < 1.5 * 5000 * 0.05 / 32 + 10
    assert run.probes == 0


def test_every_third_answer_bad_still_ends_every_tile() -> None:
    draw = random.Random(4)

    def answer(tile: int, now: float) -> tuple[Outcome, float, float | None]:
        return (Outcome.RETRY if draw.random() < 1 / 3 else Outcome.WHOLE), 0.05, None

    run = Run(2000, answer).go()
    assert len(run.done) == 2000
    assert sum(end == "whole" for end in run.done.values()) >= 1980


def test_nothing_is_asked_while_the_host_wants_rest() -> None:
    asked_for: list[float] = []

    def answer(tile: int, now: float) -> tuple[Outcome, float, float | None]:
        if tile == 500 and not asked_for:
            asked_for.append(now + 0.05)
            return Outcome.THROTTLED, 0.05, 120.0
        return Outcome.WHOLE, 0.05, None

    run = Run(2000, answer).go()
    begin = asked_for[0]
    assert not [at for at, _, _ in run.starts if begin < at < begin + 120]
    assert len(run.done) == 2000
    assert set(run.done.values()) == {"whole"}


def test_a_host_that_wants_an_hour_is_not_waited_for() -> None:
    run = Run(100, lambda tile, now: (Outcome.THROTTLED, 0.05, 3600.0)).go()
    assert run.seconds < 1
    assert not run.done


def test_throttled_with_a_single_request_in_flight_means_a_pause() -> None:
    pacer = Pacer(limit_max=1, now=0.0, draw=lambda: 0.5)
    waits = []
    now = 0.0
    for _ in range(8):
        now += pacer.may_start(now, 0)
        pacer.ended(now, Outcome.THROTTLED, 0.01, first_try=False)
        waits.append(pacer.may_start(now, 0))
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]
    now += 30
    pacer.ended(now, Outcome.WHOLE, 0.01, first_try=False)
    assert pacer.may_start(now, 0) == 0.0


def test_what_was_in_flight_together_and_is_refused_together_is_one_pause() -> None:
    pacer = Pacer(limit_max=32, now=0.0, draw=lambda: 0.5)
    now = 0.0
    while now < 5.0:
        now += 0.001
        if pacer.may_start(now, 0) == 0.0:
            pacer.ended(now, Outcome.WHOLE, 0.05, first_try=True)
    pauses: list[float] = []
    while (
        len(pauses) < 4
    ):  # the host is busy: the rate drops and rests until there is none left, and then comes a pause
        now += max(1.0, pacer.may_start(now, 0))
        before = pacer.pause.until
        for _ in range(32):
            pacer.ended(now, Outcome.THROTTLED, 0.4, first_try=False)
        if pacer.pause.until > before:
            pauses.append(pacer.pause.until - now)
    assert pauses == pytest.approx([0.5, 1.0, 2.0, 4.0])


def test_the_rate_holds_for_retries_too() -> None:
    draw = random.Random(9)

    def answer(tile: int, now: float) -> tuple[Outcome, float, float | None]:
        return (Outcome.RETRY if draw.random() < 0.05 else Outcome.WHOLE), 0.2, None

    run = Run(3000, answer, rate=100, limit_max=64).go()
    times = [at for at, _, _ in run.starts]
    assert all(later - first >= 1.0 for first, later in zip(times, times[100:], strict=False))
    assert len(times) / run.seconds >= 85


def test_a_full_host_is_waited_for_by_event_and_a_refused_credential_says_nothing_of_the_pace() -> None:
    pacer = Pacer(limit_max=8, now=0.0, draw=lambda: 0.5)
    assert pacer.limit == 4
    assert pacer.may_start(0.0, 3) == 0.0
    assert pacer.may_start(0.0, 4) == math.inf
    for _ in range(100):
        pacer.ended(0.1, Outcome.DENIED, 0.05, first_try=True)
    assert pacer.limit == 4
    assert pacer.may_start(0.1, 0) == 0.0
    assert repr(pacer).startswith("Pacer(Concurrency(4 of 8, ramp)")


def test_a_rate_that_is_not_ready_does_not_use_up_the_probe() -> None:
    pacer = Pacer(limit_max=8, now=0.0, draw=lambda: 0.5, rate=RateLimit(0.1, 0.0))
    for _ in range(20):
        pacer.ended(0.0, Outcome.RETRY, 0.05, first_try=True)
    assert 0 < pacer.may_start(2.0, 0) < 10
    assert pacer.may_start(60.0, 0) == 0.0
    assert pacer.may_start(90.0, 1) == math.inf  # the probe is under way


@given(st.lists(st.sampled_from(list(Outcome)), max_size=300), st.integers(0, 1 << 20), st.sampled_from([None, 50.0]))
@settings(max_examples=60, deadline=None)
def test_whatever_comes_a_start_is_allowed_in_the_end(outcomes: list[Outcome], seed: int, rate: float | None) -> None:
    draw = random.Random(seed)
    pacer = Pacer(limit_max=16, now=0.0, draw=draw.random, rate=RateLimit(rate, 0.0) if rate else None)
    now = 0.0
    for outcome in outcomes:
        waited = 0
        while wait := pacer.may_start(now, 0):
            assert wait < math.inf  # nothing is in flight: no event would come
            now = max(now + wait, math.nextafter(now, math.inf))
            waited += 1
            assert waited < 6
        now += draw.uniform(0, 0.2)
        pacer.ended(now, outcome, 0.1, first_try=draw.random() < 0.5)


# ---------------------------------------------------------------------------------------------- told together


class Plain:
    """The slow twin of a Pacer: every answer is told to every state machine at once."""

    def __init__(self, limit_max: int) -> None:
        self.concurrency = Concurrency(limit_max)
        self.breaker = Breaker(0.0)
        self.budget = RetryBudget()

    def ended(self, now: float, outcome: Outcome, seconds: float, *, first_try: bool) -> None:
        if outcome is Outcome.WHOLE:
            self.budget.on_success()
            if self.breaker.open_since is not None:
                self.concurrency.restart(now)
            else:
                self.concurrency.on_success(now, seconds)
            self.breaker.on_result(now, ok=True, first_try=first_try)
        elif outcome is Outcome.THROTTLED:
            self.concurrency.on_throttle(now)
            self.breaker.on_result(now, ok=False, first_try=first_try, throttled=True)
        elif outcome is Outcome.FAILED:
            self.breaker.on_result(now, ok=True, first_try=first_try)
        else:
            self.concurrency.on_error(now)
            self.breaker.on_result(now, ok=False, first_try=first_try)


ENDS = st.tuples(
    st.sampled_from([Outcome.WHOLE] * 12 + [Outcome.RETRY, Outcome.THROTTLED, Outcome.FAILED]),
    st.integers(1, 120),  # how many in a row
    st.sampled_from([0.0, 0.001, 0.03, 0.7]),  # seconds between them
    st.sampled_from([0.01, 0.05, 0.4]),  # each took
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ENDS, max_size=25), st.sampled_from([1, 3, 32, 256]))
@example(
    # Good answers of long ago, told late, must not hide that nine of ten fail now.
    [(Outcome.WHOLE, 100, 0.02, 0.05, True), (Outcome.RETRY, 1, 40.0, 0.05, True)]
    + [(Outcome.RETRY, 18, 0.03, 0.05, True), (Outcome.WHOLE, 1, 0.03, 0.05, True)] * 4,
    256,
)
@example(
    # A good second try leaves the row of bad first tries as it is; the good first try behind it ends the row.
    [
        (Outcome.RETRY, 5, 0.03, 0.05, True),
        (Outcome.WHOLE, 1, 0.03, 0.05, False),
        (Outcome.WHOLE, 1, 0.03, 0.05, True),
        (Outcome.RETRY, 16, 0.03, 0.05, True),
    ],
    256,
)
def test_good_answers_that_are_told_together_decide_what_they_decide_one_by_one(
    ends: list[tuple[Outcome, int, float, float, bool]], limit_max: int
) -> None:
    pacer, plain = Pacer(limit_max=limit_max, now=0.0, draw=lambda: 0.5), Plain(limit_max)
    now = 0.0
    # Where latency changes, the mean of those told together may show it some answers earlier or later.
    steady = len({seconds for _, _, _, seconds, _ in ends}) == 1
    for outcome, times, step, seconds, first_try in ends:
        for number in range(times):
            now += step
            if number % 3 == 0:
                pacer.concurrency.on_full()
                plain.concurrency.on_full()
            pacer.ended(now, outcome, seconds, first_try=first_try)
            plain.ended(now, outcome, seconds, first_try=first_try)
            if pacer.learned is not None:
                return  # from now on every answer is told at once
            if steady:
                assert pacer.limit == plain.concurrency.limit
            if steady and limit_max > 1:  # with one at a time there is nothing to ramp up to, and no difference
                assert pacer.concurrency.mode is plain.concurrency.mode
            assert pacer.breaker.open_since == plain.breaker.open_since
            assert pacer.breaker.suspects == plain.breaker.suspects
        if pacer.breaker.open_since is not None:  # a probe goes out in both
            now += 40.0
            assert pacer.breaker.allow(now) == plain.breaker.allow(now)
        if outcome is not Outcome.WHOLE:
            assert pacer.budget.tokens == plain.budget.tokens


def test_whatever_holds_requests_back_a_pacer_that_is_free_lets_them_go() -> None:
    pacer = Pacer(limit_max=8, now=0.0, draw=lambda: 0.5)
    assert pacer.free and pacer.may_start(0.0, 0) == 0.0
    pacer.ended(1.0, Outcome.THROTTLED, 0.1, first_try=True, retry_after=5.0)
    assert not pacer.free and pacer.may_start(1.0, 0) == 5.0
    assert not pacer.free and pacer.may_start(6.0, 0) == 0.0
    assert pacer.free
    for _ in range(20):
        pacer.ended(7.0, Outcome.RETRY, 0.1, first_try=True)
    assert not pacer.free and pacer.may_start(7.0, 0) > 0.0 and not pacer.free
    limited = Pacer(limit_max=8, now=0.0, draw=lambda: 0.5, rate=RateLimit(10, 0.0))
    assert not limited.free
    limited.may_start(1.0, 0)
    assert not limited.free, "a rate is asked for every request"
