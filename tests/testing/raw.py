"""A client of bare sockets: it sends requests by hand and shows what really came back."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from harvester.testing import ArcGisSite, FaultyService, Rule, Script
from harvester.tiling.tile import Tile

TILE = Tile(5, 3, 7)
PATIENCE = 10.0


class Client:
    """One connection: sends requests by hand, reads whole answers or all that comes."""

    def __init__(self, service: FaultyService) -> None:
        self.service = service
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE)

    def ask(self, tile: Tile = TILE, *headers: str) -> None:
        self.send(f"{self.service.site.path}/tile/{tile}", *headers)

    def send(self, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    def all(self) -> bytes:
        """Everything until the connection ends; ConnectionResetError if it is reset."""
        parts = []
        while part := self.socket.recv(1 << 20):
            parts.append(part)
        return b"".join(parts)

    def some(self, size: int) -> bytes:
        """At least so many bytes."""
        data = b""
        while len(data) < size and (part := self.socket.recv(1 << 20)):
            data += part
        return data

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """One answer framed by Content-Length, as a careful client reads it."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            if not byte:
                raise EOFError(head)
            head += byte
        line, *fields = head.decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        body = b""
        while len(body) < int(headers.get("content-length", "0")):
            part = self.socket.recv(int(headers["content-length"]) - len(body))
            if not part:
                raise EOFError(body)
            body += part
        return int(line.split(" ")[1]), headers, body


@contextmanager
def serving(*rules: Rule, site: ArcGisSite | None = None, **script: object) -> Iterator[tuple[FaultyService, Client]]:
    with FaultyService(site, Script(rules=rules, **script)) as service:  # type: ignore[arg-type]
        client = Client(service)
        try:
            yield service, client
        finally:
            client.socket.close()


def tried(*rules: Rule, site: ArcGisSite | None = None) -> tuple[int, dict[str, str], bytes]:
    """The answer to one tile request under these rules."""
    with serving(*rules, site=site) as (_, client):
        client.ask()
        return client.answer()


def split(data: bytes) -> tuple[bytes, bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


WHOLE = ArcGisSite().body(TILE)


def everything(rule: Rule) -> bytes:
    with serving(rule) as (_, client):
        client.ask()
        return client.all()
