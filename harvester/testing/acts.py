"""What a fault server can do instead of answering rightly: one short coroutine for each act, by name."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING

from harvester.testing.log import Asked
from harvester.testing.reply import Reply, Site, Wire

if TYPE_CHECKING:
    from harvester.testing.script import Rule

BIG_HEADER_BYTES = 20_000
"""More than the 8 KB that servers and clients commonly bear in one header."""

BOMB_BYTES = 200_000_000
"""Decoded size of a gzip bomb: far beyond any tile, yet about 200 KB on the wire."""

ENDLESS_BYTES = 1 << 30
"""Where an endless body ends after all, so that a client without a cap fails instead of filling the machine."""

ENDLESS_PIECE = b"\x00" * 65536

HTML = "text/html; charset=utf-8"
JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that an act needs: the rule that called it, the request, the right answer, and the connection."""

    rule: Rule
    asked: Asked
    reply: Reply
    site: Site
    wire: Wire
    now: float
    """Wall clock, seconds since 1970, without the rule's skew."""

    def cut(self) -> bytes:
        """The body up to the rule's ``at``."""
        at = self.rule.at
        return self.reply.body[: round(len(self.reply.body) * at) if at < 1 else int(at)]

    def sized(self, length: int | None = None) -> bytes:
        """The head with the body's Content-Length, or another."""
        return self.reply.head(("Content-Length", str(len(self.reply.body) if length is None else length)))

    def say(self, reply: Reply) -> None:
        """Send another answer than the right one, rightly framed."""
        self.asked.status = reply.status
        self.wire.send(reply.whole())


Act = Callable[[Scene], Awaitable[None]]

ACTS: dict[str, Act] = {}
"""Every act by the name that a script calls it."""


def _act(function: Act) -> Act:
    ACTS[function.__name__] = function
    return function


def retry_after(rule: Rule, now: float) -> tuple[tuple[str, str], ...]:
    """Retry-After and Date as the rule wants them: seconds, an HTTP date (RFC 9110, 5.6.7), or any text as it stands."""
    value = rule.retry_after
    if value is None:
        return ()
    now += rule.skew
    date = (("Date", formatdate(now, usegmt=True)),)
    if isinstance(value, str) and value[:5] in ("date+", "date-"):
        return (*date, ("Retry-After", formatdate(now + float(value[4:]), usegmt=True)))
    return (*date, ("Retry-After", f"{value:g}" if isinstance(value, float) else str(value)))


# ------------------------------------------------------------------------------------------- whole answers


@_act
async def answer(scene: Scene) -> None:
    """The right answer; with ``delay`` and ``headers``."""
    scene.say(scene.reply)


@_act
async def status(scene: Scene) -> None:
    """Another ``status`` with ``retry_after``, ``skew``, and ``text`` as an HTML page."""
    rule = scene.rule
    code = rule.status or 500
    body = (rule.text or f"<html><body><h1>{code}</h1></body></html>").encode()
    scene.say(Reply(status=code, body=body, content_type=HTML, headers=retry_after(rule, scene.now)))


@_act
async def html(scene: Scene) -> None:
    """A login page, or ``text``, as HTML with status 200."""
    text = scene.rule.text or "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in</body></html>"
    scene.say(Reply(body=text.encode(), content_type=HTML))


@_act
async def json_error(scene: Scene) -> None:
    """An ArcGIS error of code ``status`` and message ``text`` in a 200."""
    code = scene.rule.status or 500
    text = (scene.rule.text or f"Error {code}").replace("\\", "\\\\").replace('"', '\\"')
    body = f'{{"error":{{"code":{code},"message":"{text}","details":[]}}}}'
    scene.say(Reply(body=body.encode(), content_type=JSON))


@_act
async def empty(scene: Scene) -> None:
    """A 200 with the right type and no byte."""
    scene.say(replace(scene.reply, body=b""))


@_act
async def no_content(scene: Scene) -> None:
    """A 204."""
    scene.say(Reply(status=204))


@_act
async def blank_tile(scene: Scene) -> None:
    """A placeholder picture with status 200 and the header ``blank-tile: true``."""
    if scene.asked.tile is not None:
        picture = scene.site.picture(scene.asked.tile, variant=255)
        scene.say(replace(picture, headers=(*picture.headers, ("blank-tile", "true"))))


