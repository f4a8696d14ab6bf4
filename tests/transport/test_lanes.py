"""The hot transport keeps the contract, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harvester.edges import Answer, Fault, Host, Request, Transport, Wait
from harvester.errors import UsageError
from harvester.testing import FaultyService, Rule, Script
from harvester.tiling.tile import Tile
from harvester.transport.access import Access
from harvester.transport.dial import FIRST_PAUSE_SECONDS, Place
from harvester.transport.lanes import LaneTransport
from harvester.transport.unasked import linger_seconds
from harvester.transport.ways import MAX_ROUTES
from tests.contracts.out_of_step import Loose, whole
from tests.contracts.transport_contract import (
    LEVEL,
    PATIENCE,
    Feed,
    TransportContract,
    ask,
    drained,
    host_of,
    right,
    until,
)


class TestLaneTransport(TransportContract):
    @staticmethod
    def make(
        *,
        connections: int = 8,
        timeout_seconds: float = 10.0,
        patience_seconds: float = 10.0,
        ca_bundle: Path | None = None,
    ) -> Transport:
        access = Access(
            timeout_seconds=timeout_seconds, patience_seconds=patience_seconds, ca_bundle=ca_bundle, environ={}
        )
        return LaneTransport(access, connections=connections)


class TestLaneTransportOnUvloop(TestLaneTransport):
    @pytest.fixture(autouse=True)
    def _uvloop(self) -> Iterator[None]:
        pytest.importorskip("uvloop")
        from tests.transport.loops import UvLoopPolicy

        asyncio.set_event_loop_policy(UvLoopPolicy())
        yield
        asyncio.set_event_loop_policy(None)


def transport_of(connections: int = 4, timeout_seconds: float = 10.0) -> LaneTransport:
    return LaneTransport(Access(timeout_seconds=timeout_seconds, environ={}), connections=connections)


# ---- requests as bytes


@pytest.mark.parametrize(
    "path", ["/a b", "/a\r\nX-Evil: 1", "/a\nb", "/caf\xe9", "/a\x00", "/a\x7f", "tile/1", "", "/a\tb", "/\u2028"]
)
def test_a_path_that_could_break_out_of_its_line_is_never_sent(path: str) -> None:
    async def main() -> None:
        async with FaultyService() as service:
            feed = await drained(transport := transport_of(), Feed([ask(service, 1)._replace(path=path)]))
            assert feed.only().fault is Fault.PROTOCOL
            assert not path or path not in feed.only().detail
            assert not service.log.connections, "not even a connection is made for it"
            await transport.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "header",
    [("X-A", "1\r\nX-Evil: 1"), ("X-A", "1\nX"), ("X-A", "\0"), ("X A", "1"), ("X:", "1"), ("", "1"), ("X\r\nY", "1")],
)
@pytest.mark.parametrize("of", ["host", "request"])
def test_a_header_that_could_break_out_of_its_line_is_never_sent(header: tuple[str, str], of: str) -> None:
    async def main() -> None:
        async with FaultyService() as service:
            request = ask(service, 1)
            if of == "host":
                request = ask(service, 1, host=host_of(service, header))
            else:
                request = request._replace(headers=(header,))
            feed = await drained(transport := transport_of(), Feed([request, ask(service, 2)]))
            by_row = {request.tile.row: answer for request, answer in feed.answers}
            assert by_row[1].fault is Fault.PROTOCOL and by_row[2].fault is None
            assert len(service.log) == 1
            await transport.close()

    asyncio.run(main())


def test_a_header_said_twice_is_sent_once_and_the_nearest_wins() -> None:
    async def main() -> None:
        async with FaultyService() as service:
            host = host_of(service, ("accept", "image/png"), ("User-Agent", "mine"), ("X-A", "host"))
            request = ask(service, 1, host=host)._replace(headers=(("x-a", "request"),))
            await drained(transport := transport_of(), Feed([request]))
            (asked,) = service.log
            lower = asked.raw.lower()
            assert lower.count(b"\r\naccept:") == lower.count(b"\r\nuser-agent:") == lower.count(b"\r\nx-a:") == 1
            assert asked.headers["x-a"] == "request" and asked.headers["user-agent"] == "mine"
            await transport.close()

    asyncio.run(main())


# ---- many refusals in a row, callers that raise


def test_a_thousand_requests_that_cannot_be_sent_need_no_deep_stack() -> None:
    async def main() -> None:
        bad = Request(Host(scheme="http", name="127.0.0.1", port=9), "no slash", Tile(1, 1, 1))
        feed = await drained(transport_of(connections=2), Feed(bad for _ in range(5000)))
        assert len(feed.answers) == 5000

    asyncio.run(main())


@pytest.mark.parametrize("where", ["next", "done"])
def test_a_caller_that_raises_ends_the_drain_with_its_exception(where: str) -> None:
    async def main() -> None:
        async with FaultyService() as service:
            transport = transport_of()
            feed = Feed(ask(service, row) for row in range(20))

            def broken(*_: object) -> None:
                raise RuntimeError(where)

            async with asyncio.timeout(PATIENCE):
                with pytest.raises(RuntimeError, match=where):
                    if where == "next":
                        await transport.drain(broken, feed.done)
                    else:
                        await transport.drain(feed.next, broken)
                await transport.close()
                assert "0 in flight, 0 open" in repr(transport)
                while service.log.open_connections:
                    await asyncio.sleep(0.001)

    asyncio.run(main())


def test_waking_from_inside_done_never_calls_next_inside_it() -> None:
    async def main() -> None:
        async with FaultyService() as service:
            transport = transport_of()
            feed = Feed(ask(service, row) for row in range(6))

            def wake(request: Request, answer: Answer) -> None:
                calls = feed.calls
                transport.wake()
                assert feed.calls == calls

            feed.on_done = wake
            assert len((await drained(transport, feed)).answers) == 6
            await transport.close()

    asyncio.run(main())


# ---- connections


def test_connections_move_from_host_to_host_and_are_never_more_than_allowed() -> None:
    async def main() -> None:
        async with FaultyService() as one, FaultyService() as two, FaultyService() as three:
            services = (one, two, three)
            transport = transport_of(connections=2)
            feed = await drained(transport, Feed(ask(services[row % 3], row) for row in range(60)))
            assert all(answer.fault is None for _, answer in feed.answers) and len(feed.answers) == 60
            assert "4 open of 4" in repr(transport), "two in use, and as many to spare"
            await transport.close()

    asyncio.run(main())


def test_a_renewed_token_goes_over_the_same_connection() -> None:
    async def main() -> None:
        async with FaultyService() as service:
            hosts = [host_of(service, ("X-Token", str(number))) for number in range(300)]
            transport = transport_of(connections=1)
            feed = Feed(ask(service, row, host=host) for row, host in enumerate(hosts))
            await drained(transport, feed)
            assert service.log.connections == 1
            assert [asked.headers["x-token"] for asked in service.log] == [str(number) for number in range(300)]
            assert len(transport._ways._routes) <= MAX_ROUTES
            await transport.close()

    asyncio.run(main())


def test_an_idle_connection_that_the_server_closed_is_not_asked_over() -> None:
    async def main() -> None:
        async with FaultyService(script=Script(rules=(Rule(do="close_after"),))) as service:
            transport = transport_of(connections=1)
            for row in range(5):
                feed = await drained(transport, Feed([ask(service, row)]))
                assert feed.only().fault is None
                while service.log.open_connections or "1 open" in repr(transport):
                    await asyncio.sleep(0.001)
            await transport.close()

    asyncio.run(main())


@pytest.mark.parametrize("do", ["close_before", "reset_before"])
def test_only_an_old_connection_that_gave_no_byte_is_stale_and_a_fresh_one_never_is(do: str) -> None:
    async def main() -> None:
        async with FaultyService(
            script=Script(rules=(Rule(do=do, tiles=(f"{LEVEL}/1/0", f"{LEVEL}/2/0")),))
        ) as service:
            transport = transport_of(connections=1)
            asked = [ask(service, 1), ask(service, 0), ask(service, 2), ask(service, 0)]
            again = [ask(service, 2)._replace(fresh=True), ask(service, 3)._replace(fresh=True)]
            feed = await drained(transport, Feed([*asked, *again]))
            said = [(answer.fault, answer.stale) for _, answer in feed.answers]
            reset, stale, whole = (Fault.RESET, False), (Fault.RESET, True), (None, False)
            assert said == [reset, whole, stale, whole, reset, whole]
            assert service.log.connections == 5, "each fresh request has one, and so has what follows a fault"
            await transport.close()

    asyncio.run(main())


def test_an_old_connection_that_breaks_within_an_answer_is_not_stale() -> None:
    async def main() -> None:
        rules = tuple(Rule(do=do, on_connection="2") for do in ("reset_inside",))
        async with FaultyService(script=Script(rules=rules)) as service:
            transport = transport_of(connections=1)
            feed = await drained(transport, Feed([ask(service, 0), ask(service, 1)]))
            assert [answer.stale for _, answer in feed.answers] == [False, False]
            assert feed.answers[1][1].fault in (Fault.RESET, Fault.TRUNCATED)
            await transport.close()

    asyncio.run(main())


def test_connections_that_are_dropped_on_purpose_are_not_stale() -> None:
    async def main() -> None:
        async with FaultyService(script=Script(rules=(Rule(do="stall", on_connection="2-"),))) as service:
            transport = transport_of(connections=1)
            feed = Feed([ask(service, 0), ask(service, 1)])

            async def drop() -> None:
                while service.log.count("tile") < 2:
                    await asyncio.sleep(0.001)
                transport.rebuild()

            dropping = asyncio.create_task(drop())
            await drained(transport, feed)
            await dropping
            assert [(answer.fault, answer.stale) for _, answer in feed.answers] == [(None, False), (Fault.RESET, False)]
            await transport.close()

    asyncio.run(main())


def test_a_host_that_refuses_connections_is_not_hammered() -> None:
    async def main() -> None:
        async with FaultyService() as service:
            request = ask(service, 1)
        transport = transport_of(connections=3)
        began = time.monotonic()
        feed = await drained(transport, Feed(request for _ in range(9)))
        assert [answer.fault for _, answer in feed.answers] == [Fault.CONNECT] * 9
        assert time.monotonic() - began >= FIRST_PAUSE_SECONDS, "rounds of attempts are set apart"
        await transport.close()

    asyncio.run(main())


def test_an_address_that_does_not_answer_gives_way_to_the_next() -> None:
    async def main() -> None:
        async with FaultyService() as service:
            place = Place(host_of(service))
            place._addresses = ["127.0.0.1:is no address", "127.0.0.1"]
            place._until = time.monotonic() + 60
            lane_lost = asyncio.get_running_loop().create_future()

            class Opened(asyncio.Protocol):
                def connection_made(self, transport: asyncio.BaseTransport) -> None:
                    transport.abort()  # type: ignore[attr-defined]

                def connection_lost(self, exc: Exception | None) -> None:
                    lane_lost.set_result(None)

            await place.connect(Opened, ssl.create_default_context())
            await lane_lost
            assert place._addresses[0] == "127.0.0.1", "and is asked first from then on"

    asyncio.run(main())


def test_one_lookup_serves_all_lanes() -> None:
    async def main() -> None:
        async with FaultyService() as service:
            lookups = []
            loop = asyncio.get_running_loop()
            look = loop.getaddrinfo

            async def counted(*args: object, **options: object) -> object:
                lookups.append(args)
                return await look(*args, **options)  # type: ignore[arg-type]

            loop.getaddrinfo = counted  # type: ignore[method-assign, assignment]
            host = Host(scheme="http", name="localhost", port=service.port)
            transport = transport_of(connections=8)
            feed = await drained(transport, Feed(ask(service, row, host=host) for row in range(40)))
            assert all(answer.fault is None for _, answer in feed.answers)
            assert sum(args[0] == "localhost" for args in lookups) == 1
            await transport.close()

    asyncio.run(main())


# ---- time


def test_each_of_many_stalled_requests_ends_at_its_own_deadline() -> None:
    async def main() -> None:
        async with FaultyService(script=Script(rules=(Rule(do="stall"),))) as service:
            transport = transport_of(connections=6, timeout_seconds=0.3)
            feed = Feed([])
            for row in range(6):
                feed.items += [ask(service, row), Wait(0.02)]
            await drained(transport, feed)
            for _, answer in feed.answers:
                assert answer.fault is Fault.TIMEOUT and answer.detail == "no answer yet"
                assert answer.seconds >= 0.28, "never early"
            await transport.close()

    asyncio.run(main())


@pytest.mark.parametrize(("first", "second"), [(0.01, 0.06), (60.0, 0.01)])
def test_the_latest_wait_holds_whether_it_is_the_longer_or_the_shorter(first: float, second: float) -> None:
    async def main() -> None:
        async with FaultyService() as service:
            transport = transport_of()
            asked: list[float] = []
            items = iter([ask(service, 1), Wait(first), Wait(second), ask(service, 2), None])

            def following() -> Request | Wait | None:
                asked.append(time.monotonic())
                return next(items)

            done: list[Answer] = []
            async with asyncio.timeout(PATIENCE):
                await transport.drain(following, lambda request, answer: done.append(answer))
            assert len(done) == 2 and asked[3] - asked[2] >= second - 0.002
            await transport.close()

    asyncio.run(main())


def test_waits_follow_each_other_with_one_timer_and_none_ends_early() -> None:
    async def main() -> None:
        async with FaultyService() as service:
            transport = transport_of()
            asked: list[float] = []
            items = iter([Wait(0.03), Wait(0.01), ask(service, 1), Wait(0.05), ask(service, 2), None, None])

            def following() -> Request | Wait | None:
                asked.append(time.monotonic())
                return next(items)

            feed = Feed([])
            feed.in_flight = 2
            async with asyncio.timeout(PATIENCE):
                await transport.drain(following, feed.done)
            assert asked[1] - asked[0] >= 0.029 and asked[2] - asked[1] >= 0.009
            await transport.close()

    asyncio.run(main())


# ---- trust


def test_no_trust_store_is_read_for_plain_http_and_a_broken_one_stops_the_first_tls(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nnot base64 at all\n-----END CERTIFICATE-----\n")

    async def main() -> None:
        async with FaultyService() as service:
            transport = LaneTransport(Access(environ={"SSL_CERT_FILE": str(bundle)}), connections=2)
            assert (await drained(transport, Feed([ask(service, 1)]))).only().status == 200
            plain = ask(service, 2)
            secure = plain._replace(host=replace(plain.host, scheme="https"))
            with pytest.raises(UsageError, match="SSL_CERT_FILE"):
                await drained(transport, Feed([secure]))
            await transport.close()

    asyncio.run(main())


def test_a_bundle_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--ca-bundle"):
        LaneTransport(Access(ca_bundle=tmp_path / "missing.pem", environ={}))


# ---- answers that nobody asked for


def test_once_out_of_step_what_is_in_flight_over_used_connections_is_no_answer_and_what_has_its_own_is() -> None:
    async def main() -> None:
        async with Loose() as server:
            transport = transport_of(connections=3)
            await drained(transport, Feed([server.ask(0), server.ask(1)]))
            server.held = asyncio.Event()
            feed = Feed([server.ask(2), server.ask(3)._replace(fresh=True)])
            draining = asyncio.create_task(drained(transport, feed))
            await until(lambda: sorted(server.connections) == [1, 1, 2])
            idle = next(at for at in (0, 1) if server.connections[at] == 1)
            server.writers[idle].write(whole(b"of nobody"))
            await until(lambda: transport.unasked == 1)
            server.held.set()
            await draining
            assert {request.path: (answer.fault, answer.stale) for request, answer in feed.answers} == {
                "/2": (Fault.RESET, True), "/3": (None, False)
            }  # fmt: skip
            await transport.close()

    asyncio.run(main())


def test_of_two_answers_to_a_request_over_a_used_connection_none_counts() -> None:
    async def main() -> None:
        async with Loose(extra=whole(b"of nobody")) as server:
            transport = transport_of(connections=1)
            feed = await drained(transport, Feed([server.ask(0), server.ask(1), server.ask(2)]))
            assert [(answer.fault, answer.stale) for _, answer in feed.answers] == [
                (None, False), (Fault.RESET, True), (None, False)
            ]  # fmt: skip
            assert (server.connections, transport.unasked) == ([2, 1], 1)
            await transport.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Bye\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 400 Bad request\r\n\r\n",
        b"\r\n",
        b"rest of a body",
    ],
)
def test_what_a_server_says_before_it_closes_a_connection_puts_nothing_in_doubt(said: bytes) -> None:
    async def main() -> None:
        async with Loose() as server:
            transport = transport_of(connections=1)
            await drained(transport, Feed([server.ask(0)]))
            server.writers[0].write(said)
            await until(lambda: "0 open" in repr(transport))
            feed = await drained(transport, Feed([server.ask(1), server.ask(2)]))
            assert right(feed) and (server.connections, transport.unasked) == ([1, 2], 0)
            await transport.close()

    asyncio.run(main())


NO_CLOSING = (
    (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",),
    (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nxx",),
    (b"HTTP/1.1 500 Oh\r\nContent-Length: 20\r\n\r\n", b"such a text ", b"in parts"),
)
"""Errors without a word that the connection is closed after them."""


async def is_said_to_an_idle_connection(server: Loose, transport: LaneTransport, pieces: Sequence[bytes]) -> None:
    await drained(transport, Feed([server.ask(0)]))
    for piece in pieces:
        server.writers[0].write(piece)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("pieces", NO_CLOSING)
def test_an_error_after_which_the_connection_ends_puts_nothing_in_doubt(pieces: Sequence[bytes]) -> None:
    async def main() -> None:
        async with Loose() as server:
            transport = transport_of(connections=1)
            await is_said_to_an_idle_connection(server, transport, pieces)
            server.writers[0].close()
            await transport.linger()
            feed = await drained(transport, Feed([server.ask(1), server.ask(2)]))
            assert right(feed) and (server.connections, transport.unasked) == ([1, 2], 0)
            await transport.close()

    asyncio.run(main())


@pytest.mark.parametrize("pieces", NO_CLOSING)
def test_an_error_after_which_the_connection_stays_is_an_answer_that_nobody_asked_for(pieces: Sequence[bytes]) -> None:
    async def main() -> None:
        async with Loose() as server:
            transport = transport_of(connections=1)
            await is_said_to_an_idle_connection(server, transport, pieces)
            await until(lambda: "0 open" in repr(transport))  # meanwhile it is not used
            feed = await drained(transport, Feed([server.ask(1)]))
            assert right(feed) and server.connections == [1, 1]
            await transport.linger()
            assert transport.unasked == 1
            await transport.close()

    asyncio.run(main())


def test_another_answer_after_such_an_error_is_known_at_once() -> None:
    async def main() -> None:
        async with Loose() as server:
            transport = transport_of(connections=1)
            await is_said_to_an_idle_connection(server, transport, NO_CLOSING[0])
            server.writers[0].write(whole(b"of nobody"))
            server.writers[0].close()
            await until(lambda: transport.unasked == 1)
            await transport.close()

    asyncio.run(main())


def test_a_transport_that_is_closed_meanwhile_leaves_nothing_behind() -> None:
    async def main() -> None:
        async with Loose() as server:
            transport = transport_of(connections=1)
            await is_said_to_an_idle_connection(server, transport, NO_CLOSING[0])
            await transport.close()
            await transport.linger()
            assert transport.unasked == 0

    asyncio.run(main())


def test_how_long_it_is_waited_for() -> None:
    assert linger_seconds(100.0, []) == 0.0
    assert linger_seconds(100.0, [(100.0, 0.001)]) == pytest.approx(0.05)
    assert linger_seconds(100.0, [(99.99, 0.001), (99.0, 0.02)]) == pytest.approx(0.04)
    assert linger_seconds(100.0, [(100.0, 0.001), (99.0, 0.3)]) == pytest.approx(0.6)
    assert linger_seconds(100.0, [(100.0, 20.0)]) == 5.0
    assert linger_seconds(100.0, [(90.0, 20.0)]) == 0.0
