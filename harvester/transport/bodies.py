"""Bodies as they were before the server packed them: gzip and deflate undone, never beyond a cap."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final

GZIP: Final = b"\x1f\x8b"

_OTHER_CODINGS: Final = frozenset({"deflate", "br", "zstd", "compress"})
"""Registered content codings that change a body, besides gzip (RFC 9110, 16.6.1; RFC 8878)."""


class PackedBodyError(ValueError):
    """A packed body that can't be undone: broken, or in a coding that was not asked for."""


class BodyTooLargeError(PackedBodyError):
    """A body that grows beyond the cap when it is unpacked."""


def is_packed(body: bytes, headers: Mapping[str, str], keeps_gzip: bool) -> bool:
    """True when a body is to be unpacked.

    ``keeps_gzip``: it was asked for in gzip, and that is kept as received. Another coding isn't; names of none
    (``utf-8``) are not heeded then.
    """
    if not body or (keeps_gzip and body[:2] == GZIP):
        return False
    coding = headers.get("content-encoding", "")
    if not keeps_gzip:
        return bool(coding)
    return any(part.strip().lower() in _OTHER_CODINGS for part in coding.split(","))


def unpack(body: bytes, coding: str, cap: int) -> bytes:
    """Undo a ``Content-Encoding`` (RFC 9110, 8.4): identity, gzip (any number of members) or deflate (zlib or raw).

    At most ``cap`` bytes and one more are ever held unpacked. Raises BodyTooLargeError or PackedBodyError.
    """
    for name in reversed([part.strip().lower() for part in coding.split(",")]):
        if name in ("gzip", "x-gzip"):
            body = _gunzip(body, cap)
        elif name == "deflate":
            body = _inflate(body, cap)
        elif name not in ("", "identity"):
            raise PackedBodyError(f"content encoding {name!r} was not asked for")
    return body


def _gunzip(body: bytes, cap: int) -> bytes:
    whole = b""
    while body:
        member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        whole += _drain(member, body, cap - len(whole))
        body = member.unused_data.lstrip(b"\0")  # padding after a member is allowed (gzip(1))
    return whole


def _inflate(body: bytes, cap: int) -> bytes:
    """``deflate`` means zlib (RFC 9110, 8.4.1.2), but some servers send it raw."""
    if not body:
        return body
    try:
        return _drain(zlib.decompressobj(), body, cap)
    except BodyTooLargeError:
        raise
    except PackedBodyError:
        return _drain(zlib.decompressobj(-zlib.MAX_WBITS), body, cap)


def _drain(stream: zlib._Decompress, body: bytes, cap: int) -> bytes:
    try:
        whole = stream.decompress(body, cap + 1)
    except zlib.error as error:
        raise PackedBodyError(f"broken content encoding ({error})") from error
    if len(whole) > cap:
        raise BodyTooLargeError(f"more than {cap} bytes when unpacked")
    if not stream.eof:
        raise PackedBodyError("content encoding ends early")
    return whole
