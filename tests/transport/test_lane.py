"""One lane, fed by hand: any bytes in any pieces give one answer or one fault, and never an exception."""

from __future__ import annotations

import asyncio
import ssl
from random import Random
from time import monotonic
from typing import Any

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.edges import MAX_TILE_BYTES, Answer, Fault, Host, Request
from harvester.tiling.tile import Tile
from harvester.transport.dial import Place
from harvester.transport.head import Head, head_end
from harvester.transport.lane import Lane
from harvester.transport.pieces import MANY_PIECES, MAX_HEAD_BYTES
from tests.transport.answers import spoken, whole

HOST = Host(scheme="http", name="tiles.example", port=80)
REQUEST = Request(HOST, "/1", Tile(1, 1, 1))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: x\r\n\r\nhello"


class Wire(asyncio.Transport):
    """Where a lane writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Any] = []
        self.aborted = False

    def write(self, data: Any) -> None:
        self.sent.append(data)

    def abort(self) -> None:
        self.aborted = True


class Told:
    """A pool that keeps what a lane says, and drops the lane when it can't be kept."""

    def __init__(self, *, keeps_gzip: bool = False) -> None:
        self.answers: list[Answer] = []
        self.kept: list[bool] = []
        self.keeps_gzip = keeps_gzip
        self.wire = Wire()
        self.lane = Lane(self, Place(HOST))
        self.ask()
        self.lane.connection_made(self.wire)

    def ask(self) -> None:
        self.lane.send(REQUEST, b"GET", self.keeps_gzip)

    def ended(self, lane: Lane, answer: Answer) -> None:
        self.answers.append(answer)
        self.kept.append(lane.keep)
        lane.request = None
        if not lane.keep:
            lane.drop()

    def opened(self, lane: Lane) -> None: ...

    def lost(self, lane: Lane) -> None:
        lane.drop()

    def said(self, lane: Lane, data: bytes) -> None:
        lane.drop()

    def surplus(self, lane: Lane) -> None:
        if lane.request is not None:
            lane.fail(Fault.RESET, stale=True)
        lane.drop()

    def closed(self, lane: Lane) -> None: ...

    def say(self, *pieces: bytes) -> Answer | None:
        """Feed as a loop would: nothing after an abort. The answer, if there is one."""
        for piece in pieces:
            if not self.wire.aborted:
                self.lane.data_received(piece)
        return self.answers[-1] if self.answers else None

    def end(self, error: Exception | None = None) -> Answer:
        """The connection ends; then exactly one answer has been given."""
        if error is None and not self.wire.aborted:
            self.lane.eof_received()
        self.lane.connection_lost(error)
        (answer,) = self.answers
        return answer


def same(one: Answer, other: Answer) -> bool:
    return one._replace(seconds=0.0, headers=dict(one.headers), detail="") == other._replace(
        seconds=0.0, headers=dict(other.headers), detail=""
    )


# ---- any bytes


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.binary(max_size=40), st.booleans())
def test_any_bytes_in_any_pieces_give_exactly_one_answer(seed: int, junk: bytes, reset: bool) -> None:
    random = Random(seed)
    pieces = list(spoken(random).pieces)
    pieces.insert(random.randrange(len(pieces) + 1), junk)
    told = Told()
    told.say(*filter(None, pieces))
    answer = told.end(ConnectionResetError() if reset else None)
    assert (answer.fault is None) == (answer.status >= 200)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_never_an_answer_of_its_own(noise: bytes) -> None:
    told = Told()
    told.say(*(noise[at : at + 1] for at in range(len(noise))))
    assert told.end().fault in (Fault.PROTOCOL, Fault.RESET) or noise.startswith(b"HTTP/")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_how_an_answer_is_cut_changes_nothing(seed: int) -> None:
    random = Random(seed)
    data, _, _ = whole(random)
    plain = Told()
    plain.say(data)
    expected = plain.end()
    marks = sorted(random.randrange(len(data) + 1) for _ in range(6))
    cut = Told()
    cut.say(*filter(None, (data[a:b] for a, b in zip([0, *marks], [*marks, len(data)], strict=True))))
    assert same(cut.end(), expected)
    assert cut.kept == plain.kept


