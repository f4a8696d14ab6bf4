"""One connection's side of HTTP/1.1: a request out, its whole answer in, parsed by llhttp; then the next one."""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

import httptools

from harvester.edges import MAX_TILE_BYTES, Answer, Fault, Request
from harvester.transport.bodies import BodyTooLargeError, PackedBodyError, is_packed, unpack
from harvester.transport.head import Head
from harvester.transport.pieces import FIRST_BYTE, MAX_HEADER_BYTES, NO_ANSWER, Pieces, is_long, words_of
from harvester.transport.sending import NONE, descriptor_of, send
from harvester.transport.trust import tls_words
from harvester.transport.unasked import MORE, ExtraBytesError, is_last_word

if TYPE_CHECKING:
    from harvester.transport.dial import Place

MAX_INTERIM: Final = 16
"""Interim answers before one final one; a server has use for two (100, 103)."""

_TUPLE: Final = tuple.__new__

HEAD_END: Final = b"\r\n\r\n"
"""Of every head, but for servers that end lines in LF; and of every chunked body."""

IN_PIECES, AT_ONCE = 1, 2
"""An answer is whole, and came in several reads, or interim ones before it; or in one read, as nearly always."""


class Pool(Protocol):
    """Who owns a lane and hears of it."""

    def ended(self, lane: Lane, answer: Answer) -> None:
        """The request in flight has its answer; ``lane.keep`` says whether the connection may be used again."""

    def opened(self, lane: Lane) -> None:
        """The connection stands."""

    def lost(self, lane: Lane) -> None:
        """The connection is no more; nothing is in flight on it."""

    def said(self, lane: Lane, data: bytes) -> None:
        """The server said this while nothing was in flight."""

    def surplus(self, lane: Lane) -> None:
        """It brought an answer that nobody had asked for. What is in flight on it is to be ended with ``fail``."""

    def closed(self, lane: Lane) -> None:
        """The socket is given back."""


