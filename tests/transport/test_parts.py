"""The pure parts of asking: which proxy, which origin, which trust, and bodies unpacked under a cap."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.transport.bodies import BodyTooLargeError, PackedBodyError, unpack
from harvester.transport.origins import Origin, is_allowed, origin_of, same_site
from harvester.transport.proxies import Proxies

BODY = b"tile " * 5000


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("", BODY),
        ("identity", BODY),
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("X-GZIP", gzip.compress(BODY, mtime=0)),
        ("gzip", gzip.compress(BODY[:9], mtime=0) + gzip.compress(BODY[9:], mtime=0) + b"\0\0"),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
        ("deflate, gzip", gzip.compress(zlib.compress(BODY), mtime=0)),
    ],
)
def test_bodies_come_out_as_they_were(coding: str, packed: bytes) -> None:
    assert unpack(packed, coding, len(BODY)) == BODY
    if coding not in ("", "identity"):
        with pytest.raises(BodyTooLargeError):
            unpack(packed, coding, len(BODY) - 1)


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br"])
def test_a_coding_that_was_not_asked_for_is_refused(coding: str) -> None:
    with pytest.raises(PackedBodyError, match="not asked for"):
        unpack(BODY, coding, 1 << 20)


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, len(gzip.compress(BODY, mtime=0)) - 1), coding=st.sampled_from(["gzip", "deflate"]))
def test_a_cut_body_never_passes_for_a_whole_one(cut: int, coding: str) -> None:
    packed = (gzip.compress(BODY, mtime=0) if coding == "gzip" else zlib.compress(BODY))[:cut]
    if len(packed) == 0:
        assert unpack(packed, coding, 1 << 20) == b""
        return
    if coding == "deflate" and cut >= len(zlib.compress(BODY)):
        return
    with pytest.raises(PackedBodyError):
        unpack(packed, coding, 1 << 20)


def test_a_bomb_is_never_unpacked_beyond_its_cap() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(40)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError):
            unpack(bomb, "gzip", 1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


# ---- origins


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://GIS.example.org/x", Origin("https", "gis.example.org", 443)),
        ("http://gis.example.org:6080", Origin("http", "gis.example.org", 6080)),
        ("http://user:pw@h/x", Origin("http", "h", 80)),
        ("http://[::1]:8080/x", Origin("http", "::1", 8080)),
        ("HTTP://h", Origin("http", "h", 80)),
        ("https://Städte.example.org/x", Origin("https", "xn--stdte-hra.example.org", 443)),
        ("https://h h/x", None),
        ("https://h\\x/x", None),
        ("https://a..b/x", None),
        ("ftp://h/x", None),
        ("file:///etc/passwd", None),
        ("javascript:alert(1)", None),
        ("//h/x", None),
        ("/x", None),
        ("", None),
        ("http://", None),
        ("http://h:99999", None),
        ("http://h:0", None),
        ("http://[::1", None),
    ],
)
def test_origins_of_addresses(url: str, origin: Origin | None) -> None:
    assert origin_of(url) == origin
    if origin is not None:
        assert origin_of(str(origin)) == origin


@pytest.mark.parametrize(
    ("typed", "found", "same"),
    [
        ("https://h/x", "https://h:443/y", True),
        ("http://h/x", "https://h/y", True),
        ("https://h/x", "http://h/y", False),
        ("http://h:8080", "https://h", False),
        ("http://h", "https://h:8443", False),
        ("https://h", "https://h:8443", False),
        ("https://h", "https://other", False),
        ("https://h.example.org", "https://h.example.org.evil.net", False),
    ],
)
def test_the_same_site_is_the_same_origin_or_its_https_twin(typed: str, found: str, same: bool) -> None:
    one, other = origin_of(typed), origin_of(found)
    assert one is not None and other is not None and same_site(one, other) is same


@pytest.mark.parametrize(
    ("allowed", "yes"),
    [
        ("tiles.example.org", True),
        ("TILES.example.org", True),
        ("tiles.example.org:8443", True),
        ("https://tiles.example.org:8443", True),
        ("tiles.example.org:443", False),
        ("https://tiles.example.org", False),
        ("example.org", False),
        ("*.example.org", False),
        ("", False),
    ],
)
def test_allowed_hosts_are_named_exactly(allowed: str, yes: bool) -> None:
    found = origin_of("https://tiles.example.org:8443/x")
    assert found is not None and is_allowed(found, ["other", allowed]) is yes
    assert is_allowed(Origin("http", "::1", 80), ["::1"]) and is_allowed(Origin("http", "::1", 81), ["[::1]:81"])


# ---- proxies


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({}, "https://h", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://h", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://h", None),
        ({"https_proxy": "p:1", "HTTPS_PROXY": "q:1"}, "https://h", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "http://h", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, "http://h", None),
        ({"ALL_PROXY": "http://p:1"}, "https://h", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h"}, "https://h", None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": ".example.org"}, "https://gis.example.org", None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "*.example.org"}, "https://gis.example.org", None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "example.org"}, "https://gis.example.org", None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "example.org"}, "https://badexample.org", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "h:443"}, "https://h", None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "h:8443"}, "https://h", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "10.0.0.0/8"}, "https://10.1.2.3", None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "10.0.0.0/8"}, "https://11.1.2.3", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "::1"}, "https://[::1]:9", None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}, "https://h", None),
    ],
)
def test_the_proxy_of_a_host(environ: dict[str, str], url: str, proxy: str | None) -> None:
    origin = origin_of(url)
    assert origin is not None and Proxies.resolve(None, environ).proxy_for(*origin) == proxy


def test_a_typed_proxy_wins_over_the_environment() -> None:
    proxies = Proxies.resolve("p:3128", {"HTTPS_PROXY": "http://q:1", "NO_PROXY": "*"})
    assert proxies.proxy_for("https", "h", 443) == proxies.proxy_for("http", "h", 80) == "http://p:3128"
    assert "p:3128" not in repr(proxies)