@_act
async def wrong_size(scene: Scene) -> None:
    """A whole picture of ``width`` x ``height`` pixels instead of the scheme's."""
    if scene.asked.tile is not None:
        scene.say(scene.site.picture(scene.asked.tile, width=scene.rule.width or -1, height=scene.rule.height or -1))


@_act
async def wrong_format(scene: Scene) -> None:
    """A whole picture in another format than the service states (JPEG for PNG, PNG for JPEG)."""
    if scene.asked.tile is not None:
        scene.say(scene.site.picture(scene.asked.tile, other_format=True))


@_act
async def wrong_type(scene: Scene) -> None:
    """The right bytes under the Content-Type ``text`` (``text/plain``)."""
    scene.say(replace(scene.reply, content_type=scene.rule.text or "text/plain"))


@_act
async def cut_image(scene: Scene) -> None:
    """The body up to ``at``, rightly framed: HTTP is whole, the picture isn't."""
    scene.say(replace(scene.reply, body=scene.cut()))


@_act
async def flipped(scene: Scene) -> None:
    """The body with the bits of the byte at ``at`` flipped."""
    body = bytearray(scene.reply.body)
    if body:
        body[min(len(scene.cut()), len(body) - 1)] ^= 0xFF
    scene.say(replace(scene.reply, body=bytes(body)))


@_act
async def redirect(scene: Scene) -> None:
    """A redirect (``status``, 302) to ``to``: a URL (``file://`` too), ``loop`` (to itself) or ``login`` (a login page)."""
    to = {"loop": scene.asked.target, "login": f"/login?from={scene.asked.path}"}.get(scene.rule.to, scene.rule.to)
    scene.say(Reply(status=scene.rule.status or 302, headers=(("Location", to or scene.asked.target),)))


@_act
async def informational(scene: Scene) -> None:
    """An interim answer (``status``, 103) before the right one."""
    scene.wire.send(Reply(status=scene.rule.status or 103).head())
    scene.say(scene.reply)


@_act
async def chunked(scene: Scene) -> None:
    """The right answer in chunks: legal, to see that it is understood."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Transfer-Encoding", "chunked")) + _chunks(scene.reply.body) + b"0\r\n\r\n")


@_act
async def unframed(scene: Scene) -> None:
    """The whole body without a length, ended by closing: legal in HTTP/1.1, and proves nothing."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Connection", "close")) + scene.reply.body)
    scene.wire.finish()


@_act
async def gzip(scene: Scene) -> None:
    """The right body, gzip-encoded: legal."""
    packer = zlib.compressobj(wbits=31)
    body = packer.compress(scene.reply.body) + packer.flush()
    scene.say(replace(scene.reply, body=body, headers=(*scene.reply.headers, ("Content-Encoding", "gzip"))))


# ------------------------------------------------------------------------------------------- broken bodies


@_act
async def truncate(scene: Scene) -> None:
    """Content-Length of the whole, the body up to ``at``, then closed."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.sized() + scene.cut())
    scene.wire.finish()


@_act
async def truncate_unframed(scene: Scene) -> None:
    """No length, the body up to ``at``, then closed: no client can tell from HTTP alone."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Connection", "close")) + scene.cut())
    scene.wire.finish()


@_act
async def truncate_chunked(scene: Scene) -> None:
    """Chunks up to ``at``, then closed without the last chunk."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Transfer-Encoding", "chunked")) + _chunks(scene.cut()))
    scene.wire.finish()


@_act
async def bad_chunk(scene: Scene) -> None:
    """A chunk whose size is no number."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Transfer-Encoding", "chunked")) + _chunks(scene.cut()) + b"zz\r\nnonsense\r\n")
    scene.wire.finish()


@_act
async def bad_length(scene: Scene) -> None:
    """A Content-Length of ``text`` (``many``)."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Content-Length", scene.rule.text or "many")) + scene.reply.body)
    scene.wire.finish()


@_act
async def overlong(scene: Scene) -> None:
    """``bytes`` (64) more than Content-Length says, the connection kept."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.sized() + scene.reply.body + b"\x00" * (scene.rule.bytes or 64))


