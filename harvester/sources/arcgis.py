"""Tiles of an ArcGIS map or image service: what to ask for a tile or a tilemap window, and what an answer means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from harvester.edges import (
    PASSING,
    Answer,
    Host,
    Outcome,
    Request,
    ServiceInfo,
    TileFormat,
    Verdict,
    WindowAnswer,
)
from harvester.payload import drifted, judge, looks_like_html
from harvester.redact import redact_url
from harvester.sources.arcgis_document import ServiceDocument
from harvester.sources.arcgis_errors import stated_error
from harvester.sources.auth import Credentials
from harvester.sources.service_url import ServiceUrl
from harvester.sources.tilemap import read_window
from harvester.tiling.tile import BLOCK, BlockKey, Tile
from harvester.transport.head import header
from harvester.transport.origins import Origin, is_allowed, origin_of, same_site
from harvester.transport.retry_after import retry_after

BLANK_TILE_VERSION: Final = 10.2
"""From this ``currentVersion`` on a server turns its "no data" pictures into 404 for ``blankTile=false``."""

THROTTLING: Final = frozenset({429, 503})
TRANSFORMED: Final = 203
"""A 200 that a proxy on the way has changed, made smaller for instance (RFC 9110, 15.3.4): its body says what it is."""

DENYING: Final = frozenset({401, 498, 499})

HeaderPairs = tuple[tuple[str, str], ...]

_WHOLE: Final = Outcome.WHOLE
"""An enum's member costs as much to look up as a call does (Python 3.11); this one is asked for with every tile."""

_new: Final = tuple.__new__
"""Makes a NamedTuple in half the time (benchmarks/bench_source.py)."""


class ArcGisSource:
    """``edges.Source`` over one cached MapServer or ImageServer."""

    def __init__(
        self,
        document: ServiceDocument,
        url: ServiceUrl,
        credentials: Credentials,
        *,
        headers: HeaderPairs = (),
        allow_hosts: Sequence[str] = (),
        use_tilemap: bool = True,
        kinds: frozenset[str] | None = None,
    ) -> None:
        self.kinds = kinds
        """Kinds of tile that the cache can hold beside the stated ones (None: all); others are ``format_drift``."""
        self._credentials = credentials
        self._user_headers = headers
        self._places, notices = _tile_places(document.tile_servers, url, allow_hosts)
        self.info: ServiceInfo = replace(document.info, notices=(*document.info.notices, *notices))
        self._tilemap = use_tilemap and document.info.tilemap
        pictures = document.info.tile_format is not TileFormat.PBF
        self._blank = pictures and not document.info.tilemap and document.version >= BLANK_TILE_VERSION
        self._width = document.info.scheme.tile_width
        self._height = document.info.scheme.tile_height
        self._stated = document.info.tile_format
        self._generation = -1
        self._hosts: list[tuple[Host, str]] = []
        self._query = ""
        self._window_query = ""
        self._dress()

    def __repr__(self) -> str:
        return f"<ArcGisSource {self.info.source} {self._credentials!r}>"

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every host that tiles are asked of, each of its tile servers once."""
        return tuple(dict.fromkeys(host for host, _ in self._hosts))

    @property
    def credential(self) -> int:
        """Generation of the token in use."""
        return self._credentials.generation

    @property
    def renews_in(self) -> float | None:
        """Seconds until the token should be renewed ahead of its end; None when nothing expires."""
        return self._credentials.renews_in

    @property
    def can_renew(self) -> bool:
        """True when a refusal can be answered without a person."""
        return self._credentials.can_renew

    async def renew(self, *, accepted: bool = False) -> None:
        """Get a new token. Raises AuthError when refused."""
        await self._credentials.renew(accepted=accepted)
        self._dress()

    def request(self, tile: Tile, attempt: int) -> Request:
        """``GET <service>/tile/{level}/{row}/{col}``; rows are shared out over the tile servers, as Esri's SDK does."""
        if self._credentials.generation != self._generation:  # renewed by another layer of the same host
            self._dress()
        level, row, col = tile
        host, path = self._hosts[row % len(self._hosts)]
        asked = f"{path}/tile/{level}/{row}/{col}{self._query}"
        return _new(Request, (host, asked, tile, 0, attempt, self._generation, (), False))

    def at(self, request: Request, host: Host) -> Request:
        """The same at another of the tile servers, which all serve the same tiles."""
        # Whatever it carried when it was told: with a token that was renewed it is another one.
        host, path = next(known for known in self._hosts if known[0].origin == host.origin)
        level, row, col = request.tile
        if request.window:
            asked = f"{path}/tilemap/{level}/{row}/{col}/{request.window}/{request.window}{self._window_query}"
        else:
            asked = f"{path}/tile/{level}/{row}/{col}{self._query}"
        return request._replace(host=host, path=asked)

    def window(self, key: BlockKey) -> Request | None:
        """``GET <service>/tilemap/{level}/{row}/{col}/128/128``: aligned, so it never crosses a bundle."""
        if not self._tilemap:
            return None
        if self._credentials.generation != self._generation:
            self._dress()
        level, row, col = key
        host, path = self._hosts[0]
        asked = f"{path}/tilemap/{level}/{row}/{col}/{BLOCK}/{BLOCK}{self._window_query}"
        return Request(host, asked, Tile(level, row, col), BLOCK, 0, self._generation)

    def read_window(self, request: Request, answer: Answer) -> WindowAnswer | None:
        """What a tilemap answer says; None when it can't be trusted."""
        return read_window(request, answer)

    def judge(self, request: Request, answer: Answer) -> Verdict:
        """What the answer to a tile request means. Never raises."""
        if answer.fault is not None:
            return Verdict(Outcome.RETRY, answer.fault.value)
        if answer.status != 200 and answer.status != TRANSFORMED:
            if answer.status == 304 and not request.headers:
                return Verdict(Outcome.RETRY, "http_304")  # nothing was asked about, so it says nothing, of no picture
            return self._judge_status(answer)
        blank = header(answer.headers, "blank-tile", b"blank-tile")
        if blank and blank.strip().lower() == "true":
            return Verdict(Outcome.ABSENT, "blank_tile")
        verdict = judge(
            answer.body,
            stated=self._stated,
            width=self._width,
            height=self._height,
            delimited=answer.delimited,
        )
        if verdict.outcome is _WHOLE:
            if self.kinds is not None and verdict.kind not in self.kinds and drifted(self._stated, verdict.kind):
                return Verdict(Outcome.RETRY, "format_drift")
            return verdict
        return self._judge_text(answer, verdict)

    def _judge_text(self, answer: Answer, verdict: Verdict) -> Verdict:
        """A 200 that is no tile: an ArcGIS error counts as if its code were the status; a login page wants a token."""
        error = stated_error(answer.body)
        if error is not None:
            return by_status(error.code, answer) if 400 <= error.code < 600 else Verdict(Outcome.RETRY, "service_error")
        if looks_like_html(answer.body) and b"invalid token" in answer.body[:65536].lower():
            return Verdict(Outcome.DENIED, "invalid_token")
        return verdict

    def _judge_status(self, answer: Answer) -> Verdict:
        status = answer.status
        if status >= 400:
            error = stated_error(answer.body)
            if error is not None and (error.code in DENYING or (status == 404 and 400 <= error.code < 600)):
                status = error.code
        return by_status(status, answer)

    def _dress(self) -> None:
        """Put the token where it travels: into the hosts' headers or the query, of this service's own hosts only."""
        credentials = self._credentials
        self._generation = credentials.generation
        coding: HeaderPairs = (("Accept-Encoding", "gzip"),) if self.info.tile_format is TileFormat.PBF else ()
        headers = merge_headers(coding, self._user_headers, credentials.headers)
        self._hosts = [
            (Host(scheme=origin.scheme, name=origin.host, port=origin.port, headers=headers), path)
            for origin, path in self._places
        ]
        self._query = _query("blankTile=false" if self._blank else "", credentials.query)
        self._window_query = _query("f=json", credentials.query)


