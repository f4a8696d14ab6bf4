"""The index of all tiles that a vector tile service may have: fetched once, when a tile is still to be asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from harvester.edges import Source
from harvester.errors import SourceError
from harvester.sources.arcgis import merge_headers
from harvester.sources.arcgis_errors import status_in
from harvester.tiling.tile import BlockKey
from harvester.transport.session import Session

if TYPE_CHECKING:
    from harvester.edges import Mask


def index_of(source: Source, session: Session) -> Callable[[BlockKey], Awaitable[Mask | None]] | None:
    """What a source's own index says of a block's tiles; None where it has none."""
    address = getattr(source, "index_url", None)
    return _TileIndex(source, address, session).present if address else None


class _TileIndex:
    """Whatever is odd about the index means: ask the tiles."""

    def __init__(self, source: Any, address: str, session: Session) -> None:
        self._source = source
        self._address = address
        self._session = session
        self._document: Any = None
        self._asked = False

    async def present(self, key: BlockKey) -> Mask | None:
        """Which tiles of a block the index names; None where it can't be had or read."""
        from harvester.caches.vtpk_index import parse_index

        if not self._asked:
            self._asked = True
            credentials = self._source.credentials
            query = "&".join(part for part in ("f=json", credentials.query) if part)
            headers = merge_headers(self._source.headers, credentials.headers)
            try:
                self._document, _ = await self._session.get_json(
                    f"{self._address}?{query}", headers=headers, status_in=status_in
                )
            except SourceError:
                self._document = None
        return parse_index(self._document, key)
