"""What a client sees of every act of the fault server."""

from __future__ import annotations

import gzip
import http.client
import io
import urllib.request
import zlib
from email.utils import parsedate_to_datetime

import pytest
from PIL import Image

from harvester.testing import ArcGisSite, Rule
from harvester.testing.acts import ACTS
from harvester.testing.images import address_of
from harvester.tiling.tile import Tile
from tests.testing.raw import TILE, WHOLE, Client, everything, serving, split, tried


def test_the_right_answer_may_come_late_and_with_more_headers() -> None:
    _, headers, body = tried(Rule(do="answer", delay=0.001, headers={"X-Served-By": "lab"}))
    assert headers["x-served-by"] == "lab"
    assert body == WHOLE


@pytest.mark.parametrize(
    ("value", "sent"),
    [(3, "3"), (0.5, "0.5"), ("soon", "soon"), ("-5", "-5"), ("", "")],
)
def test_a_status_carries_retry_after_as_written(value: float | str, sent: str) -> None:
    status, headers, body = tried(Rule(do="status", status=429, retry_after=value))
    assert (status, headers["retry-after"]) == (429, sent)
    assert body.startswith(b"<html>")


def test_a_retry_date_counts_from_the_servers_own_clock() -> None:
    status, headers, _ = tried(Rule(do="status", status=503, retry_after="date+90", skew=-7200))
    date, until = parsedate_to_datetime(headers["date"]), parsedate_to_datetime(headers["retry-after"])
    assert status == 503
    assert (until - date).total_seconds() == 90


@pytest.mark.parametrize("code", [401, 403, 404, 500, 498])
def test_any_status_can_be_answered(code: int) -> None:
    assert tried(Rule(do="status", status=code))[0] == code


def test_no_content_has_neither_body_nor_length() -> None:
    status, headers, body = tried(Rule(do="no_content"))
    assert (status, body) == (204, b"")
    assert "content-length" not in headers


