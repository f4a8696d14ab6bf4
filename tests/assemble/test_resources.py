"""What a package holds beside its tiles is waited for as long as a tile would be."""

from __future__ import annotations

import asyncio

import pytest

from harvester.assemble.resources import LISTENS_SECONDS, Patience
from harvester.errors import SourceError
from harvester.transport.documents import Document
from harvester.transport.refusals import DocumentError

LIMIT = 600.0


class Host:
    """A host in virtual time that is away until ``back``, or refuses for good."""

    def __init__(self, back: float, *, passes: bool = True, asks_for: float | None = None) -> None:
        self.now, self.asked = 0.0, list[float]()
        self.back, self.passes, self.asks_for = back, passes, asks_for
        self.told: list[str] = []
        self.longest = 0.0
        self.stops_at = float("inf")
        self.patience = Patience(
            self._ask,
            give_up_after_seconds=LIMIT,
            stopped=lambda: self.now >= self.stops_at,
            tell=self.told.append,
            clock=lambda: self.now,
            sleep=self._sleep,
        )

    async def _ask(self, address: str) -> Document:
        self.asked.append(self.now)
        if self.now >= self.back:
            return Document(address, {}, b"here")
        error = DocumentError(f"{address} answered 503", status=503)
        error.passes, error.come_back_seconds = self.passes, self.asks_for
        raise error

    async def _sleep(self, seconds: float) -> None:
        self.longest = max(self.longest, seconds)
        self.now += seconds

    def get(self) -> bytes:
        return asyncio.run(self.patience.ask("https://gis.example.org/fonts/0-255.pbf")).body


def test_a_resource_of_a_host_that_is_away_for_a_minute_comes_all_the_same_and_the_wait_is_told_once() -> None:
    host = Host(60.0)
    assert host.get() == b"here"
    assert host.asked == [0, 1, 3, 7, 15, 31, 61]
    assert len(host.told) == 1 and "asked for again" in host.told[0]
    host.back = host.now + 60.0
    assert host.get() == b"here" and len(host.told) == 1


def test_the_pause_that_the_host_asks_for_is_kept() -> None:
    host = Host(90.0, asks_for=45.0)
    assert host.get() == b"here"
    assert host.asked == [0, 45, 90]


def test_what_does_not_pass_is_asked_once() -> None:
    host = Host(60.0, passes=False)
    with pytest.raises(SourceError, match="503"):
        host.get()
    assert host.asked == [0] and not host.told


def test_no_resource_is_waited_for_longer_than_a_tile() -> None:
    host = Host(float("inf"))
    with pytest.raises(SourceError, match="503"):
        host.get()
    assert LIMIT - 60 < host.now < LIMIT and len(host.asked) < 30
    with pytest.raises(SourceError):
        host.get()
    assert host.asked.count(host.now) == 1 and host.now < LIMIT  # the next one is not waited for anew


def test_a_run_that_is_to_stop_waits_for_nothing() -> None:
    host = Host(float("inf"))
    host.stops_at = 20.5
    with pytest.raises(SourceError):
        host.get()
    assert host.now <= 20.5 + LISTENS_SECONDS and host.longest <= LISTENS_SECONDS
