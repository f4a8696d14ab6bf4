"""Bytes go straight to the socket, all of them and in order, however little it takes at once."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trustme

from harvester.edges import Host, Request
from harvester.tiling.tile import Tile
from harvester.transport.dial import Place
from harvester.transport.lane import Lane
from harvester.transport.sending import NONE, descriptor_of, send
from tests.transport.test_lane import Told

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
if os.name != "nt":
    import uvloop

    LOOPS.append(uvloop.new_event_loop)

REQUEST = Request(Host(scheme="http", name="tiles.example", port=80), "/1", Tile(1, 1, 1))


def in_loop(make: Callable[[], asyncio.AbstractEventLoop], work: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=make) as runner:

        async def whole() -> None:
            await asyncio.wait_for(work(), 120)

        runner.run(whole())


async def connected(**options: object) -> tuple[asyncio.Transport, socket.socket]:
    """A transport with small buffers, and the other end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours = socket.socket()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.connect(listening.getsockname())
        theirs, _ = listening.accept()
    ours.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    return transport, theirs


@pytest.mark.parametrize("make", LOOPS)
@pytest.mark.skipif(os.name == "nt", reason="a socket is no file there")
def test_what_the_socket_does_not_take_at_once_follows_in_order(
    make: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def work() -> None:
        transport, theirs = await connected()
        theirs.setblocking(False)
        data = b"".join(b"%07d\n" % number for number in range(1 << 17))
        descriptor = descriptor_of(transport)
        assert descriptor >= 0
        send(transport, descriptor, data)
        assert 0 < transport.get_write_buffer_size() < len(data), "some of it went straight, the rest is still to go"
        came = b""
        try:
            while len(came) < len(data):
                came += await asyncio.get_running_loop().sock_recv(theirs, 1 << 16)
            assert came == data
        finally:
            transport.abort()
            theirs.close()

    in_loop(make, work)


@pytest.mark.parametrize("make", LOOPS)
def test_a_connection_that_is_gone_is_told_by_the_transport(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def work() -> None:
        transport, theirs = await connected()
        lost = asyncio.get_running_loop().create_future()

        class Ends(asyncio.Protocol):
            def connection_lost(self, exc: Exception | None) -> None:
                lost.set_result(exc)

        transport.set_protocol(Ends())
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()  # resets
        send(transport, descriptor_of(transport), b"GET / HTTP/1.1\r\n\r\n")
        assert isinstance(await lost, OSError)

    in_loop(make, work)


@pytest.mark.parametrize("make", LOOPS)
def test_tls_has_no_descriptor_that_plain_bytes_may_go_to(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)

    async def work() -> None:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=server_tls)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, "127.0.0.1", port, ssl=client_tls, server_hostname="localhost"
        )
        assert descriptor_of(transport) == NONE
        transport.abort()
        server.close()

    in_loop(make, work)


def end_of_file(lane: Lane) -> None:
    lane.eof_received()


def drop(lane: Lane) -> None:
    lane.drop()


def lost(lane: Lane) -> None:
    lane.connection_lost(None)


@pytest.mark.parametrize("end", [end_of_file, drop, lost])
@pytest.mark.skipif(os.name == "nt", reason="a socket is no file there")
def test_nothing_is_written_to_a_descriptor_whose_connection_has_ended(end: Callable[[Lane], None]) -> None:
    """By then it may be that of another file of this process."""
    read, write = os.pipe()

    class Held:
        def fileno(self) -> int:
            return write

    told = Told()
    told.wire._extra = {"socket": Held()}  # type: ignore[attr-defined]
    lane = Lane(told, Place(REQUEST.host))
    lane.send(REQUEST, b"first", False)
    lane.connection_made(told.wire)
    lane.send(REQUEST, b"straight", False)
    assert os.read(read, 100) == b"straight"
    end(lane)
    transport = told.wire
    lane._transport = transport
    lane.send(REQUEST, b"behind the end", False)
    os.close(write)
    assert os.read(read, 100) == b"", "the descriptor was another's by now"
    os.close(read)