@_act
async def endless(scene: Scene) -> None:
    """A chunked body that goes on until the client leaves (or ``bytes``, 1 GiB)."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Transfer-Encoding", "chunked")))
    for _ in range(-(-(scene.rule.bytes or ENDLESS_BYTES) // len(ENDLESS_PIECE))):
        scene.wire.send(_chunks(ENDLESS_PIECE))
        await scene.wire.drain()
    scene.wire.finish()


@_act
async def gzip_bomb(scene: Scene) -> None:
    """A gzip-encoded body of a few hundred KB that decodes to ``bytes`` (200 MB)."""
    body = _bomb(-(-(scene.rule.bytes or BOMB_BYTES) // 1_000_000))
    scene.say(replace(scene.reply, body=body, headers=(*scene.reply.headers, ("Content-Encoding", "gzip"))))


@_act
async def broken_gzip(scene: Scene) -> None:
    """A body that calls itself gzip-encoded and isn't."""
    body = b"\x1f\x8b\x08\x00" + bytes(6) + b"this is no deflate stream"
    scene.say(replace(scene.reply, body=body, headers=(*scene.reply.headers, ("Content-Encoding", "gzip"))))


# ------------------------------------------------------------------------------------------- broken heads


@_act
async def big_header(scene: Scene) -> None:
    """The right answer with one header of ``bytes`` (20,000)."""
    filler = ("X-Filler", "x" * (scene.rule.bytes or BIG_HEADER_BYTES))
    scene.say(replace(scene.reply, headers=(*scene.reply.headers, filler)))


@_act
async def garbage(scene: Scene) -> None:
    """``text`` where the status line should be, then closed."""
    scene.wire.send((scene.rule.text or "SMTP ready, what is your name?").encode("latin-1") + b"\r\n\r\n")
    scene.wire.finish()


# ------------------------------------------------------------------------------------------- broken connections


@_act
async def reset_before(scene: Scene) -> None:
    """Reset (RST) before the first byte of the answer."""
    scene.wire.reset()


@_act
async def reset_inside(scene: Scene) -> None:
    """Reset (RST) after head and body up to ``at``."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.sized() + scene.cut())
    await scene.wire.drain()
    scene.wire.reset()


@_act
async def close_before(scene: Scene) -> None:
    """Closed before the first byte; with ``on_connection = "2-"`` this is the keep-alive race."""
    scene.wire.finish()


@_act
async def close_after(scene: Scene) -> None:
    """The right answer, which promises to keep the connection, then closed after ``seconds``."""
    scene.say(scene.reply)
    if scene.rule.seconds:
        await scene.wire.pause(scene.rule.seconds)
    scene.wire.finish()


@_act
async def close_announced(scene: Scene) -> None:
    """The right answer with ``Connection: close``, then closed."""
    scene.say(replace(scene.reply, headers=(*scene.reply.headers, ("Connection", "close"))))
    scene.wire.finish()


@_act
async def stall(scene: Scene) -> None:
    """Nothing for ``seconds`` (0: until the client leaves), then closed."""
    await scene.wire.pause(scene.rule.seconds)
    scene.wire.finish()


@_act
async def stall_inside(scene: Scene) -> None:
    """Head and body up to ``at``, then nothing for ``seconds`` (0: until the client leaves), then closed."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.sized() + scene.cut())
    await scene.wire.pause(scene.rule.seconds)
    scene.wire.finish()


@_act
async def drip(scene: Scene) -> None:
    """The right answer, its body ``bytes`` (1) at a time with a pause of ``seconds`` (0.2) between."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.sized())
    await _drops(scene, scene.reply.body)


@_act
async def drip_head(scene: Scene) -> None:
    """The right answer, dripped from its first byte on."""
    scene.asked.status = scene.reply.status
    await _drops(scene, scene.reply.whole())


async def _drops(scene: Scene, data: bytes) -> None:
    size = scene.rule.bytes or 1
    for start in range(0, len(data), size):
        scene.wire.send(data[start : start + size])
        await scene.wire.pause(scene.rule.seconds or 0.2)


def _chunks(body: bytes, size: int = 16384) -> bytes:
    """A body as HTTP chunks (RFC 9112, 7.1), without the last."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


@lru_cache(maxsize=4)
def _bomb(megabytes: int) -> bytes:
    """A gzip stream (RFC 1952) of that many million zeros: one flushed deflate block, repeated."""
    packer = zlib.compressobj(9, wbits=-15)
    zeros = bytes(1_000_000)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    check = 0
    for _ in range(megabytes):
        check = zlib.crc32(zeros, check)
    size = megabytes * len(zeros) & 0xFFFFFFFF
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    return head + block * megabytes + b"\x03\x00" + check.to_bytes(4, "little") + size.to_bytes(4, "little")
