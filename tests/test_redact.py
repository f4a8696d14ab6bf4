"""No secret survives redaction, and what isn't one stays readable."""

from __future__ import annotations

import base64
import json
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.redact import (
    Secrets,
    keep_secret_header,
    keep_secret_login,
    redact_text,
    redact_url,
    scrub,
    scrub_json,
)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/x?f=json&token=canary", "https://h/x?f=json&token=***"),
        ("https://user:canary@h:8443/x", "https://h:8443/x"),
        ("https://canary@h/x", "https://h/x"),
        ("https://h/x?Token=canary&a=1", "https://h/x?Token=***&a=1"),
        ("https://h/x?access_token=canary#token=canary", "https://h/x?access_token=***#token=***"),
        ("https://h/x?X-Amz-Signature=canary&X-Amz-Date=canary", "https://h/x?X-Amz-Signature=***&X-Amz-Date=***"),
        (
            "https://h/x?sig=canary&key=canary&subscription-key=canary",
            "https://h/x?sig=***&key=***&subscription-key=***",
        ),
        ("https://h/x?%74oken=canary", "https://h/x?%74oken=***"),
        ("https://h/x?map_api_key=canary", "https://h/x?map_api_key=***"),
        ("https://h/tile/1/2/3?blankTile=false", "https://h/tile/1/2/3?blankTile=false"),
        ("https://h/x?token=", "https://h/x?token="),
        ("http://[::1:canary?token=canary", "http://[::1:canary"),
        ("map.json", "map.json"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://u:canary@h/x?token=canary failed", "GET https://h/x?token=*** failed"),
        ("token=canary&f=json", "token=***&f=json"),
        # A parser's word for a piece of text, and where it is.
        ("not XML (unclosed token: line 1, column 2)", "not XML (unclosed token: line 1, column 2)"),
        ("token: line1canary", "token: ***"),
        # An address, and what is wrong there.
        ("https://h/sharing/rest/generateToken: the answer broke off",) * 2,
        ("https://h/oauth2/token: no connection (Connect refused)",) * 2,
        ("/generateToken;token=canary", "/generateToken;token=***"),
        ("Authorization: Bearer canary.x-y", "Authorization: Bearer ***"),
        ('{"token": "canary", "expires": 5}', '{"token": "***", "expires": 5}'),
        ("password: canary", "password: ***"),
        ("nothing to hide: 5 tiles at 3/2/1", "nothing to hide: 5 tiles at 3/2/1"),
    ],
)
def test_texts(text: str, shown: str) -> None:
    assert redact_text(text) == shown


@settings(max_examples=200, deadline=None)
@given(
    before=st.text(max_size=20),
    name=st.sampled_from(["token", "password", "sig", "X-Amz-Credential"]),
    tail=st.text(max_size=20),
)
def test_a_canary_in_a_query_never_survives(before: str, name: str, tail: str) -> None:
    clean = "".join(char for char in before if char not in "?#&=")
    assert "canary" not in redact_url(f"https://h/{clean}?a=1&{name}=canary&b={tail.replace('canary', '')}")


# ------------------------------------------------------------------------------------------------ known secrets


@settings(max_examples=200, deadline=None)
@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=0x17F), min_size=8, max_size=30).filter(
        lambda text: text == text.strip()
    ),
    spell=st.sampled_from(
        [str, quote, lambda text: quote(text, safe="").lower(), quote_plus, escape, lambda text: json.dumps(text)[1:-1]]
    ),
)
def test_a_known_secret_is_masked_however_it_is_written(secret: str, spell: Any) -> None:
    known = Secrets()
    known.keep([secret])
    assert known.scrub(f"it said {spell(secret)}.") == "it said ***."


def test_a_secret_that_begins_another_leaves_no_rest_of_it() -> None:
    known = Secrets()
    known.keep(["canary-token", "canary-token-4711", None, ""])
    assert known.scrub("canary-token-4711 canary-token") == "*** ***"


def test_a_short_secret_is_masked_as_a_word_and_a_very_short_one_not_at_all() -> None:
    known = Secrets()
    known.keep(["tile", "abc"])
    assert known.scrub("tiles of a tile: abc") == "tiles of a ***: abc"
    assert Secrets().scrub("nothing is known yet") == "nothing is known yet"
    assert "tile" not in repr(known)


def test_what_a_header_holds_is_a_secret_in_all_its_parts() -> None:
    basic = base64.b64encode(b"me:canary-basic").decode()
    for name, value in (
        ("Authorization", f"Basic {basic}"),
        ("authorization", "Bearer canary-bearer"),
        ("Cookie", "session=canary-cookie; path=canary-path"),
        ("X-Anything", "canary-anything"),
    ):
        keep_secret_header(name, value)
    keep_secret_header("Referer", "https://gis.example.org/plain-referer")
    keep_secret_header("Authorization", "Basic not/base64!")
    keep_secret_header("X-Region", "canary-word")
    assert scrub("a canary-word sings") == "a canary-word sings"
    for word in ("basic", "bearer", "cookie", "path", "anything"):
        assert scrub(f"a canary-{word} sings") == "a *** sings"
    assert scrub(basic) == "***"
    assert scrub("https://gis.example.org/plain-referer") == "https://gis.example.org/plain-referer"


def test_json_keeps_its_addresses_and_loses_what_else_a_secret_stands_in() -> None:
    keep_secret_login("me", "canary-login")
    address = "https://h/x?token=canary-login"
    document = {"url": address, "tileServers": [address], "name": ["a canary-login"], "canary-login": 1, "n": 2.5}
    assert scrub_json(document) == {"url": address, "tileServers": [address], "name": ["a ***"], "***": 1, "n": 2.5}
    assert scrub(base64.b64encode(b"me:canary-login").decode()) == "***"
    assert redact_text(f"GET {address} said canary-login") == "GET https://h/x?token=*** said ***"
    assert redact_url("https://h/canary-login/x") == "https://h/***/x"
