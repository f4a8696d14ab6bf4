"""From what a person typed to a Source: the service's document is fetched, with the credentials that it takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harvester.errors import AuthError, SourceError
from harvester.job import Auth
from harvester.redact import keep_secret_header, redact_url
from harvester.sources.arcgis import ArcGisSource, HeaderPairs, merge_headers
from harvester.sources.arcgis_document import parse_service
from harvester.sources.arcgis_errors import status_in
from harvester.sources.auth import Credentials, Wallet
from harvester.sources.service_url import ServiceUrl, parse_service_url
from harvester.transport.documents import Documents
from harvester.transport.origins import same_site
from harvester.transport.refusals import DeniedError
from harvester.wording import counted

if TYPE_CHECKING:
    from harvester.job import Job


DRIFT_KINDS = frozenset({"png", "jpg", "webp"})
"""Rasters that may come in place of the stated one: a cache can say so of them, of a GIF it can't."""

TOKEN_REFUSALS = frozenset({401, 498, 499})
"""Answers that say that the token is none of this server's; 403 says that it is, and that it is not enough."""

MAP_WORDS = ("/sharing/", "/home/", "/apps/")
"""What an address of a portal item has in it; without any of these, what reads web maps isn't even imported."""


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
        return cls(auth=job.auth, headers=tuple(job.headers.items()), tilemap=job.tilemap, kinds=DRIFT_KINDS)


class Asker(NamedTuple):
    """Who asks while sources are opened: the session, what the job says, and the credentials that its layers share."""

    session: Documents
    options: Options
    wallet: Wallet

    @classmethod
    def of(cls, session: Documents, options: Options | None) -> Asker:
        """With a wallet of its own."""
        options = options or Options()
        for name, value in options.headers:
            keep_secret_header(name, value)
        return cls(session, options, Wallet(options.auth, session, environ=options.environ, headers=options.headers))

    def headers_for(self, url: ServiceUrl) -> HeaderPairs:
        """The person's headers, and the login that was in the address."""
        basic = (("Authorization", url.basic),) if url.basic is not None else ()
        for name, value in basic:
            keep_secret_header(name, value)
        return merge_headers(self.options.headers, basic)

    async def get_json(self, url: ServiceUrl, address: str) -> tuple[Any, str, Credentials]:
        """A document of ``url``'s host with its credentials, in the query where the header is refused, and
        exchanged for the server's own where it refuses its portal's.

        Gives the value, the address that gave it, and the credentials. Raises SourceError.
        """
        credentials = await self.wallet.credentials_for(url)
        refused: DeniedError | None = None
        while True:
            found = await self._either_way(url, address, credentials)
            if not isinstance(found, DeniedError):
                return *found, credentials
            if not credentials.present:
                raise found
            refused = refused or found
            other = await self.wallet.exchange(url, credentials) if found.status in TOKEN_REFUSALS else None
            if other is None:
                raise AuthError(f"{refused.message}, although credentials were given", hint=refused.hint) from None
            credentials = other

    async def _either_way(
        self, url: ServiceUrl, address: str, credentials: Credentials
    ) -> tuple[Any, str] | DeniedError:
        """A document with the token in the header, else in the query; the first refusal where neither will do."""
        try:
            return await self.get_json_as(url, address, credentials)
        except DeniedError as error:
            refused = error
        if credentials.present:
            credentials.use_query()
            try:
                return await self.get_json_as(url, address, credentials)
            except DeniedError:
                pass
        return refused

    async def get_json_as(self, url: ServiceUrl, address: str, credentials: Credentials) -> tuple[Any, str]:
        """A document with these credentials, as they travel now."""
        asked = "&".join(part for part in (address, credentials.query) if part)
        headers = merge_headers(self.headers_for(url), credentials.headers)
        value, document = await self.session.get_json(asked, headers=headers, status_in=status_in)
        return value, document.url


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


async def open_services(source: str, session: Documents, options: Options | None = None) -> Opened:
    """Open a service, a portal item or a web map. Raises SourceError (AuthError for credentials)."""
    asker = Asker.of(session, options)
    if "://" not in source or any(word in source.lower() for word in MAP_WORDS):
        from harvester.sources import webmap

        if webmap.is_file(source):
            return await webmap.open_file(Path(source), asker)
        item = webmap.item_in(source)
        if item is not None:
            return await webmap.open_item(item, asker)
    opened = await open_service(parse_typed(source), asker)
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
        f"{opened.source} is a web map of {counted(len(opened.layers), 'tiled layer')}",
        hint=f"Name one of them: {names}",
    )


def parse_typed(source: str) -> ServiceUrl:
    """The address of a service; SourceError for what looks like something else, saying what it looks like."""
    text = source.strip()
    if "{z}" in text.lower() or "{level}" in text.lower():
        raise SourceError(
            f"{redact_url(text)} is a tile template, which can't be harvested yet",
            hint="Give the address of an ArcGIS service: …/MapServer, …/ImageServer or …/VectorTileServer.",
        )
    if "://" not in text and text.lower().endswith((".json", ".mapx", ".aprx", ".lyrx")):
        raise SourceError(
            f"{text} is not there", hint="Give the path of a web map's JSON file, or the address of a service."
        )
    return parse_service_url(text)


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
