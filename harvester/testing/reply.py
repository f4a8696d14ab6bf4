"""What a scripted server says when nothing is wrong (Reply), who says it (Site), and what carries it (Wire)."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from harvester.testing.log import Asked, Place
from harvester.tiling.tile import Tile

_REASONS = {status.value: status.phrase for status in HTTPStatus} | {498: "Invalid Token", 499: "Token Required"}

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One HTTP answer before it is put on the wire."""

    status: int = 200
    body: bytes = b""
    content_type: str = ""
    headers: Headers = ()

    def head(self, *framing: tuple[str, str], status_line: str = "") -> bytes:
        """Status line and headers; ``framing`` are the headers that say how long the body is and what follows it."""
        lines = [status_line or f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Unknown')}"]
        if self.content_type:
            lines.append(f"Content-Type: {self.content_type}")
        lines += [f"{name}: {value}" for name, value in (*self.headers, *framing)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def whole(self) -> bytes:
        """The answer as it should be: framed by Content-Length, the connection kept."""
        if self.status in (204, 304) or self.status < 200:
            return self.head()
        return self.head(("Content-Length", str(len(self.body)))) + self.body

    def summary(self) -> str:
        """In words, for the log."""
        return f"{self.status} {self.content_type} {len(self.body)}".replace("  ", " ")


class Site(Protocol):
    """What a fault server serves: it knows what a request asks for and the right answer, and nothing of the wire."""

    def place(self, method: str, target: str) -> Place:
        """What a request asks for."""

    def answer(self, asked: Asked) -> Reply:
        """The right answer."""

    def picture(
        self, tile: Tile, *, width: int = 0, height: int = 0, other_format: bool = False, variant: int = 0
    ) -> Reply:
        """A tile as it should not be: of another size (0: the right one), another format, another content."""


class Wire(Protocol):
    """One connection, as acts see it."""

    def send(self, data: bytes) -> None:
        """Put bytes on the wire as they stand."""

    async def drain(self) -> None:
        """Wait until the peer has taken enough of what was sent."""

    async def pause(self, seconds: float) -> None:
        """Wait; 0: until the connection has gone."""

    def finish(self) -> None:
        """Close in the ordinary way once all is sent."""

    def reset(self) -> None:
        """Close at once, so that the peer sees a reset (RST)."""
