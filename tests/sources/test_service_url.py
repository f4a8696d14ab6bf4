"""Addresses as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.errors import SourceError
from harvester.sources.service_url import parse_service_url

PLAIN = "https://gis.example.org/arcgis/rest/services/City/Streets/MapServer"


@pytest.mark.parametrize(
    "typed",
    [
        PLAIN,
        f" {PLAIN}/ ",
        f"{PLAIN}?f=json",
        f"{PLAIN}/?f=pjson&token=",
        f"{PLAIN}/tile/3/2/1",
        f"{PLAIN}/tilemap/3/0/0/32/32?f=json",
        f"{PLAIN}/0/query?where=1",
        f"{PLAIN}/WMTS/1.0.0/WMTSCapabilities.xml",
        f"{PLAIN}#map",
        PLAIN.replace("https://", ""),
        PLAIN.replace("gis.example.org", "GIS.example.org:443"),
        PLAIN.replace("/rest/", "//rest//"),
        PLAIN.replace("/rest/services", "/services"),
        PLAIN.replace("https://", "https://user:pw@"),
    ],
)
def test_every_spelling_is_the_same_service(typed: str) -> None:
    url = parse_service_url(typed)
    assert (str(url), url.kind, url.name, url.named) == (PLAIN, "arcgis-map", "Streets", True)
    assert url.document == f"{PLAIN}?f=json" and url.rest_root == "https://gis.example.org/arcgis/rest"


@pytest.mark.parametrize(
    ("typed", "shown", "kind", "name"),
    [
        ("http://127.0.0.1:8080/x/mapserver", "http://127.0.0.1:8080/x/mapserver", "arcgis-map", "x"),
        ("localhost:6080/arcgis/rest/services/A/ImageServer", "http://localhost:6080/arcgis/rest/services/A/ImageServer",
         "arcgis-image", "A"),
        ("http://[::1]:80/s/MapServer", "http://[::1]/s/MapServer", "arcgis-map", "s"),
        ("https://h/Straßen der Stadt/MapServer", "https://h/Stra%C3%9Fen%20der%20Stadt/MapServer", "arcgis-map",
         "Straßen der Stadt"),
        ("https://h/a%20b/MapServer", "https://h/a%20b/MapServer", "arcgis-map", "a b"),
        ("https://h/v/VectorTileServer/tile/1/2/3.pbf", "https://h/v/VectorTileServer", "arcgis-vector", "v"),
        ("https://h/maps/city", "https://h/maps/city", "arcgis-map", "city"),
        ("https://h", "https://h", "arcgis-map", "h"),
    ],
)  # fmt: skip
def test_what_an_address_says(typed: str, shown: str, kind: str, name: str) -> None:
    url = parse_service_url(typed)
    assert (str(url), url.kind, url.name) == (shown, kind, name)


def test_secrets_are_taken_out_of_the_address() -> None:
    url = parse_service_url(f"{PLAIN.replace('https://', 'https://canary:pw%40@')}?Token=canary%2B")
    assert (url.token, url.basic) == ("canary+", "Basic Y2FuYXJ5OnB3QA==")
    assert "canary" not in f"{url} {url!r} {url.name}"


@pytest.mark.parametrize(
    "typed", ["", "   ", "https://", "ftp://h/x", "file:///x", "http://h:0/x", "http://[::1", "://x"]
)
def test_what_is_no_address_is_refused(typed: str) -> None:
    with pytest.raises(SourceError):
        parse_service_url(typed)


@pytest.mark.parametrize("token", ["a%0D%0AX-Evil:%201", "a%00b", "%C3%A9"])
def test_a_token_that_could_break_a_header_is_refused(token: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_service_url(f"{PLAIN}?token={token}")
    assert "Evil" not in caught.value.message


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_is_an_address_or_a_source_error(text: str) -> None:
    for typed in (text, f"https://h/{text}/MapServer", f"https://h/x/MapServer?{text}"):
        try:
            url = parse_service_url(typed)
        except SourceError:
            continue
        str(url).encode("ascii")
        assert " " not in url.path and "?" not in url.path