@pytest.mark.parametrize(
    "data",
    [
        OK,
        b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" + OK,
        b"\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    ],
    ids=["length", "interim", "blank lines first", "chunked", "bare LF"],
)
def test_an_answer_may_be_cut_at_every_byte(data: bytes) -> None:
    for at in range(1, len(data)):
        told = Told()
        answer = told.say(data[:at], data[at:])
        assert answer is not None and (answer.status, answer.body, answer.fault) == (200, b"hello", None), at
        assert told.kept == [True] and answer.delimited
        assert dict(answer.headers) in (
            {"content-length": "5", "etag": "x"},
            {"content-length": "5"},
            {"transfer-encoding": "chunked"},
        )
    told = Told()
    told.say(*(data[at : at + 1] for at in range(len(data))))
    assert told.end().body == b"hello"


# ---- heads


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_a_head_read_late_says_what_llhttp_says_header_by_header(seed: int) -> None:
    data, _, _ = whole(Random(seed))

    class Oracle:
        def __init__(self) -> None:
            self.headers: dict[str, str] = {}

        def on_message_begin(self) -> None:
            self.headers.clear()

        def on_header(self, name: bytes, value: bytes) -> None:
            key, text = name.decode().lower(), value.decode("utf-8", "surrogateescape").strip(" \t")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

        def on_headers_complete(self) -> None:
            self.said = dict(self.headers)

    oracle = Oracle()
    parser = httptools.HttpResponseParser(oracle)
    parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)
    parser.feed_data(data)
    told = Told(keeps_gzip=True)
    told.say(data)
    answer = told.end()
    match oracle.said.get("content-encoding"):
        case "deflate":  # undone, though gzip may stay
            assert dict(answer.headers) == {key: oracle.said[key] for key in oracle.said if key != "content-encoding"}
        case "br" if answer.fault is not None:
            assert answer.detail == "content encoding 'br' was not asked for"
        case _:
            assert dict(answer.headers) == oracle.said


def test_headers_are_a_mapping_of_all_of_them() -> None:
    head = Head(b"HTTP/1.1 200 Not: a header\r\nA: 1\r\nX-Long: one\r\n\ttwo\r\na:2\r\nE:\r\n\r\n")
    assert head.get("blank-tile") is None and head.get("blank-tile", "no") == "no"
    assert "etag" not in head and head.get("long") is None, "a part of a name is no name"
    assert (head["a"], head["x-long"], head["e"]) == ("1, 2", "one two", "")
    assert list(head) == ["a", "x-long", "e"] and len(head) == 3 and head == {"a": "1, 2", "x-long": "one two", "e": ""}
    assert head.get("a") == "1, 2" and "Head" in repr(head)
    assert Head(b"HTTP/1.1 200 OK\r\nno colon\r\nb: 1\r\n\r\n") == {"b": "1"}


def test_a_head_ends_at_its_first_blank_line_however_that_is_written() -> None:
    assert [head_end(data) for data in (b"a\r\n\r\nb\n\n", b"a\n\nb\r\n\r\n", b"a\n\r\nb", b"a\r\n", b"")] == [
        5,
        3,
        4,
        -1,
        -1,
    ]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 17_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: %s\r\n" % (b"x" * 900) * 80 + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Wait\r\n\r\n" * 4000 + OK,
    ],
    ids=["one header", "many headers", "interim answers without end"],
)
def test_a_head_beyond_all_measure_is_a_fault_whole_or_in_pieces(head: bytes) -> None:
    assert len(head) > MAX_HEAD_BYTES or b"X-Long" in head
    for step in (len(head), 1000):
        told = Told()
        answer = told.say(*(head[at : at + step] for at in range(0, len(head), step)))
        assert answer is not None and answer.fault is Fault.PROTOCOL and told.wire.aborted


def test_a_head_without_an_end_is_not_collected_for_ever() -> None:
    told = Told()
    told.say(b"HTTP/1.1 200 OK\r\n")
    fed = 0
    while not told.answers:
        told.say(b"X-A: 1\r\n" * 100)
        fed += 800
    assert told.answers[0].fault is Fault.PROTOCOL and fed <= 2 * MAX_HEAD_BYTES


def test_a_status_line_behind_blank_lines_is_no_header() -> None:
    told = Told()
    answer = told.say(b"\r\nHTTP/1.1 200 Not: a header\r\nContent-Length: 1\r\n\r\nx")
    assert answer is not None and answer.headers == {"content-length": "1"}


# ---- bodies


def test_a_body_in_one_read_is_handed_on_and_not_joined() -> None:
    told = Told()
    answer = told.say(OK)
    assert answer is not None and answer.body == b"hello"
    assert not told.wire.aborted and told.kept == [True]


