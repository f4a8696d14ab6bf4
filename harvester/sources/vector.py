"""Tiles of an ArcGIS vector tile service, and where its style, sprites and fonts are.

Source: Esri's REST reference, "Vector Tile Service": ``tiles`` holds a template such as ``tile/{z}/{y}/{x}.pbf``,
relative to the service; ``defaultStyles`` the folder of its style.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from harvester.edges import Answer, Outcome, Request, Verdict
from harvester.payload.pbf import GZIP, in_gzip
from harvester.redact import redact_url
from harvester.sources.arcgis import ArcGisSource, HeaderPairs
from harvester.sources.arcgis_document import ServiceDocument
from harvester.sources.auth import Credentials
from harvester.sources.fields import Fields
from harvester.sources.service_url import PATH_SAFE, ServiceUrl
from harvester.tiling.tile import Tile
from harvester.transport.origins import origin_of, same_site

TEMPLATE = "tile/{z}/{y}/{x}.pbf"
STYLES = "resources/styles"


class VectorSource(ArcGisSource):
    """``edges.Source`` over one VectorTileServer."""

    def __init__(
        self,
        document: ServiceDocument,
        values: object,
        url: ServiceUrl,
        credentials: Credentials,
        *,
        headers: HeaderPairs = (),
        allow_hosts: Sequence[str] = (),
        use_tilemap: bool = True,
        kinds: frozenset[str] | None = None,
    ) -> None:
        fields = Fields(values, str(url))
        notices: list[str] = []
        self._path, self._rest = _template(fields, url, notices)
        info = replace(document.info, notices=(*document.info.notices, *notices))
        super().__init__(
            replace(document, info=info, tile_servers=()),
            url,
            credentials,
            headers=headers,
            allow_hosts=allow_hosts,
            use_tilemap=use_tilemap,
            kinds=kinds,
        )
        self.url = url
        self.credentials = credentials
        self.headers = headers
        self.style_url = urljoin(f"{url}/", f"{fields.text('defaultStyles').strip('/') or STYLES}/root.json")
        """Where the style is; a web map's layer may have another."""
        if fields.text("defaultStyles").strip("/"):
            self.info = replace(self.info, beside=("style", "sprites", "fonts"))
        index = fields.text("tileMap").strip("/")
        self.index_url = urljoin(f"{url}/", index) if index and use_tilemap and not self.info.tilemap else None
        """Where the index of all tiles is; None where there is none, or windows of it can be asked."""
        self.style: Any = None
        """The style itself where it was read already."""

    def request(self, tile: Tile, attempt: int) -> Request:
        """``GET`` of the service's template, row before column where it says so."""
        if self._credentials.generation != self._generation:
            self._dress()
        level, row, col = tile
        host, _ = self._hosts[0]
        query = "&".join(part for part in (self._rest, self._query.removeprefix("?")) if part)
        path = self._path.format(z=level, y=row, x=col)
        return Request(host, f"{path}?{query}" if query else path, tile, 0, attempt, self._generation)

    def judge(self, request: Request, answer: Answer) -> Verdict:
        """What the answer to a tile request means. A tile that came plain is put in gzip, as every cache keeps them."""
        verdict = super().judge(request, answer)
        if verdict.outcome is Outcome.WHOLE and verdict.body[:2] != GZIP and verdict.kind == "pbf":
            return verdict._replace(body=in_gzip(verdict.body))
        return verdict


def _template(fields: Fields, url: ServiceUrl, notices: list[str]) -> tuple[str, str]:
    """The path of tiles with ``{z}``, ``{y}`` and ``{x}``, and the query that each carries."""
    stated = fields.get("tiles")
    text = stated[0] if isinstance(stated, list) and stated and isinstance(stated[0], str) else TEMPLATE
    for candidate in (text, TEMPLATE):
        address = urljoin(f"{url}/", candidate.strip())
        origin, parts = origin_of(address), urlsplit(address)
        path = quote(parts.path, safe=PATH_SAFE + "{}")
        rest = path.replace("{z}", "").replace("{y}", "").replace("{x}", "")
        whole = all(path.count(place) == 1 for place in ("{z}", "{y}", "{x}")) and "{" not in rest and "}" not in rest
        if origin is not None and same_site(url.origin, origin) and whole:
            return path, quote(parts.query, safe="=&" + PATH_SAFE)
        notices.append(f"the service's tile address {redact_url(candidate)[:200]} is not used: {TEMPLATE} is asked")
    return f"{url.path}/{TEMPLATE}", ""
