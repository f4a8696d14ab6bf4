"""Answers as bytes, whole and broken, drawn from a seeded generator: what a server may send, and what it may not."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

STATUSES = (200, 200, 200, 200, 404, 403, 500, 503, 302, 204, 304, 206)
BODYLESS = frozenset({204, 304})


class Spoken(NamedTuple):
    """What a server says to one request: bytes in pieces, whether it then closes the connection, and the recipe."""

    pieces: tuple[bytes, ...]
    closes: bool
    made_by: str


def whole(random: Random) -> tuple[bytes, bool, str]:
    """A legal answer, whether it ends with the connection, and its recipe."""
    status = random.choice(STATUSES)
    body = b"" if status in BODYLESS else random.randbytes(random.choice((0, 1, 7, 300, 5000, 70_000)))
    version = random.choice(("1.1", "1.1", "1.1", "1.0"))
    line_end = random.choice((b"\r\n", b"\r\n", b"\r\n", b"\n"))
    lines = [b"HTTP/%b %d %b" % (version.encode(), status, random.choice((b"OK", b"Not: found", b"", b"\xe4h")))]
    lines += [_header(random) for _ in range(random.randrange(6))]
    body, coding = _packed(random, body) if status not in BODYLESS else (body, [])
    lines += coding
    framing = random.choice(("length", "length", "chunked", "close"))
    if status in BODYLESS:
        framing = random.choice(("none", "length"))
    if version == "1.0" and framing == "chunked":
        framing = "close"
    closes = framing == "close" or random.random() < 0.1
    if framing == "length":
        lines.append(b"%b:%b%d" % (random.choice((b"Content-Length", b"content-length")), _blank(random), len(body)))
    elif framing == "chunked":
        lines.append(random.choice((b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED")))
        body = _chunks(random, body)
    if version == "1.0":
        closes = True
    elif closes and random.random() < 0.7:
        lines.append(b"Connection: close")
    random.shuffle(rest := lines[1:])
    head = line_end.join([lines[0], *rest]) + line_end * 2
    before = b"".join(_interim(random) for _ in range(random.choice((0, 0, 0, 0, 1, 2))))
    return before + head + body, closes, f"{status} {framing} HTTP/{version} {line_end!r} {coding}"


def spoken(random: Random) -> Spoken:
    """An answer as above, or one that is cut, changed, or followed by something else; then the connection closes."""
    data, closes, recipe = whole(random)
    harm = random.choice(("", "", "cut", "flip", "insert", "head", "extra"))
    if harm == "cut":
        data = data[: random.randrange(len(data))]
    elif harm == "flip":
        for _ in range(random.randrange(1, 4)):
            at = random.randrange(len(data))
            data = data[:at] + random.randbytes(1) + data[at + 1 :]
    elif harm == "insert":
        at = random.randrange(len(data))
        data = data[:at] + random.choice((b"\r\n", b"\x00", b"0", b":", b"\n\n", random.randbytes(5))) + data[at:]
    elif harm == "head":
        at = random.randrange(min(len(data), 200))
        data = data[:at] + random.randbytes(1) + data[at + 1 :]
    elif harm == "extra":
        data += random.choice((b"x", b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"HTTP/1.1 2"))
    return Spoken(tuple(cut(random, data)), closes or bool(harm), f"{harm or 'whole'}: {recipe}")


def cut(random: Random, data: bytes) -> Iterator[bytes]:
    """The same bytes in one to five pieces."""
    marks = sorted(random.randrange(len(data) + 1) for _ in range(random.choice((0, 0, 1, 2, 4))))
    for start, end in zip([0, *marks], [*marks, len(data)], strict=True):
        if start < end:
            yield data[start:end]


def _header(random: Random) -> bytes:
    name = random.choice((b"X-A", b"x-a", b"ETag", b"Set-Cookie", b"Server", b"Content-Type", b"Blank-Tile"))
    value = random.choice((b"1", b"a b", b"", b'"x:y"', b"caf\xc3\xa9", b"\xe9", b"keep, alive", b"true"))
    return name + b":" + _blank(random) + value + random.choice((b"", b"", b" ", b"\t"))


def _blank(random: Random) -> bytes:
    return random.choice((b" ", b" ", b"", b"\t", b"  "))


def _packed(random: Random, body: bytes) -> tuple[bytes, list[bytes]]:
    match random.randrange(12):
        case 0:
            return gzip.compress(body, 1), [b"Content-Encoding: gzip"]
        case 1:
            return zlib.compress(body, 1), [b"content-encoding: deflate"]
        case 2:
            return body, [random.choice((b"Content-Encoding: gzip", b"Content-Encoding: br"))]
        case 3:
            return body, [b"Content-Encoding: identity"]
        case _:
            return body, []


def _chunks(random: Random, body: bytes) -> bytes:
    out = []
    while body:
        size = min(len(body), random.choice((1, 10, 1000, 50_000)) if len(body) < 1000 else random.choice((999, 9_999)))
        out.append(b"%x%b\r\n%b\r\n" % (size, random.choice((b"", b"", b";a=b", b" ")), body[:size]))
        body = body[size:]
    trailer = random.choice((b"", b"", b"X-Sum: 1\r\n", b"X-Sum: 1\r\nX-A: late\r\n"))
    return b"".join(out) + b"0\r\n" + trailer + b"\r\n"


def _interim(random: Random) -> bytes:
    status, headers = random.choice(((100, b""), (102, b""), (103, b"Link: </a>; rel=preload\r\nX-A: early\r\n")))
    return b"HTTP/1.1 %d Wait\r\n%b\r\n" % (status, headers)
