"""The fault server as a server: connections, pipelines, capacity, TLS, loops and threads."""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
import threading
from contextlib import suppress

import pytest
import trustme
from PIL import Image

from harvester.testing import ArcGisSite, Capacity, FaultyService, Rule, Script, schemes
from harvester.testing.images import address_of
from harvester.tiling.tile import Tile
from tests.testing.raw import PATIENCE, TILE, WHOLE, Client, serving, split


def test_without_rules_every_tile_comes_whole_over_one_connection() -> None:
    with serving() as (service, client):
        for row in range(30):
            client.ask(Tile(5, row, 7))
            status, headers, body = client.answer()
            assert (status, headers["content-type"]) == (200, "image/png")
            assert address_of(body) == (Tile(5, row, 7), 0)
        assert [asked.serial_on_connection for asked in service.log] == list(range(1, 31))
        assert service.log.connections == 1
        assert service.log[0].answer == f"200 image/png {len(WHOLE)}"


def test_pipelined_requests_are_answered_in_order() -> None:
    with serving(Rule(do="answer", delay=0.01, rows="0")) as (_, client):
        for row in range(5):
            client.ask(Tile(5, row, 0))
        assert [address_of(client.answer()[2]) for _ in range(5)] == [(Tile(5, row, 0), 0) for row in range(5)]


def test_a_client_that_asks_to_close_is_obeyed() -> None:
    for rules in ((), (Rule(do="answer", delay=0.001),)):
        with serving(*rules) as (_, client):
            client.ask(TILE, "Connection: close")
            assert split(client.all())[1] == WHOLE


def test_no_request_is_answered_with_400() -> None:
    with serving() as (service, client):
        client.socket.sendall(b"HELO there my dear friend\r\n\r\n")
        assert client.all().startswith(b"HTTP/1.1 400 ")
        assert len(service.log) == 0


def test_tls_speaks_the_same() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with FaultyService(None, Script(rules=(Rule(do="reset_before", tries="2"),)), ssl_context=server) as service:
        assert service.url.startswith("https://localhost:")
        raw = socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE)
        with trust.wrap_socket(raw, server_hostname="localhost") as wrapped:
            client = Client.__new__(Client)
            client.service, client.socket = service, wrapped
            client.ask()
            assert client.answer()[2] == WHOLE
            client.ask()
            # Below TLS, whose own reader may call a reset an end of file.
            with pytest.raises(ConnectionResetError):
                while socket.socket.recv(wrapped, 1 << 16):
                    pass


def test_it_runs_in_the_callers_loop_too() -> None:
    async def run() -> bytes:
        async with FaultyService() as service:
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(f"GET {service.site.path}/tile/{TILE} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            await service.stop()
            return split(answer)[1]

    assert asyncio.run(run()) == WHOLE


def test_stopping_ends_what_stalls() -> None:
    service = FaultyService(None, Script(rules=(Rule(do="stall"),)))
    with service:
        client = Client(service)
        client.ask()
        client.socket.settimeout(0.01)
        while not service.log.in_progress:
            with suppress(TimeoutError):
                client.socket.recv(1)
    client.socket.close()
    assert service.log[0].answer == "stall; the client left"


def test_beyond_the_knee_the_server_is_busy() -> None:
    script = Script(capacity=Capacity(concurrent=3, retry_after=2), latency=0.3)
    with FaultyService(None, script) as service:
        clients = [Client(service) for _ in range(5)]
        for row, client in enumerate(clients):
            client.ask(Tile(5, row, 0))
        answers = [client.answer() for client in clients]
        for client in clients:
            client.socket.close()
        assert sorted(status for status, _, _ in answers) == [200, 200, 200, 429, 429]
        assert {headers.get("retry-after") for status, headers, _ in answers if status == 429} == {"2"}
        assert service.log.max_concurrency("tile") == 5
        assert service.log.max_connections == 5


def test_beyond_its_rate_the_server_is_busy() -> None:
    times = iter(0.1 * step for step in range(100))
    script = Script(capacity=Capacity(rate=4, beyond="503"))
    with FaultyService(None, script, clock=lambda: next(times)) as service:
        client = Client(service)
        statuses = []
        for row in range(9):
            client.ask(Tile(5, row, 0))
            statuses.append(client.answer()[0])
        client.socket.close()
        # The clock is read as a request comes and as it ends: they come 0.2 s apart, so five lie in any second.
        assert statuses == [200] * 4 + [503] * 5
        assert service.log.max_in_window(1.0, "tile") == 5


def test_the_knee_is_for_tiles_not_for_documents() -> None:
    with serving(capacity=Capacity(concurrent=0)) as (service, client):
        client.send(service.site.path + "?f=json")
        assert client.answer()[0] == 200
        client.ask()
        assert client.answer()[0] == 429


def test_a_server_that_cannot_start_says_why_and_leaves_no_thread() -> None:
    with FaultyService() as service:
        other = FaultyService(port=service.port)
        with pytest.raises(OSError), other:
            pass
        assert [thread.name for thread in threading.enumerate()].count("FaultyService") == 1


def test_a_rule_holds_for_its_time_only() -> None:
    times = iter(0.5 * step for step in range(100))
    with FaultyService(
        None, Script(rules=(Rule(do="empty", since=1.0, until=3.0),)), clock=lambda: next(times)
    ) as service:
        client = Client(service)
        sizes = []
        for row in range(5):
            client.ask(Tile(5, row, 0))
            sizes.append(len(client.answer()[2]))
        client.socket.close()
        assert [size > 0 for size in sizes] == [True, False, False, True, True]


def test_a_new_script_holds_from_then_on() -> None:
    with serving() as (service, client):
        client.ask()
        assert client.answer()[0] == 200
        service.script = Script(rules=(Rule(do="status", status=503, times=1),))
        statuses = []
        for _ in range(2):
            client.ask()
            statuses.append(client.answer()[0])
        assert statuses == [503, 200]
        assert [asked.try_number for asked in service.log.requests_of(TILE)] == [1, 2, 3]


def test_other_grids_are_served() -> None:
    for grid in schemes.GRIDS.values():
        site = ArcGisSite(grid=grid, format="JPEG")
        with serving(site=site) as (_, client):
            client.ask(Tile(0, 1, 2))
            picture = Image.open(io.BytesIO(client.answer()[2]))
            assert picture.format == "JPEG"
            assert picture.size == (grid.scheme.tile_width, grid.scheme.tile_height)