class Lane(asyncio.Protocol):
    """A connection and what is in flight on it: nothing, or one request.

    llhttp calls ``on_*`` while it is fed; what they noted is acted upon when it returns. Any bytes whatever give
    exactly one ``Pool.ended`` for the request in flight once the answer, the fault or the connection's end is there.
    """

    __slots__ = (
        "_descriptor",
        "_feed",
        "_parser",
        "_parts",
        "_pieces",
        "_pool",
        "_status",
        "_transport",
        "_unsent",
        "_whole",
        "began",
        "keep",
        "keeps_gzip",
        "on_body",
        "place",
        "request",
        "reused",
        "started",
        "task",
        "took",
    )

    def __init__(self, pool: Pool, place: Place) -> None:
        self._pool = pool
        self.place = place
        self.task: asyncio.Task[None] | None = None
        """Opens the connection, while that lasts."""
        self.request: Request | None = None
        self.keep = False
        self.keeps_gzip = False
        self.reused = False
        """An answer came over it before the request in flight was sent."""
        self.started = self.began = self.took = 0.0
        self._transport: asyncio.Transport | None = None
        self._descriptor = NONE
        """As long as the transport is open."""
        self._unsent = b""
        self._pieces = Pieces()
        self._parts = self._pieces.parts
        self._whole = 0
        """Whether the answer is: 0, IN_PIECES or AT_ONCE."""
        self._status = 0
        self.on_body = self._parts.append  # straight into the list: no Python frame a piece
        self._begin()

    def _begin(self) -> None:
        """A parser of its own for whatever comes from now on."""
        self._parser: Any = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data
        # What every client bears with: lines that end in LF, odd header bytes, blanks behind a chunk's size.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    def __repr__(self) -> str:
        state = "idle" if self.request is None else f"asked for {self.request.tile}"
        return f"<Lane {'open' if self._transport else 'opening'}, {state}>"

    @property
    def stage(self) -> str:
        """Where the request in flight stands, for a person who reads of a timeout."""
        if self._transport is None:
            return "no connection yet"
        return "in the middle of the answer" if self._pieces.begun else "no answer yet"

    # ---- asking

    def send(self, request: Request, head: bytes, keeps_gzip: bool) -> None:
        """Ask now, or as soon as the connection stands."""
        self.request = request
        self.keeps_gzip = keeps_gzip
        self.started = self.began = monotonic()
        self._whole = 0
        if self._transport is None:
            self._unsent = head
        else:
            self.reused = True
            send(self._transport, self._descriptor, head)

    def drips(self, now: float, patience: float) -> bool:
        """True for a body that has come too slowly for too long."""
        return self._pieces.drips(now, patience)

    def fail(self, fault: Fault, detail: str = "", *, stale: bool = False) -> None:
        """End the request in flight with a fault; the connection is not used again."""
        self.keep = False
        self._pieces.clear()
        self._pool.ended(self, Answer(0, {}, b"", monotonic() - self.began, True, fault, detail, stale))

    def drop(self) -> None:
        """Close the connection, or stop opening it, without a word about what is in flight."""
        self.request = None
        if self.task is not None:
            self.task.cancel()
        self._descriptor = NONE
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection stands."""
        self._transport = transport  # type: ignore[assignment]
        self._descriptor = descriptor_of(transport)
        self._pool.opened(self)
        if self.request is None:
            self.drop()
            return
        self.began = monotonic()
        self._transport.write(self._unsent)  # type: ignore[union-attr]
        self._unsent = b""

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes of an answer."""
        if self.request is None:
            self._pool.said(self, data)
            return
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            self.fail(Fault.PROTOCOL, "another protocol than HTTP/1.1 was switched to")
            return
        except httptools.HttpParserError as error:
            if not self._whole:
                self.fail(Fault.PROTOCOL, words_of(error))
                return
            self.keep = False
            end = self._parts[-1] if self._parts else None
            if not is_last_word(data, end):  # one of the two nobody asked for, and which is not known
                if self.reused:
                    self._pool.surplus(self)
                else:
                    self.fail(Fault.PROTOCOL, MORE)
                return
        parts = self._parts
        if self._whole == AT_ONCE and len(parts) == 1 and data[0] == FIRST_BYTE:
            body = parts[0]
            raw = data[: len(data) - len(body)]
            size = len(raw)
            # Then a length states the body, and the head is what lies before it; of chunks it would hold more.
            if raw.find(HEAD_END) == size - 4 and size <= MAX_HEADER_BYTES and len(body) <= MAX_TILE_BYTES:
                self._hand_on(raw, body)
                return
        pieces = self._pieces
        if not self._whole:
            self._status = self._parser.get_status_code()
        trouble = pieces.take(data, whole=self._whole > 0, status=self._status)
        if trouble is not None:
            self.fail(*trouble)
        elif pieces.again:
            self._begin()
            self.data_received(pieces.take_again())
        elif self._whole and pieces.headed:
            self._deliver(pieces.head)

    def eof_received(self) -> None:
        """asyncio: the server writes no more."""
        self._descriptor = NONE  # the transport closes itself after this
        self._lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self._descriptor = NONE
        self._lost(exc)
        self._transport = None
        self._pool.closed(self)

    # ---- llhttp's callbacks

    def on_message_begin(self) -> None:
        """llhttp: an answer begins."""
        if self._whole:
            raise ExtraBytesError

    def on_message_complete(self) -> None:
        """llhttp: an answer is whole."""
        parser = self._parser
        self._status = status = parser.get_status_code()
        if status >= 200:
            self._whole = IN_PIECES if self._pieces.begun else AT_ONCE
            self.keep = parser.should_keep_alive()
        elif self._parts or status < 100:
            raise ExtraBytesError(NO_ANSWER)
        else:
            pieces = self._pieces
            pieces.interim += 1
            pieces.begun = True
            if pieces.interim > MAX_INTERIM:
                raise ExtraBytesError("interim answers without end")

    # ---- the end of an answer

    def _lost(self, exc: Exception | None) -> None:
        pieces = self._pieces
        if self.request is None:
            self._pool.lost(self)
        elif isinstance(exc, ssl.SSLError) and not pieces.headed and not self.reused:
            self.fail(Fault.TLS, tls_words(exc))  # of TLS 1.3 servers that want a certificate: they say so after it
        elif not pieces.headed:
            self.fail(Fault.RESET, stale=self.reused and not pieces.head)
        elif exc is not None:
            self.fail(Fault.RESET, "in the middle of the body")
        else:
            head = Head(pieces.head)
            codings = head.get("transfer-encoding", "") or ""
            if "content-length" in head or codings.lower().rpartition(",")[2].strip() == "chunked":
                self.fail(Fault.TRUNCATED)
            else:  # only the connection's end says that this is all
                self.keep = False
                self._deliver(pieces.head, delimited=False)

    def _deliver(self, raw: bytes, *, delimited: bool = True) -> None:
        body = self._pieces.body()
        if len(body) > MAX_TILE_BYTES:
            self.fail(Fault.TOO_LARGE, f"more than {MAX_TILE_BYTES} bytes")
        elif is_long(raw):
            self.fail(Fault.PROTOCOL, "the head is too long")
        else:
            self._hand_on(raw, body, delimited)

    def _hand_on(self, raw: bytes, body: bytes, delimited: bool = True) -> None:
        """A whole answer whose sizes are within bounds."""
        # find, since ``in`` on bytes first tries them as a number and makes an exception that it throws away.
        if raw.find(b"\0") >= 0:  # the one octet that leniency may not let through (RFC 9110, 5.5)
            self.fail(Fault.PROTOCOL, "a header with a NUL")
            return
        head = Head(raw)
        # What Answer(...) does, in half the time: a named tuple's own constructor is a Python function.
        answer: Answer = _TUPLE(
            Answer, (self._status, head, body, monotonic() - self.began, delimited, None, "", False)
        )
        if head.lower.find(b"content-encoding") >= 0 and is_packed(body, head, self.keeps_gzip):
            unpacked = self._unpack(answer)
            if unpacked is None:
                return
            answer = unpacked
        if self._pieces.begun:
            self._pieces.clear()
        else:
            self._parts.clear()
        self._pool.ended(self, answer)

    def _unpack(self, packed: Answer) -> Answer | None:
        """The answer as it was before the server packed it, unasked; None: failed."""
        headers = dict(packed.headers)
        try:
            body = unpack(packed.body, headers.pop("content-encoding"), MAX_TILE_BYTES)
        except BodyTooLargeError as error:
            self.fail(Fault.TOO_LARGE, str(error))
        except PackedBodyError as error:
            self.fail(Fault.PROTOCOL, str(error))
        else:
            return packed._replace(headers=headers, body=body)
        return None
