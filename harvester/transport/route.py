"""Requests as bytes: everything but the path is made once per host, and nothing in it can break out of its line."""

from __future__ import annotations

import re
from typing import Final

from harvester.edges import Host, Request

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""A header's name: a token (RFC 9110, 5.6.2)."""

_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
"""A header's value: no control characters but the tab, so no line end (RFC 9110, 5.5)."""


class UnsendableError(ValueError):
    """A path or header that can't be put into a request as it is. The text holds no path and no value."""


class Route:
    """How to ask one host: ``head(request)`` gives the bytes to send.

    ``keeps_gzip`` says that the host's headers ask for gzip, so packed bodies are handed on as received.
    """

    __slots__ = ("_fields", "_rest", "host", "keeps_gzip", "trouble")

    def __init__(self, host: Host, user_agent: str) -> None:
        self.host = host
        self._fields = {
            "host": ("Host", ascii_name(host)),
            "user-agent": ("User-Agent", user_agent),
            "accept": ("Accept", "*/*"),
            "accept-encoding": ("Accept-Encoding", "identity"),
        }
        self.trouble = ""
        """Why nothing can be sent to this host."""
        self._rest = b""
        try:
            self._fields = _with(self._fields, host.headers)
            self._rest = _lines(self._fields)
        except UnsendableError as error:
            self.trouble = str(error)
        self.keeps_gzip = "gzip" in self._fields["accept-encoding"][1]

    def head(self, request: Request) -> tuple[bytes, bool]:
        """The request's bytes, and whether it asks for gzip. Raises UnsendableError."""
        if self.trouble:
            raise UnsendableError(self.trouble)
        path = request.path
        # Printable ASCII without a space holds no line end, no control and nothing that needs percent-encoding.
        if not (path.isascii() and path.isprintable() and path[:1] == "/") or " " in path:
            raise UnsendableError("the path is not percent-encoded")
        if not request.headers:
            return b"GET " + path.encode() + self._rest, self.keeps_gzip
        fields = _with(self._fields, request.headers)
        return b"GET %b%b" % (path.encode("ascii"), _lines(fields)), "gzip" in fields["accept-encoding"][1]


def ascii_name(host: Host) -> str:
    """What the Host header says: the name (A-labels where it is international), and the port unless the scheme's own.

    Raises UnsendableError.
    """
    place = host.origin.partition("://")[2]
    if not place.isascii():
        try:
            place = place.replace(host.name, host.name.encode("idna").decode("ascii"))
        except UnicodeError:
            return ""
    return place


def _with(fields: dict[str, tuple[str, str]], headers: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, str]]:
    return fields | {name.lower(): (name, value) for name, value in headers}


def _lines(fields: dict[str, tuple[str, str]]) -> bytes:
    for name, value in fields.values():
        if not _NAME.fullmatch(name):
            raise UnsendableError("a header's name holds characters that no name may hold")
        if not _VALUE.fullmatch(value):
            raise UnsendableError(f"the header {name} holds a line end or another control character")
    text = "".join(f"{name}: {value.strip()}\r\n" for name, value in fields.values())
    return b" HTTP/1.1\r\n%b\r\n" % text.encode("utf-8", "surrogateescape")
