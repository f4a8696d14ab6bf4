"""What every transport promises, against a real server that misbehaves on purpose.

A test module makes a class of it: ``class TestSession(TransportContract): make = staticmethod(...)``.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from harvester.edges import MAX_TILE_BYTES, Answer, Fault, Host, Request, Transport, Wait
from harvester.testing import ArcGisSite, FaultyService, Rule, Script
from harvester.tiling.tile import Tile
from harvester.transport.retry_after import retry_after
from tests.contracts.out_of_step import Late, Loose, whole

LEVEL = 10
PATIENCE = 10.0
"""Seconds after which a hanging test fails, less than any keep-alive; nothing in a passing one waits for it."""


def host_of(service: FaultyService, *headers: tuple[str, str]) -> Host:
    scheme, _, place = service.origin.partition("://")
    return Host(scheme=scheme, name=place.rpartition(":")[0], port=service.port, headers=headers)


def ask(service: FaultyService, row: int, col: int = 0, host: Host | None = None) -> Request:
    tile = Tile(LEVEL, row, col)
    return Request(host or host_of(service), f"{service.site.path}/tile/{LEVEL}/{row}/{col}", tile)


class Feed:
    """The engine's side of ``drain``: gives what it is told to, counts what is in flight, keeps every answer."""

    def __init__(self, items: Iterable[Request | Wait]) -> None:
        self.items: deque[Request | Wait] = deque(items)
        self.answers: list[tuple[Request, Answer]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.calls = 0
        self.open = False
        """True: an empty feed waits to be woken; False: it ends."""
        self.on_done: Callable[[Request, Answer], None] = lambda request, answer: None

    def next(self) -> Request | Wait | None:
        self.calls += 1
        if not self.items:
            return Wait(None) if self.open or self.in_flight else None
        item = self.items.popleft()
        if isinstance(item, Request):
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return item

    def done(self, request: Request, answer: Answer) -> None:
        self.in_flight -= 1
        self.answers.append((request, answer))
        self.on_done(request, answer)

    @property
    def counts(self) -> Counter[Tile]:
        return Counter(request.tile for request, _ in self.answers)

    def only(self) -> Answer:
        ((_, answer),) = self.answers
        return answer


async def drained(transport: Transport, feed: Feed) -> Feed:
    async with asyncio.timeout(PATIENCE):
        await transport.drain(feed.next, feed.done)
    return feed


def right(feed: Feed) -> bool:
    """True when a ``Loose`` server's answers went to the requests they are of."""
    return all(answer.body == request.path.encode() for request, answer in feed.answers)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():
            await asyncio.sleep(0.001)


class TransportContract:
    """Override ``make``: a transport of so many connections, with a timeout in seconds and a CA file."""

    @staticmethod
    def make(
        *,
        connections: int = 8,
        timeout_seconds: float = 10.0,
        patience_seconds: float = 10.0,
        ca_bundle: Path | None = None,
    ) -> Transport:
        raise NotImplementedError

    async def _drain(self, feed: Feed, **options: Any) -> Feed:
        transport = self.make(**options)
        try:
            async with asyncio.timeout(PATIENCE):
                await transport.drain(feed.next, feed.done)
        finally:
            await transport.close()
        return feed

    def _one(self, rule: Rule | None, *, site: ArcGisSite | None = None, **options: Any) -> Answer:
        """The answer to one request under one rule."""

        async def main() -> Answer:
            async with FaultyService(site, Script(rules=(rule,)) if rule else None) as service:
                return (await self._drain(Feed([ask(service, 1)]), **options)).only()

        return asyncio.run(main())

    # ---- each request exactly once, never more than so many at a time

    def test_each_request_is_answered_exactly_once_with_its_own_bytes(self) -> None:
        async def main() -> None:
            async with FaultyService() as service:
                feed = await self._drain(Feed(ask(service, row, col) for row in range(15) for col in range(20)))
                assert set(feed.counts.values()) == {1} and len(feed.answers) == 300
                assert all(answer.body == service.site.body(request.tile) for request, answer in feed.answers)
                assert service.log.count("tile") == 300

        asyncio.run(main())

    def test_no_more_requests_are_in_flight_than_there_are_connections(self) -> None:
        async def main() -> None:
            async with FaultyService() as service:
                feed = await self._drain(Feed(ask(service, row) for row in range(60)), connections=5)
                assert feed.most_in_flight == 5
                assert service.log.max_concurrency() <= 5
                assert service.log.max_connections <= 5

        asyncio.run(main())

    def test_connections_are_kept_from_request_to_request(self) -> None:
        async def main() -> None:
            async with FaultyService() as service:
                await self._drain(Feed(ask(service, row) for row in range(40)), connections=4)
                assert service.log.connections <= 4

        asyncio.run(main())

    def test_an_empty_drain_ends_and_may_be_followed_by_another(self) -> None:
        async def main() -> None:
            async with FaultyService() as service:
                transport = self.make()
                for rows in (0, 3, 0, 2):
                    feed = Feed(ask(service, row) for row in range(rows))
                    async with asyncio.timeout(PATIENCE):
                        await transport.drain(feed.next, feed.done)
                    assert len(feed.answers) == rows
                await transport.close()
                await transport.close()

        asyncio.run(main())

    # ---- waiting

    def test_an_idle_transport_asks_again_when_it_is_woken_and_not_before(self) -> None:
        async def main() -> None:
            async with FaultyService() as service:
                transport = self.make(connections=4)
                feed = Feed([])
                feed.open = True
                async with asyncio.timeout(PATIENCE):
                    drain = asyncio.create_task(transport.drain(feed.next, feed.done))
                    while not feed.calls:
                        await asyncio.sleep(0)
                    for _ in range(50):
                        await asyncio.sleep(0)
                    assert feed.calls == 1, "a Wait holds for every idle lane"
                    feed.items.extend(ask(service, row) for row in range(3))
                    feed.open = False
                    transport.wake()
                    await drain
                assert len(feed.answers) == 3
                await transport.close()

        asyncio.run(main())

    def test_waking_starts_as_many_requests_as_there_are_idle_lanes(self) -> None:
        async def main() -> None:
            async with FaultyService(script=Script(rules=(Rule(do="stall"),))) as service:
                transport = self.make(connections=3, timeout_seconds=0.3)
                feed = Feed([])
                feed.open = True
                async with asyncio.timeout(PATIENCE):
                    drain = asyncio.create_task(transport.drain(feed.next, feed.done))
                    while not feed.calls:
                        await asyncio.sleep(0)
                    feed.items.extend(ask(service, row) for row in range(7))
                    feed.open = False
                    transport.wake()
                    await drain
                assert feed.most_in_flight == 3 and len(feed.answers) == 7
                await transport.close()

        asyncio.run(main())

    def test_a_wait_ends_by_itself_after_its_seconds(self) -> None:
        async def main() -> None:
            async with FaultyService() as service:
                feed = await self._drain(Feed([Wait(0.01), ask(service, 1), Wait(0.0), ask(service, 2)]), connections=3)
                assert sorted(feed.counts) == [Tile(LEVEL, 1, 0), Tile(LEVEL, 2, 0)]

        asyncio.run(main())

    def test_an_answer_lets_idle_lanes_ask_again(self) -> None:
        async def main() -> None:
            async with FaultyService() as service:
                feed = Feed([ask(service, 0), Wait(None)])

                def more(request: Request, answer: Answer) -> None:
                    if request.tile.row == 0:
                        feed.items.extend(ask(service, row) for row in range(1, 9))

                feed.on_done = more
                await self._drain(feed, connections=4)
                assert len(feed.answers) == 9
                assert feed.most_in_flight == 4, "all idle lanes, not only the one that ended"

        asyncio.run(main())

    # ---- answers as they are

    def test_status_headers_and_body_arrive_as_sent(self) -> None:
        answer = self._one(Rule(do="status", status=503, retry_after=7, text="busy"))
        assert (answer.status, answer.body, answer.fault) == (503, b"busy", None)
        assert answer.headers["retry-after"] == "7"
        assert answer.delimited and answer.seconds >= 0.0
        assert self._one(Rule(do="answer", headers={"X-Part": "One"})).headers["x-part"] == "One"

    @pytest.mark.parametrize("act", ["chunked", "close_announced", "close_after", "informational", "wrong_type"])
    def test_legal_framings_give_the_whole_body(self, act: str) -> None:
        site = ArcGisSite()
        answer = self._one(Rule(do=act), site=site)
        assert (answer.status, answer.fault, answer.delimited) == (200, None, True)
        assert answer.body == site.body(Tile(LEVEL, 1, 0))

    def test_a_body_that_only_the_closed_connection_ends_is_marked(self) -> None:
        site = ArcGisSite()
        answer = self._one(Rule(do="unframed"), site=site)
        assert answer.body == site.body(Tile(LEVEL, 1, 0)) and answer.fault is None
        assert not answer.delimited

    def test_a_body_cut_without_a_length_is_marked_as_unproven(self) -> None:
        answer = self._one(Rule(do="truncate_unframed"))
        assert answer.fault is Fault.TRUNCATED or not answer.delimited

    @pytest.mark.parametrize("act", ["no_content", "empty"])
    def test_an_answer_without_a_body_is_an_answer(self, act: str) -> None:
        answer = self._one(Rule(do=act))
        assert answer.body == b"" and answer.fault is None and answer.delimited

    def test_304_is_an_answer_and_the_condition_is_sent(self) -> None:
        async def main() -> None:
            async with FaultyService() as service:
                first = (await self._drain(Feed([ask(service, 1)]))).only()
                again = ask(service, 1)._replace(headers=(("If-None-Match", first.headers["etag"]),))
                answer = (await self._drain(Feed([again]))).only()
                assert (answer.status, answer.body, answer.fault) == (304, b"", None)

        asyncio.run(main())

    @pytest.mark.parametrize("to", ["loop", "login", "file:///etc/passwd", "http://127.0.0.1:1/elsewhere"])
    def test_a_redirect_is_an_answer_and_is_not_followed(self, to: str) -> None:
        async def main() -> None:
            async with FaultyService(script=Script(rules=(Rule(do="redirect", to=to),))) as service:
                answer = (await self._drain(Feed([ask(service, 1)]))).only()
                assert answer.status == 302 and answer.fault is None
                assert len(service.log) == 1

        asyncio.run(main())

    def test_of_two_retry_after_headers_none_is_lost(self) -> None:
        answer = self._one(Rule(do="status", status=503, retry_after="3\r\nRetry-After:  7 \r\nretry-after: soon"))
        assert retry_after(answer.headers) == 7.0

    def test_a_body_that_was_gzipped_unasked_arrives_unpacked(self) -> None:
        site = ArcGisSite()
        answer = self._one(Rule(do="gzip"), site=site)
        assert answer.body == site.body(Tile(LEVEL, 1, 0)) and answer.fault is None
        assert "content-encoding" not in answer.headers

    def test_a_body_that_was_asked_for_gzipped_is_kept_as_received(self) -> None:
        async def main() -> None:
            async with FaultyService(script=Script(rules=(Rule(do="gzip"),))) as service:
                request = ask(service, 1, host=host_of(service, ("Accept-Encoding", "gzip")))
                answer = (await self._drain(Feed([request]))).only()
                assert answer.body[:2] == b"\x1f\x8b" and answer.headers["content-encoding"] == "gzip"

        asyncio.run(main())

    @pytest.mark.parametrize("asked", [(), (("Accept-Encoding", "gzip"),)])
    def test_a_body_that_came_deflated_arrives_unpacked_whatever_was_asked_for(
        self, asked: tuple[tuple[str, str], ...]
    ) -> None:
        async def main() -> None:
            async with FaultyService(script=Script(rules=(Rule(do="deflate"),))) as service:
                answer = (await self._drain(Feed([ask(service, 1, host=host_of(service, *asked))]))).only()
                assert answer.body == service.site.body(Tile(LEVEL, 1, 0)) and answer.fault is None
                assert "content-encoding" not in answer.headers

        asyncio.run(main())

    @pytest.mark.parametrize(("coding", "fault"), [("br", Fault.PROTOCOL), ("zstd", Fault.PROTOCOL), ("utf-8", None)])
    def test_another_coding_than_the_gzip_that_was_asked_for_is_named(self, coding: str, fault: Fault | None) -> None:
        async def main() -> None:
            rule = Rule(do="answer", headers={"Content-Encoding": coding})
            async with FaultyService(script=Script(rules=(rule,))) as service:
                request = ask(service, 1, host=host_of(service, ("Accept-Encoding", "gzip")))
                answer = (await self._drain(Feed([request]))).only()
                assert answer.fault is fault
                assert answer.detail == (f"content encoding {coding!r} was not asked for" if fault else "")

        asyncio.run(main())

    # ---- faults

    @pytest.mark.parametrize(
        ("rule", "faults"),
        [
            (Rule(do="truncate"), {Fault.TRUNCATED}),
            (Rule(do="truncate", at=0), {Fault.TRUNCATED}),
            (Rule(do="truncate_chunked"), {Fault.TRUNCATED}),
            (Rule(do="bad_chunk"), {Fault.PROTOCOL, Fault.TRUNCATED}),
            (Rule(do="bad_length"), {Fault.PROTOCOL}),
            (Rule(do="broken_gzip"), {Fault.PROTOCOL}),
            (Rule(do="garbage"), {Fault.PROTOCOL}),
            (Rule(do="big_header"), {Fault.PROTOCOL}),
            (Rule(do="reset_before"), {Fault.RESET}),
            (Rule(do="close_before"), {Fault.RESET}),
            (Rule(do="reset_inside"), {Fault.RESET, Fault.TRUNCATED}),
        ],
        ids=lambda value: f"{value.do}-{value.at}" if isinstance(value, Rule) else "",
    )
    def test_a_broken_answer_is_a_fault(self, rule: Rule, faults: set[Fault]) -> None:
        answer = self._one(rule)
        assert answer.fault in faults
        assert "127.0.0.1" not in answer.detail and "/tile/" not in answer.detail

    @pytest.mark.parametrize("act", ["stall", "stall_inside", "drip", "drip_head"])
    def test_an_answer_that_takes_too_long_is_a_timeout(self, act: str) -> None:
        answer = self._one(Rule(do=act, seconds=0 if "stall" in act else 0.02), timeout_seconds=0.2)
        assert answer.fault is Fault.TIMEOUT

    def test_a_body_that_only_drips_is_a_timeout_long_before_the_deadline(self) -> None:
        answer = self._one(Rule(do="drip", seconds=0.02), timeout_seconds=600, patience_seconds=0.5)
        assert (answer.fault, answer.detail) == (Fault.TIMEOUT, "less than 100 bytes a second")

    def test_a_slow_server_is_waited_for_and_so_is_a_slow_body_above_the_least_rate(self) -> None:
        late = self._one(Rule(do="answer", delay=0.6), patience_seconds=0.1)
        slow = self._one(Rule(do="drip", bytes=200, seconds=0.1), patience_seconds=0.1)
        assert late.fault is slow.fault is None

    def test_a_closed_port_is_a_connect_fault(self) -> None:
        async def main() -> None:
            async with FaultyService() as service:
                request = ask(service, 1)
            answer = (await self._drain(Feed([request]))).only()
            assert answer.fault is Fault.CONNECT and answer.status == 0

        asyncio.run(main())

    def test_a_name_that_does_not_exist_is_a_dns_fault(self) -> None:
        async def main() -> None:
            request = Request(Host(scheme="http", name="no-such-host.invalid", port=80), "/tile/1/1/1", Tile(1, 1, 1))
            answer = (await self._drain(Feed([request]))).only()
            assert answer.fault is Fault.DNS

        asyncio.run(main())

    def test_a_connection_that_died_while_idle_costs_its_own_request_at_most(self) -> None:
        rules = (Rule(do="close_before", on_connection="2-", times=1),)

        async def main() -> None:
            async with FaultyService(script=Script(rules=rules)) as service:
                feed = await self._drain(Feed(ask(service, row) for row in range(6)), connections=1)
                faults = [answer.fault for _, answer in feed.answers if answer.fault]
                assert len(feed.answers) == 6 and faults == [Fault.RESET]
                assert service.log.count("tile") == 6, "nothing is asked twice unless the engine says so"

        asyncio.run(main())

    def test_bytes_after_an_answer_never_become_another_tile(self) -> None:
        rules = (Rule(do="overlong", times=1),)

        async def main() -> None:
            async with FaultyService(script=Script(rules=rules)) as service:
                feed = await self._drain(Feed(ask(service, row) for row in range(5)), connections=1)
                assert len(feed.answers) == 5
                for request, answer in feed.answers:
                    assert answer.fault is not None or answer.body == service.site.body(request.tile)

        asyncio.run(main())

    # ---- answers that nobody asked for

    def test_an_answer_that_nobody_asked_for_is_no_tile_and_ends_the_keeping_of_connections(self) -> None:
        async def main() -> None:
            async with Loose() as server:
                transport = self.make(connections=1)
                await drained(transport, Feed([server.ask(0), server.ask(1)]))
                assert (server.connections, transport.unasked) == ([2], 0)
                server.writers[0].write(whole(b"of nobody"))
                await until(lambda: transport.unasked == 1)
                feed = await drained(transport, Feed([server.ask(row) for row in range(2, 5)]))
                assert right(feed) and server.connections == [2, 1, 1, 1] and transport.unasked == 1
                transport.rebuild()
                feed = await drained(transport, Feed([server.ask(5), server.ask(6)]))
                assert right(feed) and server.connections == [2, 1, 1, 1, 1, 1] and transport.unasked == 1
                await transport.close()

        asyncio.run(main())

    def test_an_answer_too_many_that_comes_late_is_waited_for_in_proportion_to_what_answers_take(self) -> None:
        async def main() -> None:
            async with Late(seconds=0.3) as server:
                transport = self.make(connections=1)
                feed = await drained(transport, Feed([server.ask(0), server.ask(1)]))
                assert not right(feed) and transport.unasked == 0
                await transport.linger()
                assert transport.unasked == 1
                await transport.close()

        asyncio.run(main())

    # ---- caps

    def test_an_endless_body_is_too_large(self) -> None:
        assert self._one(Rule(do="endless")).fault is Fault.TOO_LARGE

    def test_a_body_whose_length_is_too_large_is_not_read(self) -> None:
        answer = self._one(Rule(do="bad_length", text=str(MAX_TILE_BYTES + 1)))
        assert answer.fault is Fault.TOO_LARGE

    def test_a_gzip_bomb_is_too_large(self) -> None:
        assert self._one(Rule(do="gzip_bomb", bytes=40_000_000)).fault is Fault.TOO_LARGE

    # ---- hosts

    def test_headers_of_one_host_never_reach_another(self) -> None:
        async def main() -> None:
            async with FaultyService() as one, FaultyService() as other:
                feed = Feed([])
                for row in range(10):
                    feed.items.append(ask(one, row, host=host_of(one, ("X-Esri-Authorization", "Bearer canary"))))
                    feed.items.append(ask(other, row))
                await self._drain(feed, connections=3)
                assert all("canary" in asked.headers["x-esri-authorization"] for asked in one.log)
                assert len(other.log) == 10 and not any(b"canary" in asked.raw for asked in other.log)

        asyncio.run(main())

    def test_each_request_says_who_asks_and_where(self) -> None:
        async def main() -> None:
            async with FaultyService() as service:
                await self._drain(Feed([ask(service, 1)]))
                headers = service.log[0].headers
                assert headers["user-agent"].startswith("harvester/")
                assert headers["host"] == f"127.0.0.1:{service.port}"
                assert headers["accept-encoding"] == "identity"
                assert "cookie" not in headers

        asyncio.run(main())

    def test_cookies_are_not_kept(self) -> None:
        rule = Rule(do="answer", headers={"Set-Cookie": "session=canary; Path=/"})

        async def main() -> None:
            async with FaultyService(script=Script(rules=(rule,))) as service:
                named = replace(host_of(service), name="localhost")
                feed = await self._drain(Feed(ask(service, row, host=named) for row in range(4)), connections=1)
                assert all("set-cookie" in answer.headers for _, answer in feed.answers)
                assert not any("cookie" in asked.headers for asked in service.log)

        asyncio.run(main())

    def test_a_path_is_sent_as_it_is(self) -> None:
        async def main() -> None:
            async with FaultyService() as service:
                path = f"{service.site.path}/tile/1/2/3?token=a%2Bb%2F%3D&q=%C3%A9%7Bx%7D"
                await self._drain(Feed([Request(host_of(service), path, Tile(1, 2, 3))]))
                assert service.log[0].target == path

        asyncio.run(main())

    # ---- TLS

    @staticmethod
    def _authority(folder: Path) -> tuple[ssl.SSLContext, Path]:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        bundle = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(bundle))
        return context, bundle

    def test_an_unknown_authority_is_refused(self, tmp_path: Path) -> None:
        context, _ = self._authority(tmp_path)

        async def main() -> None:
            async with FaultyService(ssl_context=context) as service:
                answer = (await self._drain(Feed([ask(service, 1)]))).only()
                assert answer.fault is Fault.TLS and "certificate" in answer.detail
                assert len(service.log) == 0

        asyncio.run(main())

    def test_a_named_authority_is_trusted_and_only_for_its_names(self, tmp_path: Path) -> None:
        context, bundle = self._authority(tmp_path)

        async def main() -> None:
            async with FaultyService(ssl_context=context) as service:
                good = ask(service, 1)
                wrong_name = good._replace(host=replace(good.host, name="127.0.0.1"), tile=Tile(LEVEL, 2, 0))
                feed = await self._drain(Feed([good, wrong_name]), ca_bundle=bundle)
                by_tile = {request.tile.row: answer for request, answer in feed.answers}
                assert by_tile[1].status == 200 and by_tile[2].fault is Fault.TLS

        asyncio.run(main())

    # ---- stopping

    def test_rebuilding_ends_what_is_in_flight_and_goes_on_with_new_connections(self) -> None:
        rules = (Rule(do="stall", requests="1-4"),)

        async def main() -> None:
            async with FaultyService(script=Script(rules=rules)) as service:
                transport = self.make(connections=4)
                feed = Feed(ask(service, row) for row in range(12))
                async with asyncio.timeout(PATIENCE):
                    drain = asyncio.create_task(transport.drain(feed.next, feed.done))
                    while service.log.count("tile") < 4:
                        await asyncio.sleep(0.001)
                    transport.rebuild()
                    await drain
                faults = Counter(answer.fault for _, answer in feed.answers)
                assert faults == {Fault.RESET: 4, None: 8}
                assert service.log.connections > 4
                await transport.close()

        asyncio.run(main())

    def test_cancelling_closes_every_connection_busy_or_idle_and_says_no_more(self) -> None:
        async def main() -> None:
            async with FaultyService(script=Script(rules=(Rule(do="stall", requests="7-8"),))) as service:
                transport = self.make(connections=4)
                feed = Feed(ask(service, row) for row in range(8))
                drain = asyncio.create_task(transport.drain(feed.next, feed.done))
                async with asyncio.timeout(PATIENCE):
                    while service.log.count("tile") < 8:
                        await asyncio.sleep(0.001)
                    while len(feed.answers) < 6:
                        await asyncio.sleep(0.001)
                    drain.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await drain
                    answered, calls = len(feed.answers), feed.calls
                    while service.log.open_connections:
                        await asyncio.sleep(0.001)
                assert (len(feed.answers), feed.calls) == (answered, calls)
                await transport.close()

        asyncio.run(main())
