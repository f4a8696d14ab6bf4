"""One tiled service, opened: its document fetched and read, and a source made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harvester.errors import SourceError
from harvester.sources.arcgis import ArcGisSource
from harvester.sources.arcgis_document import parse_service
from harvester.sources.asker import Asker
from harvester.sources.auth import Credentials
from harvester.sources.service_url import ServiceUrl, parse_service_url
from harvester.transport.origins import same_site
from harvester.transport.refusals import DeniedError


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedLayer:
    """One tiled service, ready to be asked, under the name that a web map gives it (or its own)."""

    name: str
    source: ArcGisSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a typed source turned out to be: one service, or the layers of a web map in drawing order."""

    source: str
    """As typed, without secrets."""
    layers: tuple[OpenedLayer, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    """(name, reason) of the web map's layers that aren't taken."""
    lost: tuple[tuple[str, SourceError], ...] = ()
    """Layers of a web map that should be there and can't be opened."""
    is_map: bool = False


async def open_service(url: ServiceUrl, asker: Asker, *, anonymous_first: bool = False) -> ArcGisSource:
    """Fetch and read one service's document. Raises SourceError.

    ``anonymous_first``: credentials are shown only to a host that refuses without them (addresses from a web map).
    """
    credentials = Credentials()
    if anonymous_first:
        try:
            document, found = await asker.get_json_as(url, url.document, credentials)
        except DeniedError:
            document, found, credentials = await asker.get_json(url, url.document)
    else:
        document, found, credentials = await asker.get_json(url, url.document)
    headers = asker.headers_for(url)
    at = moved_to(url, found)
    if not same_site(url.origin, at.origin):
        headers, credentials = (), Credentials()
    options: dict[str, Any] = {
        "headers": headers,
        "allow_hosts": asker.session.allow_hosts,
        "use_tilemap": asker.options.tilemap,
        "kinds": asker.options.kinds,
    }
    if at.kind == "arcgis-vector":
        from harvester.sources.vector import VectorSource

        return VectorSource(parse_service(document, at), document, at, credentials, **options)
    return ArcGisSource(parse_service(document, at), at, credentials, **options)


def moved_to(url: ServiceUrl, found: str) -> ServiceUrl:
    """Where the service is after redirects of its document: tiles are asked there, since theirs aren't followed."""
    at = parse_service_url(found)
    same = (at.origin, at.path) == (url.origin, url.path) or (at.named, at.kind) != (url.named, url.kind)
    return url if same else at
