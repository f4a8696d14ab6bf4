"""From what a person typed to a Source: the service's document is fetched, with the credentials that it takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harvester.errors import AuthError, SourceError
from harvester.job import Auth
from harvester.redact import redact_url
from harvester.sources.arcgis import ArcGisSource, HeaderPairs, merge_headers
from harvester.sources.arcgis_document import parse_service
from harvester.sources.arcgis_errors import status_in
from harvester.sources.auth import Credentials, credentials_for
from harvester.sources.service_url import ServiceUrl, parse_service_url
from harvester.transport.documents import Documents
from harvester.transport.refusals import DeniedError

if TYPE_CHECKING:
    from harvester.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a job says of its source beside the address."""

    auth: Auth = field(default_factory=Auth)
    headers: HeaderPairs = field(default=(), repr=False)
    tilemap: bool = True
    kinds: frozenset[str] | None = None
    """Kinds of tile that the cache can hold where they differ from the stated format; None: all."""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    @classmethod
    def of(cls, job: Job) -> Options:
        """From a job."""
        return cls(auth=job.auth, headers=tuple(job.headers.items()), tilemap=job.tilemap)


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
    is_map: bool = False


async def open_services(source: str, session: Documents, options: Options | None = None) -> Opened:
    """Open a service, a portal item or a web map. Raises SourceError (AuthError for credentials)."""
    from harvester.sources import webmap

    options = options or Options()
    if webmap.is_file(source):
        return await webmap.open_file(Path(source), session, options)
    item = webmap.item_in(source)
    if item is not None:
        return await webmap.open_item(item, session, options)
    opened = await open_service(parse_typed(source), session, options)
    return Opened(source=opened.info.source, layers=(OpenedLayer(name=opened.info.name, source=opened),))


async def open_source(source: str, session: Documents, options: Options | None = None) -> ArcGisSource:
    """Open one tiled service. Raises SourceError; also for a web map of several layers, naming them."""
    opened = await open_services(source, session, options)
    if len(opened.layers) == 1:
        return opened.layers[0].source
    if not opened.layers:
        raise SourceError(
            f"{opened.source} has no tiled layer", hint="; ".join(": ".join(pair) for pair in opened.skipped)
        )
    names = ", ".join(f"{layer.name} ({layer.source.info.source})" for layer in opened.layers)
    raise SourceError(
        f"{opened.source} is a web map of {len(opened.layers)} tiled layers", hint=f"name one of them: {names}"
    )


def parse_typed(source: str) -> ServiceUrl:
    """The address of a service; SourceError for what looks like something else, saying what it looks like."""
    text = source.strip()
    if "{z}" in text.lower() or "{level}" in text.lower():
        raise SourceError(
            f"{redact_url(text)} is a tile template, which can't be harvested yet",
            hint="give the address of an ArcGIS service: …/MapServer or …/ImageServer",
        )
    if "://" not in text and text.lower().endswith((".json", ".mapx", ".aprx", ".lyrx")):
        raise SourceError(
            f"{text} is not there", hint="give the path of a web map's JSON file, or the address of a service"
        )
    return parse_service_url(text)


async def open_service(
    url: ServiceUrl, session: Documents, options: Options, *, anonymous_first: bool = False
) -> ArcGisSource:
    """Fetch and read one service's document. Raises SourceError.

    ``anonymous_first``: credentials are shown only to a host that refuses without them (addresses from a web map).
    """
    headers = options.headers
    if url.basic is not None:
        headers = merge_headers(headers, (("Authorization", url.basic),))
    if anonymous_first:
        credentials = Credentials()
        try:
            document = await _document(url, session, headers, credentials)
        except DeniedError:
            credentials, document = await _document_as_someone(url, session, replace(options, headers=headers))
    else:
        credentials, document = await _document_as_someone(url, session, replace(options, headers=headers))
    return ArcGisSource(
        parse_service(document, url),
        url,
        credentials,
        headers=headers,
        allow_hosts=session.allow_hosts,
        use_tilemap=options.tilemap,
        kinds=options.kinds,
    )


async def _document_as_someone(url: ServiceUrl, session: Documents, options: Options) -> tuple[Credentials, Any]:
    """The document with the credentials that the options hold; in the query where the header is refused."""
    credentials = await credentials_for(url, options.auth, session, environ=options.environ, headers=options.headers)
    await credentials.sign_in()
    try:
        return credentials, await _document(url, session, options.headers, credentials)
    except DeniedError as error:
        if not credentials.present:
            raise
        refused = error
    credentials.use_query()
    try:
        return credentials, await _document(url, session, options.headers, credentials)
    except DeniedError as error:
        raise AuthError(f"{refused.message}, although credentials were given", hint=error.hint) from None


async def _document(url: ServiceUrl, session: Documents, headers: HeaderPairs, credentials: Credentials) -> Any:
    address = "&".join(part for part in (url.document, credentials.query) if part)
    value, _ = await session.get_json(address, headers=merge_headers(headers, credentials.headers), status_in=status_in)
    return value
