"""Acts that break HTTP or the connection: cut, endless and exploding bodies, garbage heads, resets, stalls, drips."""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import lru_cache

from harvester.testing.scene import Scene, chunks

BIG_HEADER_BYTES = 20_000
"""More than the 8 KB that servers and clients commonly bear in one header."""

BOMB_BYTES = 200_000_000
"""Decoded size of a gzip bomb: far beyond any tile, yet about 200 KB on the wire."""

ENDLESS_BYTES = 1 << 30
"""Where an endless body ends after all, so that a client without a cap fails instead of filling the machine."""

ENDLESS_PIECE = b"\x00" * 65536


async def truncate(scene: Scene) -> None:
    """Content-Length of the whole, the body up to ``at``, then closed."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.sized() + scene.cut())
    scene.wire.finish()


async def truncate_unframed(scene: Scene) -> None:
    """No length, the body up to ``at``, then closed: no client can tell from HTTP alone."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Connection", "close")) + scene.cut())
    scene.wire.finish()


async def truncate_chunked(scene: Scene) -> None:
    """Chunks up to ``at``, then closed without the last chunk."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Transfer-Encoding", "chunked")) + chunks(scene.cut()))
    scene.wire.finish()


async def bad_chunk(scene: Scene) -> None:
    """A chunk whose size is no number."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Transfer-Encoding", "chunked")) + chunks(scene.cut()) + b"zz\r\nnonsense\r\n")
    scene.wire.finish()


async def bad_length(scene: Scene) -> None:
    """A Content-Length of ``text`` (``many``)."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Content-Length", scene.rule.text or "many")) + scene.reply.body)
    scene.wire.finish()


async def overlong(scene: Scene) -> None:
    """``bytes`` (64) more than Content-Length says, the connection kept."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.sized() + scene.reply.body + b"\x00" * (scene.rule.bytes or 64))


async def endless(scene: Scene) -> None:
    """A chunked body that goes on until the client leaves (or ``bytes``, 1 GiB)."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.reply.head(("Transfer-Encoding", "chunked")))
    for _ in range(-(-(scene.rule.bytes or ENDLESS_BYTES) // len(ENDLESS_PIECE))):
        scene.wire.send(chunks(ENDLESS_PIECE))
        await scene.wire.drain()
    scene.wire.finish()


async def gzip_bomb(scene: Scene) -> None:
    """A gzip-encoded body of a few hundred KB that decodes to ``bytes`` (200 MB)."""
    body = _bomb(-(-(scene.rule.bytes or BOMB_BYTES) // 1_000_000))
    scene.say(replace(scene.reply, body=body, headers=(*scene.reply.headers, ("Content-Encoding", "gzip"))))


async def broken_gzip(scene: Scene) -> None:
    """A body that calls itself gzip-encoded and isn't."""
    body = b"\x1f\x8b\x08\x00" + bytes(6) + b"this is no deflate stream"
    scene.say(replace(scene.reply, body=body, headers=(*scene.reply.headers, ("Content-Encoding", "gzip"))))


async def big_header(scene: Scene) -> None:
    """The right answer with one header of ``bytes`` (20,000)."""
    filler = ("X-Filler", "x" * (scene.rule.bytes or BIG_HEADER_BYTES))
    scene.say(replace(scene.reply, headers=(*scene.reply.headers, filler)))


async def garbage(scene: Scene) -> None:
    """``text`` where the status line should be, then closed."""
    scene.wire.send((scene.rule.text or "SMTP ready, what is your name?").encode("latin-1") + b"\r\n\r\n")
    scene.wire.finish()


async def reset_before(scene: Scene) -> None:
    """Reset (RST) before the first byte of the answer."""
    scene.wire.reset()


async def reset_inside(scene: Scene) -> None:
    """Reset (RST) after head and body up to ``at``."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.sized() + scene.cut())
    await scene.wire.drain()
    scene.wire.reset()


async def close_before(scene: Scene) -> None:
    """Closed before the first byte; with ``on_connection = "2-"`` this is the keep-alive race."""
    scene.wire.finish()


async def close_after(scene: Scene) -> None:
    """The right answer, which promises to keep the connection, then closed after ``seconds``."""
    scene.say(scene.reply)
    if scene.rule.seconds:
        await scene.wire.pause(scene.rule.seconds)
    scene.wire.finish()


async def close_announced(scene: Scene) -> None:
    """The right answer with ``Connection: close``, then closed."""
    scene.say(replace(scene.reply, headers=(*scene.reply.headers, ("Connection", "close"))))
    scene.wire.finish()


async def stall(scene: Scene) -> None:
    """Nothing for ``seconds`` (0: until the client leaves), then closed."""
    await scene.wire.pause(scene.rule.seconds)
    scene.wire.finish()


async def stall_inside(scene: Scene) -> None:
    """Head and body up to ``at``, then nothing for ``seconds`` (0: until the client leaves), then closed."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.sized() + scene.cut())
    await scene.wire.pause(scene.rule.seconds)
    scene.wire.finish()


async def drip(scene: Scene) -> None:
    """The right answer, its body ``bytes`` (1) at a time with a pause of ``seconds`` (0.2) between."""
    scene.asked.status = scene.reply.status
    scene.wire.send(scene.sized())
    await _drops(scene, scene.reply.body)


async def drip_head(scene: Scene) -> None:
    """The right answer, dripped from its first byte on."""
    scene.asked.status = scene.reply.status
    await _drops(scene, scene.reply.whole())


async def _drops(scene: Scene, data: bytes) -> None:
    size = scene.rule.bytes or 1
    for start in range(0, len(data), size):
        scene.wire.send(data[start : start + size])
        await scene.wire.pause(scene.rule.seconds or 0.2)


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


BREAKAGE = (
    truncate,
    truncate_unframed,
    truncate_chunked,
    bad_chunk,
    bad_length,
    overlong,
    endless,
    gzip_bomb,
    broken_gzip,
    big_header,
    garbage,
    reset_before,
    reset_inside,
    close_before,
    close_after,
    close_announced,
    stall,
    stall_inside,
    drip,
    drip_head,
)
