"""What an ArcGIS answer means for a tile: each status, each error in a 200, each fault."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.edges import Answer, Fault, Outcome, Request, TileFormat, Verdict
from harvester.sources.arcgis import ArcGisSource
from harvester.sources.auth import Credentials
from harvester.sources.service_url import parse_service_url
from harvester.testing import tile_jpeg, tile_png
from harvester.tiling.tile import BlockKey, Tile
from tests.sources.documents import TILED, URL, parse

PNG = tile_png(3, 2, 1, 256, 256)
JPEG = tile_jpeg(3, 2, 1, 256, 256)
TILE = Tile(3, 2, 1)


def make(
    token: str | None = None, *, kinds: frozenset[str] | None = None, tilemap: bool = True, **fields: Any
) -> ArcGisSource:
    document = {**TILED, **fields}
    url = parse_service_url(URL)
    return ArcGisSource(parse(document), url, Credentials(token=token), use_tilemap=tilemap, kinds=kinds)


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, 0.01)


def judged(given: Answer, source: ArcGisSource | None = None) -> tuple[Outcome, str]:
    source = source or make()
    verdict = source.judge(source.request(TILE, 0), given)
    return verdict.outcome, verdict.reason


def error(code: object, message: str = "no", key: str = "error") -> bytes:
    import json

    return json.dumps({key: {"code": code, "message": message, "details": []}}).encode()


# ---- asking


def test_a_tile_is_asked_by_level_row_and_column() -> None:
    request = make().request(Tile(17, 45000, 81000), 3)
    assert request.path == "/arcgis/rest/services/Streets/MapServer/tile/17/45000/81000"
    assert (request.tile, request.attempt, request.window, request.credential) == (Tile(17, 45000, 81000), 3, 0, 0)
    assert request.host.origin == "https://gis.example.org"


def test_the_same_tile_gives_the_same_request() -> None:
    source = make(token="canary")
    assert source.request(TILE, 0) == source.request(TILE, 0)


@pytest.mark.parametrize(
    ("version", "capabilities", "asked"),
    [
        (10.2, "Map", True),
        (11.1, "Map", True),
        (10.1, "Map", False),
        (11.1, "Map,Tilemap", False),
        (None, "Map", False),
    ],
)
def test_blank_tiles_are_declined_where_there_is_no_tilemap_and_the_server_knows_how(
    version: float | None, capabilities: str, asked: bool
) -> None:
    path = make(currentVersion=version, capabilities=capabilities).request(TILE, 0).path
    assert path.endswith("?blankTile=false") is asked


def test_a_window_is_one_whole_block() -> None:
    request = make().window(BlockKey(12, 256, 640))
    assert request is not None and request.window == 128 and request.tile == Tile(12, 256, 640)
    assert request.path == "/arcgis/rest/services/Streets/MapServer/tilemap/12/256/640/128/128?f=json"
    assert make(tilemap=False).window(BlockKey(12, 256, 640)) is None
    assert make(capabilities="Map").window(BlockKey(12, 256, 640)) is None


def test_secrets_are_only_in_paths_and_headers() -> None:
    source = make(token="canary/+=")
    assert "canary" not in repr(source) + repr(source.info) + repr(source.request(TILE, 0).host)
    assert "canary" not in source.request(TILE, 0).path


def test_a_secure_service_never_hands_its_tiles_to_a_plain_server() -> None:
    url = parse_service_url(URL)
    document = parse({**TILED, "tileServers": ["http://tiles.example.org/x/MapServer", "https://tiles.example.org/y"]})
    source = ArcGisSource(document, url, Credentials(token="canary"), allow_hosts=("tiles.example.org",))
    assert {source.request(Tile(4, row, 0), 0).host.origin for row in range(4)} == {"https://tiles.example.org"}
    assert any("http://tiles.example.org" in notice for notice in source.info.notices)


# ---- judging


@pytest.mark.parametrize(
    ("given", "outcome", "reason"),
    [
        (answer(200, PNG), Outcome.WHOLE, ""),
        (answer(200, PNG, content_type="text/plain"), Outcome.WHOLE, ""),
        (answer(200, PNG, blank_tile="true"), Outcome.ABSENT, "blank_tile"),
        (answer(200, PNG, blank_tile="false"), Outcome.WHOLE, ""),
        (answer(404, b"<html>not found</html>"), Outcome.ABSENT, "http_404"),
        (answer(404), Outcome.ABSENT, "http_404"),
        (answer(404, error(404)), Outcome.ABSENT, "http_404"),
        (answer(404, error(498)), Outcome.DENIED, "http_498"),
        (answer(404, error(500)), Outcome.RETRY, "http_500"),
        (answer(404, b'{"error": "x"}'), Outcome.ABSENT, "http_404"),
        (answer(204), Outcome.ABSENT, "http_204"),
        (answer(304), Outcome.RETRY, "http_304"),
        (answer(200), Outcome.RETRY, "empty"),
        (answer(200, b"<!DOCTYPE html><html><body>Sign in</body></html>"), Outcome.RETRY, "not_an_image"),
        (answer(200, b"<html><body><h1>Invalid Token</h1></body></html>"), Outcome.DENIED, "invalid_token"),
        (answer(200, error(498)), Outcome.DENIED, "http_498"),
        (answer(200, error(499)), Outcome.DENIED, "http_499"),
        (answer(200, error("499")), Outcome.DENIED, "http_499"),
        (answer(200, error(401)), Outcome.DENIED, "http_401"),
        (answer(200, error(403)), Outcome.FAILED, "forbidden"),
        (answer(200, error(400)), Outcome.FAILED, "http_400"),
        (answer(200, error(404)), Outcome.ABSENT, "http_404"),
        (answer(200, error(500)), Outcome.RETRY, "http_500"),
        (answer(200, error(503)), Outcome.THROTTLED, "http_503"),
        (answer(200, error(429)), Outcome.THROTTLED, "http_429"),
        (answer(200, error(200)), Outcome.RETRY, "service_error"),
        (answer(200, error(-2147467259)), Outcome.RETRY, "service_error"),
        (answer(200, error(True)), Outcome.RETRY, "service_error"),
        (answer(200, error(None)), Outcome.RETRY, "service_error"),
        (answer(200, b'\xef\xbb\xbf {"error":{"code":498}}'), Outcome.DENIED, "http_498"),
        (answer(200, b'{"services": []}'), Outcome.RETRY, "error_page"),
        (answer(200, b'{"error":{"code":498}'), Outcome.RETRY, "error_page"),
        (answer(401, b"<html>"), Outcome.DENIED, "http_401"),
        (answer(498), Outcome.DENIED, "http_498"),
        (answer(499), Outcome.DENIED, "http_499"),
        (answer(403, error(498)), Outcome.DENIED, "http_498"),
        (answer(500, error(499)), Outcome.DENIED, "http_499"),
        (answer(403), Outcome.FAILED, "forbidden"),
        (answer(400), Outcome.FAILED, "http_400"),
        (answer(410), Outcome.FAILED, "http_410"),
        (answer(408), Outcome.RETRY, "http_408"),
        (answer(409), Outcome.RETRY, "http_409"),
        (answer(421), Outcome.RETRY, "http_421"),
        (answer(423), Outcome.RETRY, "http_423"),
        (answer(425), Outcome.RETRY, "http_425"),
        (answer(200, error(408)), Outcome.RETRY, "http_408"),
        (answer(422), Outcome.FAILED, "http_422"),
        (answer(429), Outcome.THROTTLED, "http_429"),
        (answer(502), Outcome.RETRY, "http_502"),
        (answer(503), Outcome.THROTTLED, "http_503"),
        (answer(504), Outcome.RETRY, "http_504"),
        (answer(500), Outcome.RETRY, "http_500"),
        (answer(501), Outcome.RETRY, "http_501"),
        (answer(599), Outcome.RETRY, "http_599"),
        (answer(301), Outcome.RETRY, "redirect"),
        (answer(302, PNG), Outcome.RETRY, "redirect"),
        (answer(206, PNG), Outcome.RETRY, "http_206"),
        (answer(203, PNG), Outcome.WHOLE, ""),
        (answer(203, PNG[:-20]), Outcome.RETRY, "truncated"),
        (answer(203, b"<html>Sign in</html>"), Outcome.RETRY, "not_an_image"),
        (answer(201, PNG), Outcome.RETRY, "http_201"),
        (answer(200, PNG[:-5]), Outcome.RETRY, "truncated"),
        (answer(200, tile_png(3, 2, 1, 512, 512)), Outcome.RETRY, "wrong_size"),
    ],
)
def test_each_answer_means_one_thing(given: Answer, outcome: Outcome, reason: str) -> None:
    assert judged(given) == (outcome, reason)


@pytest.mark.parametrize(
    ("headers", "outcome"), [((("If-None-Match", '"x"'),), Outcome.UNCHANGED), ((), Outcome.RETRY)]
)
def test_304_is_an_answer_only_to_who_asked_whether_it_changed(headers, outcome) -> None:
    source = make()
    assert source.judge(source.request(TILE, 0)._replace(headers=headers), answer(304)).outcome is outcome


@pytest.mark.parametrize("fault", list(Fault))
def test_each_fault_is_tried_again_under_its_own_name(fault: Fault) -> None:
    assert judged(Answer(0, {}, b"", 0.1, True, fault, "words")) == (Outcome.RETRY, fault.value)


def test_a_fault_after_a_good_head_is_no_tile() -> None:
    assert judged(Answer(200, {}, PNG, 0.1, True, Fault.TRUNCATED)) == (Outcome.RETRY, "truncated")


@pytest.mark.parametrize("status", [429, 503])
def test_the_wait_that_a_busy_server_asks_for_is_handed_on(status: int) -> None:
    source = make()
    verdict = source.judge(source.request(TILE, 0), answer(status, retry_after="120"))
    assert verdict.retry_after == 120.0


def test_a_whole_tile_carries_its_bytes_and_its_kind() -> None:
    source = make()
    assert source.judge(source.request(TILE, 0), answer(200, JPEG)) == Verdict(Outcome.WHOLE, "", JPEG, "jpg")


def test_another_kind_than_stated_is_stored_only_where_the_cache_can_hold_it() -> None:
    strict = make(kinds=frozenset({"png"}))
    assert judged(answer(200, PNG), strict) == (Outcome.WHOLE, "")
    assert judged(answer(200, JPEG), strict) == (Outcome.RETRY, "format_drift")
    assert judged(answer(200, JPEG), make(kinds=frozenset({"png", "jpg"}))) == (Outcome.WHOLE, "")


def test_mixed_tiles_are_png_or_jpeg() -> None:
    info = {**TILED["tileInfo"], "format": "MIXED"}
    source = make(tileInfo=info, kinds=frozenset())
    assert source.info.tile_format is TileFormat.MIXED
    assert judged(answer(200, PNG), source) == judged(answer(200, JPEG), source) == (Outcome.WHOLE, "")


@settings(max_examples=300, deadline=None)
@given(
    status=st.integers(0, 999),
    body=st.binary(max_size=200) | st.sampled_from([PNG, JPEG, error(498), error([]), b'{"error":null}', b"[" * 5000]),
    name=st.sampled_from(["retry-after", "blank-tile", "date", "content-type"]),
    value=st.text(max_size=30),
)
def test_judging_never_raises(status: int, body: bytes, name: str, value: str) -> None:
    source = make()
    request: Request = source.request(TILE, 0)
    assert isinstance(source.judge(request, Answer(status, {name: value}, body, 0.0)), Verdict)
