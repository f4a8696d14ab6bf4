"""The parts in memory keep the promises of ``harvester.edges``, in virtual time."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from harvester import edges
from harvester.edges import Answer, BlockChange, Fault, Outcome, Request, State, Stored, Wait
from harvester.errors import AuthError, CacheError
from harvester.testing import (
    MemoryCache,
    MemoryLedger,
    MemoryService,
    MemorySource,
    MemoryTransport,
    run_virtual,
)
from harvester.testing.images import address_of
from harvester.testing.memory import broken, http, memory_info, never
from harvester.tiling.tile import BlockKey, Tile, block_of


class Puller:
    """The least engine: gives its tiles once, waits where it is told to, keeps the answers."""

    def __init__(self, source: edges.Source, tiles: list[Tile]) -> None:
        self.source = source
        self.tiles = tiles
        self.waits: list[Wait] = []
        self.answers: list[tuple[Request, Answer]] = []

    def next(self) -> Request | Wait | None:
        if self.waits:
            return self.waits.pop()
        return self.source.request(self.tiles.pop(0), 0) if self.tiles else None

    def done(self, request: Request, answer: Answer) -> None:
        self.answers.append((request, answer))


TILES = [Tile(9, row, col) for row in range(20) for col in range(10)]


def test_the_parts_are_what_the_contracts_ask_for() -> None:
    source: edges.Source = MemorySource()
    transport: edges.Transport = MemoryTransport(MemoryService())
    writer: edges.CacheWriter = MemoryCache()
    reader: edges.CacheReader = MemoryCache().reader()
    ledger: edges.Ledger = MemoryLedger()
    assert all((source, transport, writer, reader, ledger))


def test_every_request_ends_once_and_never_more_are_in_flight_than_connections() -> None:
    puller = Puller(MemorySource(), list(TILES))
    transport = MemoryTransport(MemoryService(), connections=7)
    run_virtual(transport.drain(puller.next, puller.done))
    assert sorted(request.tile for request, _ in puller.answers) == TILES
    assert transport.most_in_flight == 7
    assert all(address_of(answer.body) == (request.tile, 0) for request, answer in puller.answers)


def test_an_hour_of_latency_passes_at_once_and_in_order() -> None:
    seconds = {tile: float(3600 - index) for index, tile in enumerate(TILES)}
    puller = Puller(MemorySource(), list(TILES))
    transport = MemoryTransport(
        lambda request: http(200, b"x", seconds=seconds[request.tile]), connections=1000, timeout_seconds=4000
    )

    async def run() -> float:
        await transport.drain(puller.next, puller.done)
        return asyncio.get_running_loop().time()

    assert run_virtual(run()) == pytest.approx(3600)
    assert [request.tile for request, _ in puller.answers] == TILES[::-1]


def test_the_same_run_gives_the_same_log() -> None:
    def log() -> list[tuple[float, Tile]]:
        puller = Puller(MemorySource(), list(TILES))
        transport = MemoryTransport(
            lambda request: http(200, b"x", seconds=(request.tile.row * 7 + request.tile.col * 3) % 5 / 10),
            connections=5,
        )
        run_virtual(transport.drain(puller.next, puller.done))
        return [(at, request.tile) for at, request in transport.log]

    assert log() == log()


def test_a_wait_ends_after_its_seconds_or_when_woken() -> None:
    async def run(wait: Wait, wake_after: float | None) -> float:
        puller = Puller(MemorySource(), TILES[:1])
        puller.waits.append(wait)
        transport = MemoryTransport(MemoryService(seconds=0.0))
        loop = asyncio.get_running_loop()
        if wake_after is not None:
            loop.call_later(wake_after, transport.wake)
        await transport.drain(puller.next, puller.done)
        assert len(puller.answers) == 1
        return loop.time()

    assert run_virtual(run(Wait(5.0), None)) == pytest.approx(5)
    assert run_virtual(run(Wait(5.0), 2.0)) == pytest.approx(2)
    assert run_virtual(run(Wait(None), 9.0)) == pytest.approx(9)


def test_a_loop_in_which_everything_waits_says_so() -> None:
    puller = Puller(MemorySource(), TILES[:1])
    puller.waits.append(Wait(None))
    with pytest.raises(RuntimeError, match="everything waits"):
        run_virtual(MemoryTransport(MemoryService()).drain(puller.next, puller.done), idle_seconds=0.01)


def test_a_stalled_answer_ends_at_the_deadline_and_by_rebuild_sooner() -> None:
    async def run(rebuild_after: float) -> tuple[float, Fault | None]:
        puller = Puller(MemorySource(), TILES[:1])
        transport = MemoryTransport(lambda request: never(), timeout_seconds=30)
        asyncio.get_running_loop().call_later(rebuild_after, transport.rebuild)
        await transport.drain(puller.next, puller.done)
        return asyncio.get_running_loop().time(), puller.answers[0][1].fault

    assert run_virtual(run(100)) == (pytest.approx(30), Fault.TIMEOUT)
    assert run_virtual(run(10)) == (pytest.approx(10), Fault.RESET)


def test_a_cancelled_drain_forgets_what_was_in_flight() -> None:
    async def run() -> tuple[int, int]:
        puller = Puller(MemorySource(), list(TILES))
        transport = MemoryTransport(lambda request: never(), connections=3)
        task = asyncio.create_task(transport.drain(puller.next, puller.done))
        await asyncio.sleep(1)
        flying = transport.in_flight
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(100)
        assert puller.answers == []
        return flying, transport.in_flight

    assert run_virtual(run()) == (3, 0)


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (http(200, b"x"), Outcome.WHOLE, ""),
        (http(200), Outcome.RETRY, "empty"),
        (http(200, b"<html>"), Outcome.RETRY, "not_an_image"),
        (http(404), Outcome.ABSENT, "http_404"),
        (http(204), Outcome.ABSENT, "http_204"),
        (http(304), Outcome.RETRY, "http_304"),
        (http(302), Outcome.RETRY, "redirect"),
        (http(403), Outcome.FAILED, "http_403"),
        (http(498), Outcome.DENIED, "http_498"),
        (http(503, headers={"retry-after": "7"}), Outcome.THROTTLED, "http_503"),
        (http(500), Outcome.RETRY, "http_500"),
        (broken(Fault.TRUNCATED), Outcome.RETRY, "truncated"),
    ],
)
def test_the_source_judges_by_status(answer: Answer, outcome: Outcome, reason: str) -> None:
    source = MemorySource()
    verdict = source.judge(source.request(TILES[0], 0), answer)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert verdict.retry_after == (7.0 if answer.headers else None)


def test_a_window_tells_what_is_there() -> None:
    source = MemorySource(memory_info(tilemap=True))
    service = MemoryService(absent=lambda tile: tile.col % 3 == 0)
    request = source.window(BlockKey(9, 128, 256))
    assert request is not None
    window = source.read_window(request, service(request))
    assert window is not None
    assert (window.level, window.top, window.left) == (9, 128, 256)
    assert window.present.shape == (128, 128)
    assert [bool(there) for there in window.present[5, :4]] == [(256 + col) % 3 != 0 for col in range(4)]
    empty = source.read_window(request, http(422))
    assert empty is not None
    assert not empty.present.any()
    assert source.read_window(request, http(200, b"short")) is None
    assert source.read_window(request, broken(Fault.RESET)) is None
    assert MemorySource().window(BlockKey(9, 128, 256)) is None


def test_a_renewed_credential_is_good_again() -> None:
    source, service = MemorySource(renewable=True), MemoryService()
    service.least_credential = 1
    assert service(source.request(TILES[0], 0)).status == 498
    asyncio.run(source.renew())
    assert service(source.request(TILES[0], 0)).status == 200
    with pytest.raises(AuthError):
        asyncio.run(MemorySource(renew_fails=True).renew())


def stored(tiles: list[Tile]) -> list[Stored]:
    return [Stored(tile, str(tile).encode(), "png") for tile in tiles]


@pytest.mark.parametrize("stamp_blocks", [False, True])
def test_the_cache_keeps_reads_and_stamps(stamp_blocks: bool) -> None:
    async def run() -> None:
        cache = MemoryCache(stamp_blocks=stamp_blocks)
        keys = sorted({block_of(tile) for tile in TILES})
        before = cache.stamps(keys)
        given = await cache.store(stored(TILES))
        assert given.items() <= cache.stamps(keys).items()
        assert cache.stamps(keys) != before
        await cache.remove(TILES[:3])
        assert cache.stamps(keys) != given
        with cache.reader() as reader:
            assert reader.read(*TILES[5]) == str(TILES[5]).encode()
            assert reader.read(*TILES[0]) is None
            assert list(reader.levels()) == [9]
            assert list(reader.blocks(9)) == keys
            assert [tile for key in keys for tile, _ in reader.tiles(key)] == TILES[3:]
            assert sum(int(reader.present(key).sum()) for key in keys) == len(TILES) - 3

    asyncio.run(run())


def test_a_refused_batch_leaves_nothing() -> None:
    async def run() -> None:
        cache = MemoryCache(fails=lambda batch: batch == 2)
        await cache.store(stored(TILES[:5]))
        with pytest.raises(CacheError):
            await cache.store(stored(TILES[5:]))
        assert set(cache.bodies) == set(TILES[:5])

    asyncio.run(run())


def test_the_ledger_moves_states_only_as_promised() -> None:
    async def run() -> None:
        ledger, key = MemoryLedger(), BlockKey(9, 0, 0)
        mask = np.zeros((128, 128), dtype=bool)
        mask[0, :6] = True
        await ledger.enlist([(key, mask)])
        states = [State.STORED, State.UNCHANGED, State.ABSENT, State.FAILED]
        changes = [BlockChange(key, state, [index], {index: "why"}) for index, state in enumerate(states)]
        await ledger.record(changes, {None: "1", key: "a"})
        await ledger.enlist([(key, mask)])
        assert await row(ledger) == [*states, State.PENDING, State.PENDING, State.UNPLANNED]
        assert [each[:2] for each in await ledger.failures(10)] == [(Tile(9, 0, 3), "why")]
        assert await ledger.stamps([key]) == {None: "1", key: "a"}
        present = np.zeros((128, 128), dtype=bool)
        present[0, 3:7] = True
        await ledger.reconcile([(key, present)], {key: "b"})
        assert await row(ledger) == [State.PENDING] * 3 + [State.STORED] * 3 + [State.UNPLANNED]
        assert await ledger.failures(10) == []
        assert await ledger.stamps([key]) == {None: "1", key: "b"}
        await ledger.set_meta({"job": {"a": (1, 2)}})
        assert await ledger.get_meta("job") == {"a": [1, 2]}
        assert await ledger.get_meta("other") is None

    async def row(ledger: MemoryLedger) -> list[State]:
        (states,) = await ledger.states([BlockKey(9, 0, 0)])
        return [State(int(value)) for value in states[0, :7]]

    asyncio.run(run())


def test_failures_come_in_plan_order_and_no_more_than_asked_for() -> None:
    async def run() -> None:
        ledger = MemoryLedger()
        for key in (BlockKey(9, 128, 0), BlockKey(9, 0, 128), BlockKey(3, 0, 0)):
            await ledger.record([BlockChange(key, State.FAILED, [200, 3], {3: "x", 200: "y"})], {})
        found = await ledger.failures(5)
        assert [failure.tile for failure in found] == [
            Tile(3, 0, 3),
            Tile(3, 1, 72),
            Tile(9, 0, 131),
            Tile(9, 1, 200),
            Tile(9, 128, 3),
        ]

    asyncio.run(run())
