"""Is this a whole tile? Signature, pixel size and the format's own end, without decoding a pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from harvester.edges import MAX_TILE_BYTES, Outcome, TileFormat, Verdict
from harvester.payload.ends import Found, Unwhole
from harvester.payload.gif import SIGNATURES as GIF_SIGNATURES
from harvester.payload.gif import walk_gif
from harvester.payload.jpeg import SIGNATURE as JPEG_SIGNATURE
from harvester.payload.jpeg import walk_jpeg
from harvester.payload.lerc import KEY_1, KEY_2, walk_lerc
from harvester.payload.pbf import GZIP, walk_pbf
from harvester.payload.png import SIGNATURE as PNG_SIGNATURE
from harvester.payload.png import walk_png
from harvester.payload.webp import is_webp, walk_webp

MAX_STRAY: Final = 64 << 10
"""Bytes after a picture's own end that are kept with it when the server stated the length: real caches hold such tiles.
Behind gzip there may be none."""

_WHOLE: Final = Outcome.WHOLE
_PBF: Final = TileFormat.PBF
"""An enum's member costs as much to look up as a call does (Python 3.11); these are asked for with every tile."""

_new: Final = tuple.__new__
"""Makes a NamedTuple in half the time."""

_SIGNATURES: Final = (PNG_SIGNATURE, JPEG_SIGNATURE, *GIF_SIGNATURES, KEY_1, KEY_2)

_KINDS: Final = {
    TileFormat.PNG: frozenset({"png"}),
    TileFormat.JPEG: frozenset({"jpg"}),
    TileFormat.MIXED: frozenset({"png", "jpg"}),
    TileFormat.WEBP: frozenset({"webp"}),
    TileFormat.LERC: frozenset({"lerc"}),
    TileFormat.PBF: frozenset({"pbf"}),
    TileFormat.UNKNOWN: frozenset({"png", "jpg", "webp", "gif", "lerc", "pbf"}),
}


def judge(body: bytes, *, stated: TileFormat, width: int, height: int, delimited: bool = True) -> Verdict:
    """What the bytes of a 200 are worth as a tile of ``width`` x ``height`` pixels. Never raises.

    WHOLE carries the true ``kind``, which may be another raster type than stated (see ``drifted``). RETRY carries a
    reason: ``empty``, ``not_an_image`` (HTML, text, anything unknown), ``error_page`` (a JSON or XML document),
    ``truncated``, ``corrupt``, ``wrong_size``, ``format_drift`` (a picture in place of a vector tile or the other way
    round), ``trailing_bytes``, ``too_large``. An empty vector tile is ABSENT.
    """
    try:
        if body[:8] == PNG_SIGNATURE:
            kind = "png"
            across, down, end = walk_png(body)
        elif body[:3] == JPEG_SIGNATURE:
            kind = "jpg"
            across, down, end = walk_jpeg(body)
        elif not body:
            return Verdict(Outcome.ABSENT if stated is _PBF else Outcome.RETRY, "empty")
        else:
            kind, (across, down, end) = _walk_other(body, stated, delimited=delimited)
    except Unwhole as broken:
        return Verdict(Outcome.RETRY, broken.reason)
    size = len(body)
    if size > MAX_TILE_BYTES:
        return Verdict(Outcome.RETRY, "too_large")
    if end != size and (size - end > MAX_STRAY or not delimited or _is_another(body[end:])):
        return Verdict(Outcome.RETRY, "trailing_bytes")
    if across != width or down != height or stated is _PBF:
        reason = _misfit(kind, stated, (across - width, down - height))
        if reason:
            return Verdict(Outcome.RETRY, reason)
    return _new(Verdict, (_WHOLE, "", body, kind, None))


def _misfit(kind: str, stated: TileFormat, beyond: tuple[int, int]) -> str:
    """Why a whole tile is none of this source's, or nothing; ``beyond``: by how many pixels it is wider and higher."""
    if stated is _PBF or kind == "pbf":
        return "format_drift" if drifted(stated, kind) else ""
    # Elevation tiles overlap their neighbours by one row and column: 257 x 257 on a grid of 256.
    fits = kind == "lerc" and all(0 <= one <= 1 for one in beyond)
    return "" if fits or beyond == (0, 0) else "wrong_size"


def _is_another(stray: bytes) -> bool:
    """True for a page, a document or a second picture behind a tile: no cache's padding, but what something in between
    has added, or two answers glued together."""
    if stray.startswith(_SIGNATURES) or is_webp(stray):
        return True
    stray = stray.lstrip(b"\0" + _SPACE)
    return looks_like_html(stray) or looks_like_json(stray)


def drifted(stated: TileFormat, kind: str) -> bool:
    """True when a tile's ``kind`` isn't what the source states; the caller decides whether its cache may hold it."""
    return kind not in _KINDS[stated]


def _walk_other(body: bytes, stated: TileFormat, *, delimited: bool) -> tuple[str, Found]:
    """Everything but PNG and JPEG, the formats that come by the million."""
    if len(body) > MAX_TILE_BYTES:
        raise Unwhole("too_large")
    walk: Callable[[bytes], Found]
    for kind, walk, begins in (
        ("webp", walk_webp, is_webp(body)),
        ("gif", walk_gif, body[:6] in GIF_SIGNATURES),
        ("lerc", walk_lerc, body[:6] == KEY_2 or body[:10] == KEY_1),
    ):
        if begins:
            return kind, walk(body)
    if body[:2] == GZIP:
        walk_pbf(body)
        return "pbf", (0, 0, len(body))
    if any(signature.startswith(body) for signature in (*_SIGNATURES, b"RIFF", GZIP)):
        raise Unwhole("truncated")
    if looks_like_html(body):
        raise Unwhole("error_page" if body.lstrip(_SPACE)[:5] == b"<?xml" else "not_an_image")
    if looks_like_json(body):
        raise Unwhole("error_page")
    if stated is TileFormat.PBF:
        walk_pbf(body)
        if not delimited:
            # Plain protobuf has no end mark: cut between two layers it still is a tile.
            raise Unwhole("truncated")
        return "pbf", (0, 0, len(body))
    raise Unwhole("not_an_image")


_SPACE: Final = b"\xef\xbb\xbf \t\r\n"
"""White space and the UTF-8 byte order mark that may come before a document."""


def looks_like_json(body: bytes) -> bool:
    """True when the first character that isn't white space opens a JSON object or array."""
    return body[:64].lstrip(_SPACE)[:1] in (b"{", b"[")


def looks_like_html(body: bytes) -> bool:
    """True when the first character that isn't white space opens a tag, a comment or a declaration (HTML or XML)."""
    start = body[:64].lstrip(_SPACE)[:2]
    return start[:1] == b"<" and (start[1:2].isalpha() or start[1:2] in (b"!", b"?", b"/"))
