"""An answer that comes in more than one read, or behind interim ones: what there is of it so far."""

from __future__ import annotations

import re
from time import monotonic
from typing import Final

import httptools

from harvester.edges import MAX_TILE_BYTES, Fault
from harvester.transport.access import LEAST_RATE
from harvester.transport.head import head_end, longest_line

MAX_HEADER_BYTES: Final = 16 << 10
"""Per header: what nginx and IIS send at most; a longer one is a fault, not an answer."""

MAX_HEAD_BYTES: Final = 64 << 10
"""A whole head, the interim answers before it included; twice what servers allow themselves."""

MANY_PIECES: Final = 1024
"""Pieces of a body that are joined to one before more are taken: one-byte chunks cost forty times their size."""

FIRST_BYTE: Final = ord("H")
"""Of every answer; llhttp passes over line ends before it."""

NO_ANSWER: Final = "an interim answer with a body, or a status that is none"

_LENGTH: Final = re.compile(rb"\ncontent-length[ \t]*:[ \t]*([0-9]{1,18})", re.IGNORECASE)
"""What a head states: parsing all of it would cost five times as much for each answer that comes in two reads."""

_CODING: Final = re.compile(rb"\ntransfer-encoding[ \t]*:([^\r\n]*)", re.IGNORECASE)

OTHER_PROTOCOL: Final = "an answer of another protocol"
"""llhttp reads those of RTSP and ICE, too."""

_LINE_END: Final = (13, 10)

Trouble = tuple[Fault, str]
"""Why no answer comes of it: the fault, and what a person reads."""


class Pieces:
    """Head and body of one answer at a time, within their bounds. Whoever parses the body appends to ``parts``."""

    __slots__ = ("again", "begun", "blocks", "head", "headed", "interim", "parts", "since", "taken")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        """Of the body, decoded; the same list always."""
        self.blocks: list[bytes] = []
        """Earlier parts, joined."""
        self.head = b""
        """Bytes until the head is there, then the head."""
        self.headed = False
        self.again = b""
        """What the parser is to be given anew, from the head on, as it did not understand it; else empty."""
        self.begun = False
        """Something came before the read that completes the answer."""
        self.interim = 0
        """Interim answers before it."""
        self.since = 0.0
        """When the head was there."""
        self.taken = 0
        """Bytes since then; with the frames of chunks, so never less than the body."""

    def clear(self) -> None:
        """Make room for the next answer."""
        self.parts.clear()
        self.blocks = []
        self.head = self.again = b""
        self.headed = self.begun = False
        self.interim = self.taken = 0

    def take(self, data: bytes, *, whole: bool, status: int) -> Trouble | None:
        """One more read, which the parser has been given. ``whole``: the answer ends in it; ``status`` as far as the
        parser knows it."""
        self.begun = True
        if not self.headed:
            self.head += data
            trouble = self._find_head(whole, status)
            if trouble is not None or not self.headed:
                return trouble
        if whole:
            return None
        parts = self.parts
        if len(parts) >= MANY_PIECES:
            self.blocks.append(b"".join(parts))
            parts.clear()
        self.taken += len(data)
        # The sum need not be made before so many bytes came.
        if self.taken > MAX_TILE_BYTES and self.size > MAX_TILE_BYTES:
            return Fault.TOO_LARGE, f"more than {MAX_TILE_BYTES} bytes"
        return None

    def take_again(self) -> bytes:
        """What the parser is to be given anew; nothing has come then."""
        data = self.again
        self.clear()
        return data

    @property
    def size(self) -> int:
        """Bytes of the body so far."""
        return sum(map(len, self.blocks)) + sum(map(len, self.parts))

    def body(self) -> bytes:
        """All of it that came."""
        parts = self.parts
        return parts[0] if len(parts) == 1 and not self.blocks else b"".join((*self.blocks, *parts))

    def drips(self, now: float, patience: float) -> bool:
        """True for a body that has come too slowly for too long."""
        seconds = now - self.since
        return self.headed and seconds >= patience and self.size < LEAST_RATE * seconds

    def _find_head(self, whole: bool, status: int) -> Trouble | None:
        """Cut what came down to the final answer's head, once it is there."""
        came = self.head
        start = _start(came, 0)
        for _ in range(self.interim):
            if start < 0:
                break
            start = _start(came, head_end(came, start))
        if start >= 0 and came[start] != FIRST_BYTE:
            return Fault.PROTOCOL, OTHER_PROTOCOL
        end = head_end(came, start) if start >= 0 else -1
        if end < 0:
            return (Fault.PROTOCOL, "the head is too long") if is_long(came) else None
        self.head = came[start:end]
        self.headed = True
        self.since = monotonic()
        if whole:
            return None
        if status < 200:
            return Fault.PROTOCOL, NO_ANSWER
        trimmed = trimmed_coding(self.head)
        if trimmed is not None:
            self.again = trimmed + came[end:]
            return None
        stated = _LENGTH.search(self.head)
        if stated is not None and int(stated[1]) > MAX_TILE_BYTES:
            return Fault.TOO_LARGE, f"{int(stated[1])} bytes stated, more than {MAX_TILE_BYTES}"
        return None


def _start(came: bytes, at: int) -> int:
    """Where the first byte lies that is no line end; -1 where there is none."""
    for index in range(max(at, 0), len(came)):
        if came[index] not in _LINE_END:
            return index
    return -1


def trimmed_coding(head: bytes) -> bytes | None:
    """The head without a tab behind its transfer coding, which is blank space as any (RFC 9110, 5.5) and part of the
    coding's name for llhttp; None where there is none."""
    found = _CODING.search(head)
    while found is not None:
        value = found[1]
        kept = value.rstrip(b" \t")
        if value.find(b"\t", len(kept)) >= 0:
            head = head[: found.start(1)] + kept + head[found.end(1) :]
            return trimmed_coding(head) or head
        found = _CODING.search(head, found.end(1))
    return None


def is_long(head: bytes) -> bool:
    """True for a head, or the beginning of one, beyond what a server may send."""
    size = len(head)
    return size > MAX_HEADER_BYTES and (size > MAX_HEAD_BYTES or longest_line(head) > MAX_HEADER_BYTES)


def words_of(error: BaseException) -> str:
    """llhttp's own words, which quote nothing of what came, or those of the callback that stopped it."""
    if isinstance(error, httptools.HttpParserCallbackError) and error.__context__ is not None:
        error = error.__context__
    return (str(error) or type(error).__name__).splitlines()[0][:100]