@pytest.mark.parametrize(
    ("rule", "status", "kind", "start"),
    [
        (Rule(do="html"), 200, "text/html; charset=utf-8", b"<!DOCTYPE html>"),
        (Rule(do="html", text="Invalid Token"), 200, "text/html; charset=utf-8", b"Invalid Token"),
        (
            Rule(do="json_error", status=498, text='a "b"'),
            200,
            "application/json; charset=utf-8",
            b'{"error":{"code":498,"message":"a \\"b\\"","details":[]}}',
        ),
        (Rule(do="empty"), 200, "image/png", b""),
        (Rule(do="wrong_type"), 200, "text/plain", WHOLE),
        (Rule(do="cut_image", at=0.5), 200, "image/png", WHOLE[: len(WHOLE) // 2]),
        (Rule(do="informational", status=103), 103, "", b""),
    ],
)
def test_a_wrong_answer_is_rightly_framed(rule: Rule, status: int, kind: str, start: bytes) -> None:
    got, headers, body = tried(rule)
    assert (got, headers.get("content-type", "")) == (status, kind)
    assert body == start if rule.do != "html" else body.startswith(start)


def test_an_interim_answer_is_followed_by_the_right_one() -> None:
    with serving(Rule(do="informational")) as (_, client):
        client.ask()
        assert client.answer()[0] == 103
        assert client.answer()[2] == WHOLE


def test_one_byte_is_flipped() -> None:
    body = tried(Rule(do="flipped", at=100))[2]
    assert [at for at, (a, b) in enumerate(zip(body, WHOLE, strict=True)) if a != b] == [100]


def test_stand_ins_are_whole_pictures_of_which_no_two_are_alike() -> None:
    with serving(Rule(do="stand_in")) as (_, client):
        bodies = []
        for _ in range(2):
            client.ask()
            bodies.append(client.answer()[2])
    assert bodies[0] != bodies[1]
    assert {Image.open(io.BytesIO(body)).size for body in bodies} == {(256, 256)}


def test_pictures_come_in_the_wrong_size_and_format() -> None:
    assert Image.open(io.BytesIO(tried(Rule(do="wrong_size"))[2])).size == (512, 512)
    assert Image.open(io.BytesIO(tried(Rule(do="wrong_size", width=256, height=255))[2])).size == (256, 255)
    _, headers, body = tried(Rule(do="wrong_format"))
    assert headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(body)).format == "JPEG"


def test_a_blank_tile_says_so() -> None:
    status, headers, body = tried(Rule(do="blank_tile"))
    assert (status, headers["blank-tile"]) == (200, "true")
    assert address_of(body) == (TILE, 255)


@pytest.mark.parametrize(
    ("to", "where"),
    [
        ("loop", f"{ArcGisSite().path}/tile/{TILE}"),
        ("login", f"/login?from={ArcGisSite().path}/tile/{TILE}"),
        ("file:///etc/hosts", "file:///etc/hosts"),
        ("http://other.test/tile", "http://other.test/tile"),
    ],
)
def test_a_redirect_leads_there(to: str, where: str) -> None:
    status, headers, _ = tried(Rule(do="redirect", to=to))
    assert (status, headers["location"]) == (302, where)


def test_a_truncated_body_is_shorter_than_its_length() -> None:
    head, body = split(everything(Rule(do="truncate", at=30)))
    assert f"Content-Length: {len(WHOLE)}".encode() in head
    assert body == WHOLE[:30]


def test_a_truncated_body_without_length_looks_whole_to_http() -> None:
    with serving(Rule(do="truncate_unframed", at=0.5)) as (service, _):
        body = urllib.request.urlopen(f"{service.url}/tile/{TILE}").read()
    assert body == WHOLE[: len(WHOLE) // 2]
    assert b"Content-Length" not in split(everything(Rule(do="truncate_unframed")))[0]


def test_chunks_end_early_or_make_no_sense() -> None:
    with serving(Rule(do="chunked")) as (service, _):
        assert urllib.request.urlopen(f"{service.url}/tile/{TILE}").read() == WHOLE
    for name in ("truncate_chunked", "bad_chunk"):
        with serving(Rule(do=name)) as (service, _), pytest.raises((http.client.IncompleteRead, ValueError)):
            urllib.request.urlopen(f"{service.url}/tile/{TILE}").read()


def test_an_unframed_body_is_whole() -> None:
    assert split(everything(Rule(do="unframed")))[1] == WHOLE


def test_a_length_is_no_number() -> None:
    assert b"Content-Length: many\r\n" in everything(Rule(do="bad_length"))


def test_an_overlong_body_spoils_the_next_answer() -> None:
    with serving(Rule(do="overlong", tries="1")) as (_, client):
        client.ask()
        assert client.answer()[2] == WHOLE
        client.ask()
        assert client.some(100)[:64] == b"\x00" * 64


def test_an_endless_body_goes_on_until_the_client_leaves() -> None:
    with serving(Rule(do="endless", tries="1")) as (service, client):
        client.ask()
        assert len(client.some(3_000_000)) >= 3_000_000
        client.socket.close()
        again = Client(service)
        again.ask()
        assert again.answer()[0] == 200
        again.socket.close()


def test_a_deflated_body_is_the_whole_one() -> None:
    _, headers, body = tried(Rule(do="deflate"))
    assert headers["content-encoding"] == "deflate"
    assert zlib.decompress(body) == WHOLE


def test_a_bomb_is_small_on_the_wire_and_huge_decoded() -> None:
    _, headers, body = tried(Rule(do="gzip_bomb", bytes=20_000_000))
    assert headers["content-encoding"] == "gzip"
    assert len(body) < 40_000
    assert len(gzip.decompress(body)) == 20_000_000
    assert len(zlib.decompressobj(wbits=31).decompress(body)) == 20_000_000


def test_gzip_is_right_or_broken() -> None:
    assert gzip.decompress(tried(Rule(do="gzip"))[2]) == WHOLE
    with pytest.raises(zlib.error):
        gzip.decompress(tried(Rule(do="broken_gzip"))[2])


def test_heads_are_too_big_or_no_http() -> None:
    assert len(tried(Rule(do="big_header"))[1]["x-filler"]) == 20_000
    assert everything(Rule(do="garbage", text="no http")) == b"no http\r\n\r\n"


def test_a_reset_is_a_reset() -> None:
    with serving(Rule(do="reset_before")) as (_, client):
        client.ask()
        with pytest.raises(ConnectionResetError):
            client.all()
    with serving(Rule(do="reset_inside", at=20), site=ArcGisSite(padding=5000)) as (_, client):
        client.ask()
        with pytest.raises(ConnectionResetError):
            client.some(1 << 20)


def test_a_close_before_the_answer_is_no_reset() -> None:
    assert everything(Rule(do="close_before")) == b""


def test_a_kept_connection_is_closed_as_the_next_request_arrives() -> None:
    with serving(Rule(do="close_before", on_connection="2-")) as (_, client):
        client.ask()
        assert client.answer()[2] == WHOLE
        client.ask()
        assert client.all() == b""


def test_a_connection_is_closed_after_the_answer_announced_or_not() -> None:
    for name, said in (("close_after", False), ("close_announced", True)):
        with serving(Rule(do=name)) as (_, client):
            client.ask()
            _, headers, body = client.answer()
            assert body == WHOLE
            assert ("connection" in headers) is said
            assert client.all() == b""


def test_a_stalled_answer_comes_in_part_or_not_at_all() -> None:
    with serving(Rule(do="stall", levels="5"), Rule(do="stall_inside", at=10)) as (service, client):
        client.ask()
        client.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.all()
        client.socket.close()
        other = Client(service)
        other.ask(Tile(6, 0, 0))
        got = b""
        while len(split(got)[1]) < 10:
            got += other.some(1)
        assert split(got)[1] == service.site.body(Tile(6, 0, 0))[:10]
        other.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            other.all()
        other.socket.close()
    assert [asked.answer for asked in service.log] == ["stall; the client left", "stall_inside 200; the client left"]


def test_a_dripped_answer_is_whole_in_the_end() -> None:
    for name in ("drip", "drip_head"):
        assert tried(Rule(do=name, bytes=16, seconds=0.0001))[2] == WHOLE


def test_every_act_is_seen_here() -> None:
    with open(__file__, encoding="utf-8") as file:
        text = file.read()
    assert [name for name in ACTS if f'"{name}"' not in text] == []
