"""The proxy passes requests on, in both forms, and notes what it saw."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request

import pytest
import trustme

from harvester.testing import FaultyService, ProxyServer
from harvester.tiling.tile import Tile


def fetch(url: str, proxy: str, context: ssl.SSLContext | None = None) -> bytes:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({"http": proxy, "https": proxy})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    with urllib.request.build_opener(*handlers).open(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body


def test_plain_requests_are_passed_on() -> None:
    with FaultyService() as service, ProxyServer() as proxy:
        assert fetch(f"{service.url}/tile/3/1/2", proxy.url) == service.site.body(Tile(3, 1, 2))
        (passage,) = proxy.passages
        assert (passage.method, passage.target) == ("GET", f"{service.url}/tile/3/1/2")
        assert "proxy-authorization" not in service.log[0].headers


def test_tls_goes_through_a_tunnel() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with FaultyService(ssl_context=server) as service, ProxyServer() as proxy:
        assert fetch(f"{service.url}/tile/3/1/2", proxy.url, trust) == service.site.body(Tile(3, 1, 2))
        (passage,) = proxy.passages
        assert (passage.method, passage.target) == ("CONNECT", f"localhost:{service.port}")


def test_a_name_that_does_not_resolve_can_be_routed() -> None:
    with FaultyService() as service, ProxyServer(routes={"gis.test": ("127.0.0.1", service.port)}) as proxy:
        assert fetch(f"http://gis.test{service.site.path}/tile/3/1/2", proxy.url)[:4] == b"\x89PNG"
        assert service.log[0].headers["host"] == "gis.test"


def test_without_its_password_nobody_passes() -> None:
    with FaultyService() as service, ProxyServer(credentials="me:canary") as proxy:
        with pytest.raises(urllib.error.HTTPError) as caught:
            fetch(f"{service.url}/tile/3/1/2", proxy.url)
        caught.value.close()
        assert caught.value.code == 407
        assert len(service.log) == 0
        named = proxy.url.replace("http://", "http://me:canary@")
        assert fetch(f"{service.url}/tile/3/1/2", named)[:4] == b"\x89PNG"
        assert not any(name.startswith("proxy-") for name in service.log[0].headers)
        assert [passage.allowed for passage in proxy.passages] == [False, True]


def test_a_far_end_that_is_not_there_is_502() -> None:
    with FaultyService() as gone:
        pass
    with ProxyServer() as proxy:
        with pytest.raises(urllib.error.HTTPError) as caught:
            fetch(f"{gone.url}/tile/3/1/2", proxy.url)
        caught.value.close()
        assert caught.value.code == 502