def by_status(status: int, answer: Answer) -> Verdict:
    """What an HTTP status, or an ArcGIS error code in its place, means for a tile."""
    if status in (404, 204):
        return Verdict(Outcome.ABSENT, f"http_{status}")
    if status == 304:
        return Verdict(Outcome.UNCHANGED)
    if status in THROTTLING:
        return Verdict(Outcome.THROTTLED, f"http_{status}", retry_after=retry_after(answer.headers))
    if status in DENYING:
        return Verdict(Outcome.DENIED, f"http_{status}")
    if status == 403:
        return Verdict(Outcome.FAILED, "forbidden")
    if 300 <= status < 400:
        return Verdict(Outcome.RETRY, "redirect")
    if 400 <= status < 500 and status not in PASSING:
        return Verdict(Outcome.FAILED, f"http_{status}")
    if status >= 400:
        return Verdict(Outcome.RETRY, f"http_{status}")
    return Verdict(Outcome.RETRY, f"http_{status}")


def merge_headers(*groups: HeaderPairs) -> HeaderPairs:
    """Headers of several groups; a later group's wins over an earlier one of the same name."""
    merged: dict[str, tuple[str, str]] = {}
    for group in groups:
        for name, value in group:
            merged[name.lower()] = (name, value)
    return tuple(merged.values())


def _query(*parts: str) -> str:
    query = "&".join(part for part in parts if part)
    return f"?{query}" if query else ""


def _tile_places(
    servers: Sequence[str], url: ServiceUrl, allow_hosts: Sequence[str]
) -> tuple[list[tuple[Origin, str]], list[str]]:
    """Origins and paths that tiles are asked at: the ``tileServers`` that may be trusted, else the service itself."""
    places: list[tuple[Origin, str]] = []
    notices = []
    for server in servers:
        origin = origin_of(server)
        if origin is None or "{" in server:
            notices.append(f"tile server {redact_url(server)[:200]} is no http(s) address and is not used")
        elif same_site(url.origin, origin) or (
            is_allowed(origin, allow_hosts) and (url.origin.scheme, origin.scheme) != ("https", "http")
        ):
            places.append((origin, urlsplit(server).path.rstrip("/")))
        else:
            notices.append(
                f"tile server {origin} is another host and is not used; to use it: --allow-host {origin.place}"
            )
    return places or [(url.origin, url.path)], notices
