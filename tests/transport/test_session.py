"""Documents over a real connection: proxies, trust, caps, retries, and errors in words without a secret."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from harvester.edges import MAX_TILE_BYTES, Answer, Fault, Host, Request
from harvester.errors import AuthError, SourceError, UsageError
from harvester.job import Job, Limits
from harvester.redact import redact_text
from harvester.testing import FaultyService, Rule, Script
from harvester.tiling.tile import Tile
from harvester.transport.documents import DOCUMENT_TRIES, MAX_RETRY_AFTER_SECONDS
from harvester.transport.refusals import DeniedError, DocumentError, failure
from harvester.transport.session import Access, Session, SessionTransport
from tests.contracts.transport_contract import Feed


class Naps:
    """A sleep that only notes how long it was asked to be."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Proxy:
    """A forward proxy: absolute-form requests and CONNECT are passed on to the asked port of 127.0.0.1, or refused."""

    def __init__(self, refuse: int = 0) -> None:
        self.refuse = refuse
        self.heads: list[bytes] = []
        self.server: asyncio.Server | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self.server is not None
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.server.wait_closed()

    @property
    def place(self) -> str:
        assert self.server is not None
        return f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self.serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client or the test has gone
        finally:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self.refuse:
            writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % self.refuse)
            return
        method, target, _ = head.split(b" ", 2)
        place = target if method == b"CONNECT" else target.split(b"/")[2]
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(place.rpartition(b":")[2]))
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            far_writer.write(head.replace(b"http://" + place, b"", 1))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        try:
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        finally:
            far_writer.close()


def tile_of(service: FaultyService, name: str) -> Request:
    scheme = service.origin.partition("://")[0]
    return Request(Host(scheme=scheme, name=name, port=service.port), f"{service.site.path}/tile/3/1/2", Tile(3, 1, 2))


# ---- proxies


def test_documents_and_tiles_go_through_the_proxy_that_is_named() -> None:
    async def main() -> None:
        async with FaultyService() as service, Proxy() as proxy:
            access = Access(proxy=f"http://user:canary@{proxy.place}", environ={"NO_PROXY": "*"})
            async with Session(access) as session:
                value, _ = await session.get_json(f"http://gis.example.org:{service.port}{service.site.path}?f=json")
                assert value["mapName"] == "Layers"
            feed = Feed([tile_of(service, "gis.example.org")])
            transport = SessionTransport(access, connections=2)
            await transport.drain(feed.next, feed.done)
            await transport.close()
            assert feed.only().body == service.site.body(Tile(3, 1, 2))
            assert len(proxy.heads) == 2
            assert all(b"Proxy-Authorization: Basic" in head for head in proxy.heads)

    asyncio.run(main())


def test_https_goes_through_a_tunnel_and_is_verified_end_to_end(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("gis.example.org").configure_cert(context)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))

    async def main() -> None:
        async with FaultyService(ssl_context=context) as service, Proxy() as proxy:
            environ = {"HTTPS_PROXY": f"http://{proxy.place}", "SSL_CERT_FILE": str(bundle)}
            feed = Feed([tile_of(service, "gis.example.org")])
            transport = SessionTransport(Access(environ=environ), connections=2)
            await transport.drain(feed.next, feed.done)
            await transport.close()
            assert feed.only().body == service.site.body(Tile(3, 1, 2))
            assert proxy.heads[0].startswith(b"CONNECT gis.example.org:")
            async with Session(Access(environ={"HTTPS_PROXY": environ["HTTPS_PROXY"]})) as session:
                with pytest.raises(DocumentError) as caught:
                    await session.get_json(f"https://gis.example.org:{service.port}/?f=json")
                assert "certificate" in caught.value.message and "--ca-bundle" in caught.value.hint

    asyncio.run(main())


def test_a_proxy_of_the_environment_is_not_used_for_exempt_hosts() -> None:
    async def main() -> None:
        async with FaultyService() as service, Proxy() as proxy:
            environ = {"http_proxy": proxy.place, "NO_PROXY": "10.0.0.0/8, 127.0.0.1"}
            async with Session(Access(environ=environ)) as session:
                await session.get_json(f"{service.url}?f=json")
            assert proxy.heads == []

    asyncio.run(main())


