"""A server that costs next to nothing: the same bytes to every GET on kept connections, in a process and on a core of
its own.

``python -m benchmarks.tile_server --bytes 15000 [--latency 0.05] [--tls CERT KEY] [--cpu 0]`` prints its port and
ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import os
import random
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

HEAD_END = b"\r\n\r\n"

TICK_SECONDS = 0.001
"""What loops' timers are exact to; an answer is as often this half too early as too late."""

BACKLOG = 4096
"""A whole ramp of connections at once, so that none waits for a SYN to be sent again."""


def answer_of(size: int) -> bytes:
    """A whole answer of nine headers, as tile servers send them, and ``size`` random bytes."""
    head = (
        "HTTP/1.1 200 OK",
        "Server: tiles",
        "Date: Sun, 22 Nov 2026 12:00:00 GMT",
        "Content-Type: image/png",
        f"Content-Length: {size}",
        "Last-Modified: Sat, 21 Nov 2026 08:00:00 GMT",
        "Connection: keep-alive",
        'ETag: "1f5a2-3ae8"',
        "Cache-Control: max-age=86400",
        "Accept-Ranges: bytes",
    )
    return "\r\n".join(head).encode() + HEAD_END + random.Random(size).randbytes(size)


class _Late:
    """Writes that are due after ``latency`` seconds: first in, first out, so one timer serves them all."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._due: deque[tuple[float, Callable[[], None]]] = deque()
        self._loop = asyncio.get_running_loop()

    def add(self, write: Callable[[], None]) -> None:
        if not self._due:
            self._loop.call_later(self._latency, self._write)
        self._due.append((time.monotonic() + self._latency, write))

    def _write(self) -> None:
        due = self._due
        now = time.monotonic() + TICK_SECONDS / 2
        while due and due[0][0] <= now:
            due.popleft()[1]()
        if due:
            self._loop.call_later(max(0.0, due[0][0] - time.monotonic()), self._write)


class _Tiles(asyncio.Protocol):
    def __init__(self, pieces: Sequence[bytes], late: _Late | None) -> None:
        self._pieces = pieces
        self._late = late
        self._rest = b""

    def connection_made(self, transport: Any) -> None:
        self._write = functools.partial(transport.write, self._pieces[0])
        if len(self._pieces) > 1:
            self._write = functools.partial(self._write_pieces, transport, 0)

    def _write_pieces(self, transport: Any, at: int) -> None:
        """One in each turn of the loop, so that the client mostly reads them one by one."""
        transport.write(self._pieces[at])
        if at + 1 < len(self._pieces):
            asyncio.get_running_loop().call_soon(self._write_pieces, transport, at + 1)

    def data_received(self, data: bytes) -> None:
        if self._rest or not data.endswith(HEAD_END):
            data = self._rest + data
            self._rest = data[data.rfind(HEAD_END) + 4 :] if HEAD_END in data else data
        for _ in range(data.count(HEAD_END)):
            if self._late is not None:
                self._late.add(self._write)
            else:
                self._write()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """A running server: where it listens, what it sends, and whom to trust (None: no TLS)."""

    port: int
    size: int
    ca: Path | None

    @property
    def scheme(self) -> str:
        return "https" if self.ca else "http"


@contextlib.contextmanager
def tile_server(
    *, size: int, latency: float = 0.0, tls: bool = False, pieces: int = 1, cpu: int | None = None
) -> Iterator[Tiles]:
    """Run one in a process of its own until the block ends; each answer is sent in so many ``pieces``."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.tile_server", "--bytes", str(size), "--latency", str(latency)]
        command += ["--pieces", str(pieces)]
        ca = None
        if tls:
            ca, certificate, key = _certificates(Path(folder))
            command += ["--tls", str(certificate), str(key)]
        if cpu is not None:
            command += ["--cpu", str(cpu)]
        root = Path(__file__).resolve().parent.parent
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as process:
            assert process.stdin is not None and process.stdout is not None
            try:
                yield Tiles(port=int(process.stdout.readline()), size=size, ca=ca)
            finally:
                process.stdin.close()
                process.wait()


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", key_type=trustme.KeyType.RSA)
    paths = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
    authority.cert_pem.write_to_path(str(paths[0]))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(paths[1]), append=True)
    issued.private_key_pem.write_to_path(str(paths[2]))
    return paths


def pin(cpu: int | None) -> None:
    """Keep this process on one core, where the system can and has it."""
    if cpu is not None and hasattr(os, "sched_setaffinity") and cpu in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {cpu})


async def _serve(options: argparse.Namespace) -> None:
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
    loop = asyncio.get_running_loop()
    answer = answer_of(options.bytes)
    each = -(-len(answer) // options.pieces)
    pieces = [answer[at : at + each] for at in range(0, len(answer), each)]
    late = _Late(options.latency) if options.latency else None
    server = await loop.create_server(lambda: _Tiles(pieces, late), "127.0.0.1", 0, ssl=context, backlog=BACKLOG)
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
    parser.add_argument("--pieces", type=int, default=1)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
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
