"""What an act of the fault server works with: the rule, the request, the right answer, the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

from harvester.testing.log import Asked
from harvester.testing.reply import Reply, Site, Wire

if TYPE_CHECKING:
    from harvester.testing.script import Rule


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


def retry_after(rule: Rule, now: float) -> tuple[tuple[str, str], ...]:
    """Retry-After and Date as the rule wants them: seconds, an HTTP date (RFC 9110, 5.6.7), or a text as it stands."""
    value = rule.retry_after
    if value is None:
        return ()
    now += rule.skew
    date = (("Date", formatdate(now, usegmt=True)),)
    if isinstance(value, str) and value[:5] in ("date+", "date-"):
        return (*date, ("Retry-After", formatdate(now + float(value[4:]), usegmt=True)))
    return (*date, ("Retry-After", f"{value:g}" if isinstance(value, float) else str(value)))


def chunks(body: bytes, size: int = 16384) -> bytes:
    """A body as HTTP chunks (RFC 9112, 7.1), without the last."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