@pytest.mark.parametrize("refuse", [403, 407])
def test_a_proxy_that_refuses_is_told_without_its_password(refuse: int) -> None:
    async def main() -> None:
        async with FaultyService() as service, Proxy(refuse=refuse) as proxy:
            access = Access(proxy=f"http://user:canary@{proxy.place}", environ={})
            async with Session(access, sleep=Naps()) as session:
                for scheme in ("http", "https"):
                    with pytest.raises(SourceError) as caught:
                        await session.get_json(f"{scheme}://gis.example.org:{service.port}/?f=json")
                    assert str(refuse) in caught.value.message and "canary" not in repr(caught.value)
                    if refuse == 407:
                        assert "--proxy USER:PASSWORD@HOST:PORT" in redact_text(caught.value.hint)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("detail", "words", "remedy"),
    [
        ("certificate has expired", "has expired", "date"),
        ("certificate is not yet valid", "not valid yet", "date"),
        ("Hostname mismatch, certificate is not valid for 'localhost'.", "another name", "name"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "no version of TLS that is safe", "1.2"),
        ("UNSUPPORTED_PROTOCOL", "no version of TLS that is safe", "1.2"),
        ("WRONG_VERSION_NUMBER", "speaks no TLS", "port"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "ends the TLS handshake", "certificate of its clients"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "ends the TLS handshake", "certificate of its clients"),
        ("unable to get local issuer certificate", "can't be verified", "--ca-bundle"),
        ("self-signed certificate", "can't be verified", "--ca-bundle"),
        ("no TLS", "no TLS with it", "port"),
    ],
)
def test_the_remedy_of_tls_fits_what_went_wrong_in_it(detail: str, words: str, remedy: str) -> None:
    error = failure(Answer(0, {}, b"", 0.0, True, Fault.TLS, detail), "https://gis.example.org/?f=json")
    assert words in error.message and detail in error.message and remedy in error.hint
    assert ("--ca-bundle" in error.hint) == (remedy == "--ca-bundle")


def test_a_proxy_that_is_not_there_is_named_as_the_cause() -> None:
    async def main() -> None:
        async with Proxy() as gone:
            place = gone.place
        async with Session(Access(proxy=place, environ={}), sleep=Naps()) as session:
            with pytest.raises(DocumentError, match="the proxy"):
                await session.get_json("http://gis.example.org/?f=json")

    asyncio.run(main())


@pytest.mark.parametrize("proxy", ["socks5://proxy.example.org:1080", "http://", "http://x:99999", "ftp://x"])
def test_a_proxy_that_cannot_be_used_is_bad_usage(proxy: str) -> None:
    with pytest.raises(UsageError, match="--proxy"):
        Session(Access(proxy=proxy, environ={}))


def test_netrc_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login user password canary\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))

    async def main() -> None:
        async with FaultyService() as service:
            async with Session(Access()) as session:
                await session.get_json(f"{service.url}?f=json")
            assert "authorization" not in service.log[0].headers

    asyncio.run(main())


# ---- trust


