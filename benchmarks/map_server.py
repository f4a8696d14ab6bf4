"""An ArcGIS map service that costs next to nothing: a hundred whole PNGs, in a process and on a core of its own.

``python -m benchmarks.map_server --bytes 15000 [--latency 0.05] [--cpu 0]`` prints its port and ends when its
standard input does. The full extent is one tile of level 7, so level 14 is one block of 128 x 128 tiles, and level
``n`` has ``4 ** (n - 7)``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import math
import random
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from benchmarks.measure import ROOT, pin

SIDE = 256
PICTURES = 100
FINEST = 19
HOME_LEVEL, HOME_ROW, HOME_COL = 7, 48, 66
"""The tile that is the whole service."""

PLAIN_BYTES = 600
"""More than the same picture takes without its noise, the frames of its chunks included."""

FRAME_BYTES = 12
"""Length, type and CRC of a PNG chunk."""

PATH = "/tiles/MapServer"
HALF = 20037508.342787
HEAD_END = b"\r\n\r\n"
BACKLOG = 4096


def tiles_of(level: int) -> int:
    """Tiles that the service has at a level from 7 on."""
    return 1 << 2 * (level - HOME_LEVEL)


def picture(number: int, size: int) -> bytes:
    """A PNG of 256 x 256 pixels in exactly ``size`` bytes: a patch of noise on a plain ground, and a comment."""
    from PIL import Image

    patch = int(math.sqrt(max(0, size - PLAIN_BYTES) * 0.9))
    image = Image.new("L", (SIDE, SIDE))
    image.paste(Image.frombytes("L", (patch, patch), random.Random(number).randbytes(patch * patch)), (number, 9))
    out = io.BytesIO()
    image.save(out, "PNG")
    png = out.getvalue()
    text = b"tEXtComment\0" + b" " * (size - len(png) - FRAME_BYTES - len(b"Comment\0"))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return png[:-12] + chunk + png[-12:]


@cache
def pictures(size: int) -> tuple[bytes, ...]:
    """The bodies, by the last digit of row and column."""
    made = tuple(picture(number, size) for number in range(PICTURES))
    assert {len(body) for body in made} == {size}
    return made


def body_of(row: int, col: int, size: int) -> bytes:
    """What the service sends for a tile."""
    return pictures(size)[row % 10 * 10 + col % 10]


def document() -> bytes:
    """The service document: Google's grid to level 19, without a tilemap."""
    span = 2 * HALF / 2**HOME_LEVEL
    west, north = HOME_COL * span - HALF, HALF - HOME_ROW * span
    crs = {"wkid": 102100, "latestWkid": 3857}
    extent = {"xmin": west, "ymin": north - span, "xmax": west + span, "ymax": north, "spatialReference": crs}
    lods = [
        {"level": n, "resolution": 2 * HALF / SIDE / 2**n, "scale": 591657527.591555 / 2**n} for n in range(FINEST + 1)
    ]
    tile_info = {
        "rows": SIDE,
        "cols": SIDE,
        "dpi": 96,
        "format": "PNG8",
        "compressionQuality": 0,
        "origin": {"x": -HALF, "y": HALF},
        "spatialReference": crs,
        "lods": lods,
    }
    return json.dumps(
        {
            "currentVersion": 11.1,
            "mapName": "Tiles",
            "copyrightText": "noise",
            "singleFusedMapCache": True,
            "capabilities": "Map",
            "spatialReference": crs,
            "tileInfo": tile_info,
            "fullExtent": extent,
            "initialExtent": extent,
            "minLOD": 0,
            "maxLOD": FINEST,
        }
    ).encode()


def answer_of(kind: str, body: bytes) -> bytes:
    """A whole answer of nine headers, as tile servers send them."""
    head = (
        "HTTP/1.1 200 OK",
        "Server: tiles",
        "Date: Sun, 22 Nov 2026 12:00:00 GMT",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Last-Modified: Sat, 21 Nov 2026 08:00:00 GMT",
        "Connection: keep-alive",
        'ETag: "1f5a2-3ae8"',
        "Cache-Control: max-age=86400",
        "Accept-Ranges: bytes",
    )
    return "\r\n".join(head).encode() + HEAD_END + body


class _Service(asyncio.Protocol):
    def __init__(self, answers: list[bytes], about: bytes, latency: float) -> None:
        self._answers = answers
        self._about = about
        self._latency = latency
        self._rest = b""

    def connection_made(self, transport: Any) -> None:
        self._write = transport.write
        self._later = asyncio.get_running_loop().call_later

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        *heads, self._rest = data.split(HEAD_END)
        for head in heads:
            path = head[4 : head.index(b" ", 4)].partition(b"?")[0]
            if b"/tile/" in path:
                answer = self._answers[(path[path.rindex(b"/") - 1] - 48) * 10 + path[-1] - 48]
            else:
                answer = self._about
            if self._latency:
                self._later(self._latency, self._write, answer)
            else:
                self._write(answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapService:
    """A running one."""

    port: int
    size: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"


@contextlib.contextmanager
def map_server(*, size: int, latency: float = 0.0, cpu: int | None = None) -> Iterator[MapService]:
    """Run one in a process of its own until the block ends."""
    command = [sys.executable, "-m", "benchmarks.map_server", "--bytes", str(size), "--latency", str(latency)]
    if cpu is not None:
        command += ["--cpu", str(cpu)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield MapService(port=int(process.stdout.readline()), size=size)
        finally:
            process.stdin.close()
            process.wait()


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    answers = [answer_of("image/png", body) for body in pictures(options.bytes)]
    about = answer_of("application/json", document())
    server = await loop.create_server(
        lambda: _Service(answers, about, options.latency), "127.0.0.1", 0, backlog=BACKLOG
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    # A thread, for standard input can't be watched by every loop on every system.
    watch = threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True)
    watch.start()
    await ended.wait()
    server.close()


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=15_000)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--cpu", type=int)
    options = parser.parse_args(argv)
    pin(options.cpu)
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(options))
    else:
        uvloop.run(_serve(options))


if __name__ == "__main__":
    main(sys.argv[1:])
