"""No secret survives redaction, and what isn't one stays readable."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.redact import redact_text, redact_url


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
