"""Retries wait with full jitter, in order, and within a budget that never fails a tile."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.pacing import Pacer, RetryBudget, RetryHeap, backoff
from harvester.pacing.retry import BUDGET, LONGEST_SECONDS, RETRY_COST


def pacer_at_first() -> Pacer:
    return Pacer(limit_max=8, now=0.0, draw=lambda: 0.5)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True), st.booleans())
@settings(max_examples=100)
def test_a_back_off_is_a_draw_below_a_doubling_bound(tries: int, draw: float, throttled: bool) -> None:
    bound = min(LONGEST_SECONDS, (1.0 if throttled else 0.25) * 2.0 ** min(max(tries, 1) - 1, 99))
    assert backoff(tries, draw, throttled=throttled) == draw * bound


def test_items_come_when_due_and_in_the_order_in_which_they_were_due() -> None:
    heap = RetryHeap[str](lambda: 0.5)
    assert heap.next_due() is None
    assert heap.push("second", 10.0, tries=1, throttled=True) == 10.5
    assert heap.push("first", 10.0, tries=1, throttled=False) == 10.125
    heap.push_at("third", 10.5)
    assert len(heap) == 3
    assert heap.next_due() == 10.125
    assert heap.pop() == "first"
    assert heap.next_due() == 10.5
    assert heap.first() == "second"
    assert heap.pop() == "second"
    assert heap.pop() == "third"
    assert heap.next_due() is None


def test_items_need_not_be_comparable() -> None:
    heap = RetryHeap[object](lambda: 0.0)
    for _ in range(5):
        heap.push(object(), 1.0, tries=1, throttled=False)
    assert len(heap.drain()) == 5
    assert not heap


def test_drained_items_come_in_due_order() -> None:
    heap = RetryHeap[int](random.Random(1).random)
    due = {item: heap.push(item, 0.0, tries=3, throttled=True) for item in range(20)}
    assert heap.drain() == sorted(due, key=lambda item: due[item])


def test_an_empty_budget_delays_retries_until_only_they_are_left() -> None:
    pacer = pacer_at_first()
    heap = RetryHeap[int](lambda: 0.0, pacer.budget)
    for item in range(100):
        heap.push_at(item, 0.0)
    at_once = 0
    while not pacer.retries_wait:
        assert heap.pop() == at_once
        at_once += 1
    assert at_once == BUDGET // RETRY_COST
    for _ in range(RETRY_COST):
        heap.budget.on_success()
    assert not pacer.retries_wait
    assert heap.pop() == at_once
    assert pacer.retries_wait
    assert [heap.pop() for _ in range(len(heap))] == list(range(at_once + 1, 100))
    assert heap.budget.tokens >= 0
    assert "0 waiting" in repr(heap)


def test_a_budget_never_holds_more_than_it_began_with() -> None:
    budget = RetryBudget()
    for _ in range(10):
        budget.on_success()
    assert budget.tokens == BUDGET
    assert budget.take()
    assert budget.tokens == BUDGET - RETRY_COST


def test_one_request_in_fifteen_may_be_a_retry_in_the_long_run() -> None:
    pacer = pacer_at_first()
    heap = RetryHeap[int](lambda: 0.0, pacer.budget)
    retries = 0
    for step in range(20_000):
        heap.push_at(step, 0.0)
        heap.budget.on_success()
        if not pacer.retries_wait:
            heap.pop()
            retries += 1
    assert retries <= 20_000 / RETRY_COST + BUDGET / RETRY_COST