def test_a_body_of_single_bytes_is_held_in_few_pieces() -> None:
    told = Told()
    told.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    count = 20 * MANY_PIECES
    for _ in range(count // 16):
        told.say(b"1\r\nx\r\n" * 16)
        assert len(told.lane._parts) < 2 * MANY_PIECES
    answer = told.say(b"0\r\n\r\n")
    assert answer is not None and answer.body == b"x" * count


def test_a_stated_length_beyond_the_cap_is_not_read() -> None:
    told = Told()
    answer = told.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nx" % (MAX_TILE_BYTES + 1))
    assert answer is not None and answer.fault is Fault.TOO_LARGE and told.wire.aborted


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Connection: close"])
def test_a_body_without_a_length_is_cut_off_at_the_cap(framing: bytes) -> None:
    told = Told()
    told.say(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
    piece = bytes(1 << 20)
    fed = 0
    while not told.answers:
        told.say(b"%x\r\n%b\r\n" % (len(piece), piece) if b"chunked" in framing else piece)
        fed += len(piece)
    assert told.answers[0].fault is Fault.TOO_LARGE
    assert fed <= MAX_TILE_BYTES + 2 * len(piece), "and no more is held than that"


def test_a_body_that_is_too_large_at_once_is_a_fault_too() -> None:
    told = Told()
    size = MAX_TILE_BYTES + 1
    answer = told.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    assert answer is not None and answer.fault is Fault.TOO_LARGE and not answer.body


def test_the_largest_tile_of_all_is_read() -> None:
    told = Told()
    told.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MAX_TILE_BYTES)
    body = bytes(MAX_TILE_BYTES)
    answer = told.say(*(body[at : at + (1 << 18)] for at in range(0, len(body), 1 << 18)))
    assert answer is not None and answer.fault is None and len(answer.body) == MAX_TILE_BYTES


# ---- the connection


BYE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"
CLOSING = OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n", 1)


@pytest.mark.parametrize("answered", [OK, CLOSING])
@pytest.mark.parametrize(
    "extra",
    [
        b"x", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad" + BYE, b"and the rest" + BYE, BYE + BYE,
    ],
)  # fmt: skip
def test_of_an_answer_with_more_bytes_behind_it_nobody_knows_whose_it_is(answered: bytes, extra: bytes) -> None:
    """It may be another's, with the right one behind it, or longer than it says."""
    told = Told()
    answer = told.say(answered + extra)
    assert answer is not None and (answer.body, answer.fault, told.kept) == (b"", Fault.PROTOCOL, [False])
    assert len(told.answers) == 1


@pytest.mark.parametrize(
    "farewell",
    [
        b"HTTP/1.1 408 Request Timeout\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Bye\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_a_server_says_before_it_closes_costs_the_connection_and_nothing_else(farewell: bytes) -> None:
    """Read late, it comes together with the answer."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    for pieces in (
        [OK + farewell],
        [OK[:-3], OK[-3:] + farewell],
        [OK[:-3], OK[-3:] + b"\r\n" + farewell],
        [chunked + farewell],
    ):
        told = Told()
        answer = told.say(*pieces)
        assert answer is not None and (answer.body, answer.fault, told.kept) == (b"hello", None, [False])
        assert len(told.answers) == 1


@pytest.mark.parametrize("extra", [b"\r\n", b"\n"])
def test_line_ends_behind_an_answer_cost_nothing(extra: bytes) -> None:
    told = Told()
    answer = told.say(OK + extra)
    assert answer is not None and (answer.body, answer.fault, told.kept) == (b"hello", None, [True])


def test_bytes_that_nobody_asked_for_close_the_connection() -> None:
    told = Told()
    told.say(OK)
    told.say(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert told.wire.aborted and len(told.answers) == 1


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n", True),
    ],
)
def test_a_connection_is_kept_when_the_server_says_so(head: bytes, kept: bool) -> None:
    told = Told()
    answer = told.say(head)
    assert answer is not None and answer.fault is None and told.kept == [kept]


def test_a_second_answer_on_a_connection_owes_nothing_to_the_first() -> None:
    told = Told()
    told.say(
        b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nX-First: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n",
        b"a\r\n0\r\n\r\n",
    )
    told.ask()
    answer = told.say(OK)
    assert answer is not None and answer.body == b"hello" and "x-first" not in answer.headers


@pytest.mark.parametrize(
    ("came", "error", "fault"),
    [
        (b"", None, Fault.RESET),
        (b"HTTP/1.1 20", None, Fault.RESET),
        (OK[:-1], None, Fault.TRUNCATED),
        (OK[:-1], ConnectionResetError(), Fault.RESET),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", None, Fault.TRUNCATED),
        (b"HTTP/1.1 104 What\r\nContent-Length: 5\r\n\r\nhello", None, Fault.PROTOCOL),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", None, Fault.PROTOCOL),
        (b"HTTP/1.1 099 What\r\n\r\n", None, Fault.PROTOCOL),
        (b"HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n", None, Fault.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", None, Fault.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", None, Fault.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 5\r\n\r\nhello", None, Fault.PROTOCOL),
    ],
)
def test_what_breaks_has_its_own_name(came: bytes, error: Exception | None, fault: Fault) -> None:
    told = Told()
    if came:
        told.say(came)
    answer = told.end(error)
    assert answer.fault is fault and answer.status == 0 and not answer.body


def test_a_body_that_the_connection_ends_ends_the_lane_too() -> None:
    told = Told()
    told.say(OK)
    told.ask()
    told.say(b"HTTP/1.1 200 OK\r\n\r\nhello")
    told.lane.eof_received()
    assert told.kept == [True, False] and told.answers[1].body == b"hello"


def test_a_body_that_the_connection_ends_is_whole_and_marked() -> None:
    told = Told()
    told.say(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo")
    answer = told.end()
    assert (answer.body, answer.fault, answer.delimited, told.kept) == (b"hello", None, False, [False])


def test_what_frames_the_chunks_of_a_body_is_none_of_it() -> None:
    """A body of a byte a second drips, whatever comes around it."""
    told = Told()
    told.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1;" + b"x" * 8000 + b"\r\na\r\n"] * 10)
    began = monotonic()
    assert told.lane.drips(began + 10.0, patience=10.0)
    told.say(b"10000\r\n" + b"a" * 0x10000 + b"\r\n")
    assert not told.lane.drips(began + 10.0, patience=10.0)


# ---- TLS


def test_tls_that_ends_before_any_answer_is_told_in_its_own_words() -> None:
    """A server of TLS 1.3 asks for a certificate only once the client takes the handshake for done (RFC 8446, 4.4)."""
    refused = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required")
    refused.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    answer = Told().end(refused)
    assert (answer.fault, answer.detail) == (Fault.TLS, "TLSV13_ALERT_CERTIFICATE_REQUIRED")


def test_tls_that_ends_on_a_used_connection_is_a_reset() -> None:
    told = Told()
    told.say(OK)
    told.ask()
    told.lane.connection_lost(ssl.SSLError(1, "bad record"))
    assert told.answers[-1].fault is Fault.RESET and told.answers[-1].stale


@pytest.mark.parametrize(
    "coding", ["chunked\t", "\tchunked \t ", "gzip,\tchunked\t", "gzip\t\r\nTransfer-Encoding: chunked\t"]
)
@pytest.mark.parametrize("before", ["", "\r\n", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])
def test_a_tab_behind_the_coding_is_blank_space(coding: str, before: str) -> None:
    """RFC 9110, 5.5; and the connection is kept."""
    head = f"{before}HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\nETag: x\r\n\r\n".encode()
    data = head + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    for cut in range(len(data)):
        told = Told()
        answer = told.say(*filter(None, (data[:cut], data[cut:])))
        assert answer is not None, cut
        assert (answer.fault, answer.body, answer.headers["etag"]) == (None, b"hello", "x")
        assert told.kept == [True] and answer.delimited
        told.ask()
        assert told.say(OK) == told.answers[1] and told.answers[1].body == b"hello"
    told = Told()
    assert told.say(data[:-3]) is None
    assert told.end().fault is Fault.TRUNCATED


@pytest.mark.parametrize("line", ["RTSP/1.0 200 OK", "ICE/1.0 200 OK", "RTSP/1.0 200 HELLO"])
@pytest.mark.parametrize("more", ["", "Host: x\r\nHTTP: y\r\n"])
@pytest.mark.parametrize("before", ["", "\r\n", "HTTP/1.1 100 Continue\r\n\r\n"])
def test_an_answer_of_another_protocol_is_a_fault_at_once(line: str, more: str, before: str) -> None:
    data = f"{before}{line}\r\n{more}Content-Length: 5\r\n\r\nhello".encode()
    for cut in (0, len(before) + 1, len(data) - 8, len(data) - 1):
        answer = Told().say(*filter(None, (data[:cut], data[cut:])))
        assert answer is not None and answer.fault is Fault.PROTOCOL, cut
