"""Tiles that wait for another try: full-jitter back-off on a heap, and the budget that keeps retries a small share."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sized
from typing import Generic, TypeVar

TRANSIENT_BASE_SECONDS = 0.25
"""First back-off after a tile's own fault (reset, truncation, 500)."""

THROTTLED_BASE_SECONDS = 1.0
"""First back-off after the host asked for less (429, 503)."""

LONGEST_SECONDS = 60.0
"""No back-off is longer: a minute is enough to be polite, and a person is waiting."""

BUDGET = 500
RETRY_COST = 14
SUCCESS_RETURN = 1
"""500 tokens let 35 retries go at once; at a cost of 14 for one that a success returns, one request in fifteen may be a
retry in the long run."""

Item = TypeVar("Item")


def backoff(tries: int, draw: float, *, throttled: bool) -> float:
    """Seconds to wait after ``tries`` failed ones (1, 2 ...): full jitter, ``draw`` in [0, 1) of a doubling bound."""
    base = THROTTLED_BASE_SECONDS if throttled else TRANSIENT_BASE_SECONDS
    return draw * min(LONGEST_SECONDS, base * 2.0 ** min(max(tries, 1) - 1, 16))


class RetryBudget:
    """A bucket of tokens: retries take, successes return. It binds only while first tries are left."""

    __slots__ = ("tokens",)

    def __init__(self) -> None:
        self.tokens = BUDGET

    @property
    def is_full(self) -> bool:
        """True when nothing is left to return."""
        return self.tokens >= BUDGET

    def on_success(self, number: int = 1) -> None:
        """Each whole answer returns a token."""
        if self.tokens < BUDGET:
            self.tokens = min(BUDGET, self.tokens + number * SUCCESS_RETURN)

    def take(self) -> bool:
        """True when a retry is within the budget; it is then charged."""
        if self.tokens < RETRY_COST:
            return False
        self.tokens -= RETRY_COST
        return True

    def __repr__(self) -> str:
        return f"RetryBudget({self.tokens} of {BUDGET})"


class RetryHeap(Generic[Item]):
    """Requests to ask again, by due time, then by the order in which they came; each holds no slot and no timer.

    ``draw`` gives random numbers in [0, 1).
    """

    __slots__ = ("_draw", "_heap", "_seq", "budget", "waiting")

    def __init__(self, draw: Callable[[], float], budget: RetryBudget | None = None) -> None:
        self.budget = budget or RetryBudget()
        self._draw = draw
        self._heap: list[tuple[float, int, Item]] = []
        self.waiting: Sized = self._heap
        """True while an item is kept: to look at for every request, without a call."""
        self._seq = 0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, item: Item, now: float, *, tries: int, throttled: bool) -> float:
        """Keep an item until its back-off has passed; gives when it is due. ``tries``: those that failed, from 1."""
        due = now + backoff(tries, self._draw(), throttled=throttled)
        self.push_at(item, due)
        return due

    def push_at(self, item: Item, due: float) -> None:
        """Keep an item until ``due`` (at once: a credential was renewed, or the wait was the host's)."""
        self._seq += 1
        heapq.heappush(self._heap, (due, self._seq, item))

    def push_first(self, item: Item, now: float) -> None:
        """Keep an item that is due, before all others."""
        self.push_at(item, math.nextafter(min(now, self._heap[0][0]), -math.inf) if self._heap else now)

    def pop(self) -> Item:
        """The next item, due or not, charged to the budget as far as that goes."""
        self.budget.take()
        return heapq.heappop(self._heap)[2]

    def first(self) -> Item:
        """The next item, which stays."""
        return self._heap[0][2]

    def next_due(self) -> float | None:
        """When the next item is due; None when there is none."""
        return self._heap[0][0] if self._heap else None

    def drain(self) -> list[Item]:
        """All items, due or not, in the order in which they would come; the heap is empty then."""
        items = [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2])]
        self._heap.clear()
        return items

    def __repr__(self) -> str:
        return f"RetryHeap({len(self._heap)} waiting, {self.budget})"
