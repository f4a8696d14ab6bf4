"""Who asks for documents while sources are opened, with which credentials, and what a job says of its source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from harvester.errors import AuthError
from harvester.job import Auth
from harvester.redact import keep_secret_header
from harvester.sources.arcgis import HeaderPairs, merge_headers
from harvester.sources.arcgis_errors import status_in
from harvester.sources.auth import Credentials, Wallet
from harvester.sources.service_url import ServiceUrl
from harvester.transport.documents import Documents
from harvester.transport.refusals import DeniedError

if TYPE_CHECKING:
    from harvester.job import Job

DRIFT_KINDS = frozenset({"png", "jpg", "webp"})
"""Rasters that may come in place of the stated one: a cache can say so of them, of a GIF it can't."""

TOKEN_REFUSALS = frozenset({401, 498, 499})
"""Answers that say that the token is none of this server's; 403 says that it is, and that it is not enough."""


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
