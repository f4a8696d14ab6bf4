"""What pacing costs each request: may it start, how did it end, and the heap of those that wait."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from harvester.edges import Outcome
from harvester.pacing import Pacer, RateLimit, RetryHeap

LIMIT = 512


def work(n: int, rate: float | None = None) -> Pacer:
    """``n`` requests that are started and answered, a ten-thousandth of a second apart."""
    pacer = Pacer(limit_max=LIMIT, now=0.0, draw=random.random, rate=RateLimit(rate, 0.0) if rate else None)
    now = 1.0
    for _ in range(n):
        now += 1e-4
        if pacer.may_start(now, 3) == 0.0:
            pacer.ended(now, Outcome.WHOLE, 0.05, first_try=True)
    return pacer


def waiting(n: int) -> int:
    """``n`` items that go onto the heap and come off it in their order."""
    heap = RetryHeap[int](random.random)
    for item in range(n):
        heap.push(item, 0.0, tries=1, throttled=False)
    count = 0
    while heap.next_due() is not None:
        heap.pop()
        count += 1
    return count


def floor(n: int) -> float:
    """The loop alone."""
    now = 1.0
    for _ in range(n):
        now += 1e-4
    return now


def test_every_request_of_the_work_is_paced() -> None:
    assert work(1000).budget.tokens > 0
    assert work(1000, 1e6).rate is not None
    assert waiting(100) == 100
    assert floor(10) > 1.0


def microseconds(run: Callable[[], object], n: int) -> float:
    """The fastest of five rounds of ``n``, per piece."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best / n * 1e6


def main() -> None:
    """Print microseconds a request."""
    n = 100_000
    bare = microseconds(lambda: floor(n), n)
    print(f"may_start + ended           {microseconds(lambda: work(n), n) - bare:.2f} us")
    print(f"with a rate limit           {microseconds(lambda: work(n, 1e6), n) - bare:.2f} us")
    print(f"onto the heap and off again {microseconds(lambda: waiting(n), n):.2f} us")


if __name__ == "__main__":
    main()