@pytest.mark.parametrize("option", ["ca_bundle", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_bundle_that_is_not_there_or_no_bundle_is_bad_usage(option: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    for path in (tmp_path / "missing.pem", empty):
        access = Access(ca_bundle=path, environ={}) if option == "ca_bundle" else Access(environ={option: str(path)})
        with pytest.raises(UsageError) as caught:
            Session(access)
        assert str(path) in caught.value.message and caught.value.hint


def test_a_broken_bundle_is_told_with_the_first_tls_and_plain_http_needs_none(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nnot base64 at all\n-----END CERTIFICATE-----\n")

    async def main() -> None:
        async with FaultyService() as service, Session(Access(environ={"SSL_CERT_FILE": str(bundle)})) as session:
            await session.get_json(f"{service.url}?f=json")
            with pytest.raises(UsageError, match="SSL_CERT_FILE"):
                await session.get_json(f"{service.url.replace('http:', 'https:')}?f=json")

    asyncio.run(main())


def test_a_self_signed_server_is_never_trusted_by_default() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)

    async def main() -> None:
        async with FaultyService(ssl_context=context) as service:
            naps = Naps()
            async with Session(Access(environ={}), sleep=naps) as session:
                with pytest.raises(DocumentError) as caught:
                    await session.get_json(f"{service.url}?f=json&token=canary")
            assert "certificate" in caught.value.message and "--ca-bundle" in caught.value.hint
            assert "canary" not in caught.value.message and len(service.log) == 0 and naps.seconds == []

    asyncio.run(main())


# ---- retries and patience


def failing(*rules: Rule, timeout_seconds: float = 5.0) -> tuple[SourceError, Naps, int]:
    """The error of asking for a document under these rules, the waits between tries, and the number of tries."""

    async def main() -> tuple[SourceError, Naps, int]:
        naps = Naps()
        async with FaultyService(script=Script(rules=rules)) as service:
            access = Access(timeout_seconds=timeout_seconds, environ={})
            async with Session(access, sleep=naps, chance=lambda: 1.0) as session:
                with pytest.raises(SourceError) as caught:
                    await session.get_json(f"{service.url}?f=json&token=canary")
                assert session.requests == service.log.count()
            return caught.value, naps, service.log.count()

    error, naps, asked = asyncio.run(main())
    assert "canary" not in f"{error!r} {error.message} {error.hint}"
    return error, naps, asked


def test_waits_between_tries_grow_and_are_few() -> None:
    error, naps, asked = failing(Rule(kind="document", do="status", status=500))
    assert asked == DOCUMENT_TRIES and naps.seconds == [0.5, 1.0, 2.0]
    assert isinstance(error, DocumentError) and error.status == 500


def test_a_short_wait_that_the_server_asks_for_is_kept() -> None:
    _, naps, _ = failing(Rule(kind="document", do="status", status=503, retry_after=7))
    assert naps.seconds == [7.0, 7.0, 7.0]


def test_a_long_wait_that_the_server_asks_for_is_told_instead() -> None:
    seconds = int(MAX_RETRY_AFTER_SECONDS) + 1
    error, naps, asked = failing(Rule(kind="document", do="status", status=503, retry_after=seconds))
    assert asked == 1 and naps.seconds == [] and f"{seconds} seconds" in error.hint


@pytest.mark.parametrize("status", [400, 401, 403, 404, 407, 498, 499])
def test_what_asking_again_will_not_mend_is_asked_once(status: int) -> None:
    error, _, asked = failing(Rule(kind="document", do="status", status=status))
    assert asked == 1 and error.hint
    assert isinstance(error, DeniedError if status in (401, 403, 498, 499) else DocumentError)
    assert isinstance(error, AuthError) == (status in (401, 403, 498, 499))


def test_a_stalling_server_is_given_up_in_time() -> None:
    error, _, asked = failing(Rule(kind="document", do="stall"), timeout_seconds=0.05)
    assert asked == DOCUMENT_TRIES and "in time" in error.message and "--timeout" in error.hint


def test_an_endless_document_is_refused_by_its_size() -> None:
    async def main() -> None:
        endless = Script(rules=(Rule(kind="document", do="endless"),))
        async with FaultyService(script=endless) as service, Session(Access(environ={})) as session:
            with pytest.raises(DocumentError, match="too large"):
                await session.get_bytes(f"{service.url}?f=json", cap=100_000)
            answer = await session.exchange("GET", f"{service.url}?f=json", cap=100_000)
            assert answer.fault is Fault.TOO_LARGE

    asyncio.run(main())


def test_a_packed_document_is_read() -> None:
    async def main() -> None:
        packed = Script(rules=(Rule(kind="document", do="gzip"),))
        async with FaultyService(script=packed) as service, Session(Access(environ={})) as session:
            value, _ = await session.get_json(f"{service.url}?f=json")
            assert value["mapName"] == "Layers"

    asyncio.run(main())


def test_a_document_larger_than_any_tile_is_read_all_the_same() -> None:
    """A web map with drawn features may be; no tile is."""
    body = b'{"text": "' + b"x" * MAX_TILE_BYTES + b'"}'

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Session(Access(environ={})) as session:
            document = await session.get_bytes(f"http://127.0.0.1:{port}/map")
            assert document.body == body

    asyncio.run(main())


@pytest.mark.parametrize(("proxied", "imported"), [(False, "False"), (True, "True")])
def test_a_document_that_no_proxy_leads_to_needs_no_aiohttp(proxied: bool, imported: str) -> None:
    """It takes longer to import than most requests take."""
    code = """
import asyncio, sys
from harvester.transport.session import Access, Session

async def main(url, proxy):
    async with Session(Access(environ={}, proxy=proxy or None)) as session:
        await session.exchange("GET", url, cap=1 << 20)
    print("aiohttp" in sys.modules)

asyncio.run(main(*sys.argv[1:]))
"""
    with FaultyService() as service:
        arguments = [f"{service.url}?f=json", service.origin if proxied else ""]
        ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert (ended.stdout.strip(), ended.stderr) == (imported, "")


# ---- manners


def test_the_agent_names_the_contact() -> None:
    assert Access(contact="gis@example.org").user_agent.endswith("(+gis@example.org)")
    assert Access(contact="a(b)\r\nX-Evil: 1").user_agent.count("\n") == 0
    assert Access(contact="  ").user_agent == Access().user_agent
    job = Job(source="x", contact="me", limits=Limits(timeout_seconds=7.0), allow_hosts=("h",), proxy="http://p:1")
    access = Access.of(job)
    assert (access.contact, access.timeout_seconds, access.allow_hosts, access.proxy) == (
        "me",
        7.0,
        ("h",),
        "http://p:1",
    )


def test_a_form_is_posted_once_and_not_redirected() -> None:
    async def main() -> None:
        rule = Rule(kind="token", do="redirect", to="http://127.0.0.1:1/elsewhere")
        async with FaultyService(script=Script(rules=(rule,))) as service, Session(Access(environ={})) as session:
            with pytest.raises(DocumentError) as caught:
                await session.post_form(f"{service.origin}/arcgis/tokens/generateToken", {"password": "canary"})
            assert "302" in caught.value.message and len(service.log) == 1
            assert service.log[0].form == {"password": "canary"}

    asyncio.run(main())


@pytest.mark.parametrize(
    "location", ["/portal/tokens?token=canary", "", "http://other.example/x?password=canary", "https"]
)
def test_the_remedy_of_a_form_that_is_redirected_is_one(location: str) -> None:
    """No other host is ever asked for a token because --allow-host names it, least of all the same."""
    url = "http://gis.example/arcgis/tokens/generateToken"
    to = url.replace("http", "https", 1) if location == "https" else location
    error = failure(Answer(302, {"location": to}, b"", 0.0), url)
    there = {
        "https": "https://gis.example ",
        "": "same host",
        "/portal/tokens?token=canary": "/portal/tokens of the same host",
    }
    assert there.get(location, "http://other.example ") in error.message
    assert "--token-env" in error.hint and "--allow-host" not in error.hint and "canary" not in error.message
    assert ("https address" in error.hint) is (location == "https")


@pytest.mark.parametrize("way", ["over another host", "within the host", "with another's in it"])
def test_a_token_of_the_query_is_with_a_redirect_that_comes_home(way: str) -> None:
    """As the headers are; the other host sees neither."""

    async def main() -> None:
        async with FaultyService() as service, FaultyService() as other:
            at_home = f"{service.url}?f=json" + ("&TOKEN=theirs" if way == "with another's in it" else "")
            first = f"{other.url}?f=json" if way == "over another host" else at_home
            service.script = Script(rules=(Rule(kind="document", do="redirect", to=first, requests="1"),))
            other.script = Script(rules=(Rule(kind="document", do="redirect", to=at_home),))
            access = Access(environ={}, allow_hosts=(other.origin.partition("://")[2],))
            async with Session(access) as session:
                await session.get_json(f"{service.url}?f=json&token=canary", headers=[("X-Key", "canary")])
            assert len(other.log) == (way == "over another host") and not any(b"canary" in one.raw for one in other.log)
            last = service.log[1]
            assert (last.query.get("token") == "canary") is (way != "with another's in it")
            assert last.headers["x-key"] == "canary" and last.query["f"] == "json"

    asyncio.run(main())
