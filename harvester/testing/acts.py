"""What a fault server can do instead of answering rightly: one short coroutine for each act, by name."""

from __future__ import annotations

import zlib
from dataclasses import replace

from harvester.testing.breakage import BREAKAGE
from harvester.testing.reply import Reply
from harvester.testing.scene import Act, Scene, chunks, retry_after
from harvester.tiling.tile import Tile

HTML = "text/html; charset=utf-8"
JSON = "application/json; charset=utf-8"


async def answer(scene: Scene) -> None:
    """The right answer; with ``delay`` and ``headers``."""
    scene.say(scene.reply)


async def status(scene: Scene) -> None:
    """Another ``status`` with ``retry_after``, ``skew``, and ``text`` as an HTML page."""
    rule = scene.rule
    code = rule.status or 500
    body = (rule.text or f"<html><body><h1>{code}</h1></body></html>").encode()
    scene.say(Reply(status=code, body=body, content_type=HTML, headers=retry_after(rule, scene.now)))


async def html(scene: Scene) -> None:
    """A login page, or ``text``, as HTML with status 200."""
    text = scene.rule.text or "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in</body></html>"
    scene.say(Reply(body=text.encode(), content_type=HTML))


async def json_error(scene: Scene) -> None:
    """An ArcGIS error of code ``status`` and message ``text`` in a 200."""
    code = scene.rule.status or 500
    text = (scene.rule.text or f"Error {code}").replace("\\", "\\\\").replace('"', '\\"')
    body = f'{{"error":{{"code":{code},"message":"{text}","details":[]}}}}'
    scene.say(Reply(body=body.encode(), content_type=JSON))


async def empty(scene: Scene) -> None:
    """A 200 with the right type and no byte."""
    scene.say(replace(scene.reply, body=b""))


async def no_content(scene: Scene) -> None:
    """A 204."""
    scene.say(Reply(status=204))


async def blank_tile(scene: Scene) -> None:
    """A placeholder picture with status 200 and the header ``blank-tile: true``."""
    if scene.asked.tile is not None:
        picture = scene.site.picture(scene.asked.tile, variant=255)
        scene.say(replace(picture, headers=(*picture.headers, ("blank-tile", "true"))))


async def wrong_size(scene: Scene) -> None:
    """A whole picture of ``width`` x ``height`` pixels instead of the scheme's."""
    if scene.asked.tile is not None:
        scene.say(scene.site.picture(scene.asked.tile, width=scene.rule.width or -1, height=scene.rule.height or -1))


async def stand_in(scene: Scene) -> None:
    """A whole picture of the right size and format that is no tile, and another one for every request."""
    if scene.asked.tile is not None:
        scene.say(scene.site.picture(Tile(255, scene.asked.serial, scene.asked.serial)))


async def wrong_format(scene: Scene) -> None:
    """A whole picture in another format than the service states (JPEG for PNG, PNG for JPEG)."""
    if scene.asked.tile is not None:
        scene.say(scene.site.picture(scene.asked.tile, other_format=True))


async def wrong_type(scene: Scene) -> None:
    """The right bytes under the Content-Type ``text`` (``text/plain``)."""
    scene.say(replace(scene.reply, content_type=scene.rule.text or "text/plain"))


async def cut_image(scene: Scene) -> None:
    """The body up to ``at``, rightly framed: HTTP is whole, the picture isn't."""
    scene.say(replace(scene.reply, body=scene.cut()))


async def flipped(scene: Scene) -> None:
    """The body with the bits of the byte at ``at`` flipped."""
    body = bytearray(scene.reply.body)
    if body:
        body[min(len(scene.cut()), len(body) - 1)] ^= 0xFF
    scene.say(replace(scene.reply, body=bytes(body)))


async def redirect(scene: Scene) -> None:
    """A redirect (``status``, 302) to ``to``: a URL (``file://`` too), ``loop`` (itself) or ``login`` (a page)."""
    to = {"loop": scene.asked.target, "login": f"/login?from={scene.asked.path}"}.get(scene.rule.to, scene.rule.to)
    scene.say(Reply(status=scene.rule.status or 302, headers=(("Location", to or scene.asked.target),)))


async def informational(scene: Scene) -> None:
    """An interim answer (``status``, 103) before the right one."""
    scene.wire.send(Reply(status=scene.rule.status or 103).head())
    scene.say(scene.reply)


async def chunked(scene: Scene) -> None:
    """The right answer in chunks: legal, to see that it is understood."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Transfer-Encoding", "chunked")) + chunks(scene.reply.body) + b"0\r\n\r\n")


async def unframed(scene: Scene) -> None:
    """The whole body without a length, ended by closing: legal in HTTP/1.1, and proves nothing."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Connection", "close")) + scene.reply.body)
    scene.wire.finish()


async def gzip(scene: Scene) -> None:
    """The right body, gzip-encoded: legal."""
    packer = zlib.compressobj(wbits=31)
    body = packer.compress(scene.reply.body) + packer.flush()
    scene.say(replace(scene.reply, body=body, headers=(*scene.reply.headers, ("Content-Encoding", "gzip"))))


async def deflate(scene: Scene) -> None:
    """The right body in ``deflate`` (zlib), and in nothing else: legal, whatever was asked for."""
    reply = scene.reply
    others = tuple(pair for pair in reply.headers if pair[0].lower() != "content-encoding")
    body = zlib.decompress(reply.body, wbits=31) if reply.body[:2] == b"\x1f\x8b" else reply.body
    scene.say(replace(reply, body=zlib.compress(body), headers=(*others, ("Content-Encoding", "deflate"))))


ACTS: dict[str, Act] = {
    act.__name__: act
    for act in (
        answer,
        status,
        html,
        json_error,
        empty,
        no_content,
        blank_tile,
        wrong_size,
        stand_in,
        wrong_format,
        wrong_type,
        cut_image,
        flipped,
        redirect,
        informational,
        chunked,
        unframed,
        gzip,
        deflate,
        *BREAKAGE,
    )
}
"""Every act by the name that a script calls it."""
