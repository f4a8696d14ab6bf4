"""ArcGIS credentials: a token as given, or a login that gives tokens; renewed before they end, never shown.

A token travels in the header ``X-Esri-Authorization`` (Esri REST reference, "Authenticated requests"): it stays out of
logs and cache keys. A server that refuses a fresh token there may be too old to know the header: from then on the
``token`` query parameter is used, which every version knows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from enum import Enum
from urllib.parse import quote

from harvester.errors import AuthError
from harvester.job import Auth
from harvester.redact import keep_secret
from harvester.sources.federation import Federation, federation_of
from harvester.sources.login import Login, token_service
from harvester.sources.service_url import ServiceUrl, is_token
from harvester.transport.documents import Documents
from harvester.transport.origins import Origin
from harvester.transport.refusals import LOGIN_HINT

LEAD_SECONDS = 60.0
"""A token is renewed this long before its end, or in the last tenth of a short life."""


class Style(Enum):
    """How a token travels."""

    HEADER = "header"
    QUERY = "query"


class Credentials:
    """The token in use for one service, and how it is renewed. ``generation`` grows with each change."""

    def __init__(
        self,
        *,
        token: str | None = None,
        login: Login | None = None,
        federation: Federation | None = None,
        session: Documents | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = token
        self._token = None if federation else token
        self._login = login
        self._federation = federation
        self._session = session
        self._clock = clock
        self._ends: float | None = None
        self._lead = LEAD_SECONDS
        self._renewal = asyncio.Lock()
        self.style = Style.HEADER
        self.generation = 0

    def __repr__(self) -> str:
        kind = "login" if self._login else "token" if self._given else "none"
        return f"<Credentials {kind}, {self.style.value}, generation {self.generation}>"

    @property
    def present(self) -> bool:
        """True when there is a token, or a login to get one."""
        return self._given is not None or self._login is not None

    @property
    def federated(self) -> bool:
        """True when the token in use is a server's, for one of its portal."""
        return self._federation is not None

    def exchanged(self, federation: Federation) -> Credentials:
        """The same, but for a server that takes tokens of its own: the portal exchanges them."""
        return Credentials(
            token=self._given, login=self._login, federation=federation, session=self._session, clock=self._clock
        )

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What every request to the token's own host carries."""
        bound = self._federation or self._login
        referer = (("Referer", bound.referer),) if bound else ()
        if self._token is None or self.style is Style.QUERY:
            return referer
        return (*referer, ("X-Esri-Authorization", f"Bearer {self._token}"))

    @property
    def query(self) -> str:
        """``token=...`` percent-encoded where the token travels in the query, else empty."""
        if self._token is None or self.style is Style.HEADER:
            return ""
        return "token=" + quote(self._token, safe="")

    @property
    def renews_in(self) -> float | None:
        """Seconds until the token should be renewed ahead of its end, 0 when it is time; None when nothing ends."""
        if self._ends is None:
            return None
        return max(0.0, self._ends - self._lead - self._clock())

    @property
    def can_renew(self) -> bool:
        """True when something can be done about a refusal: a new token, or the same one in the query."""
        if self._login is not None or self._federation is not None:
            return True
        return self._token is not None and self.style is Style.HEADER

    def use_query(self) -> None:
        """From now on the token travels in the query."""
        if self.style is Style.HEADER:
            self.style = Style.QUERY
            self.generation += 1

    async def sign_in(self) -> None:
        """Get the first token of a login or of a portal; nothing to do for a token as given. Raises AuthError."""
        if self._token is None and self.present:
            await self._grant()

    async def renew(self, *, accepted: bool = False) -> None:
        """Get a new token, once however many ask for it at the same time. Raises AuthError.

        A token that was refused before its end was refused as it travelled: its successor goes in the query, unless
        one was ``accepted`` as they travel now.
        """
        seen = self.generation
        async with self._renewal:
            if self.generation != seen:
                return
            refused_early = self.renews_in is None or self.renews_in > 0
            if self._login is not None or self._federation is not None:
                await self._grant()
                if refused_early and not accepted:
                    self.style = Style.QUERY
            elif self.can_renew:
                self.use_query()
            else:
                raise AuthError("the token is refused, and there is no login to get a new one", hint=LOGIN_HINT)

    async def _grant(self) -> None:
        if self._session is None:
            raise AuthError("a login needs a session")
        grant = None if self._login is None else await self._login.grant(self._session)
        if self._federation is not None:
            grant = await self._federation.grant(self._session, grant.token if grant else self._given or "")
        assert grant is not None
        self._token = grant.token
        self._ends = None if grant.seconds is None else self._clock() + grant.seconds
        self._lead = LEAD_SECONDS if grant.seconds is None else min(LEAD_SECONDS, grant.seconds / 10)
        self.generation += 1


class Wallet:
    """The credentials of one job, one record for each host, so that a web map's layers sign in and renew together."""

    def __init__(
        self,
        auth: Auth,
        session: Documents,
        *,
        environ: Mapping[str, str],
        headers: tuple[tuple[str, str], ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._auth = auth
        self._session = session
        self._environ = environ
        self._headers = headers
        self._clock = clock
        self._held: dict[tuple[Origin, str | None, str | None], Credentials] = {}

    async def credentials_for(self, url: ServiceUrl) -> Credentials:
        """The credentials for one address, signed in. Raises AuthError, SourceError."""
        key = (url.origin, url.token, None)
        held = self._held.get((url.origin, url.token, url.rest_root)) or self._held.get(key)
        if held is None:
            held = self._held[key] = await credentials_for(
                url, self._auth, self._session, environ=self._environ, headers=self._headers, clock=self._clock
            )
        await held.sign_in()
        return held

    async def exchange(self, url: ServiceUrl, held: Credentials) -> Credentials | None:
        """Credentials for a server that refused its portal's token: tokens of its own, for all its services. None where
        no portal is known. Raises AuthError when the portal refuses, or may not be asked."""
        if held.federated or not held.present:
            return None
        federation = await federation_of(url, self._session, headers=self._headers)
        if federation is None:
            return None
        found = held.exchanged(federation)
        await found.sign_in()
        self._held[url.origin, url.token, url.rest_root] = found
        return found


async def credentials_for(
    url: ServiceUrl,
    auth: Auth,
    session: Documents,
    *,
    environ: Mapping[str, str],
    headers: tuple[tuple[str, str], ...] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Credentials:
    """Credentials for one service: the token in its address, that of ``--token-env``, or a login. Not yet signed in.

    Raises AuthError when a variable is not set or the token service can't be used.
    """
    if url.token:
        keep_secret(url.token)
        return Credentials(token=url.token, session=session, clock=clock)
    if auth.token_env:
        token = _from_environment(auth.token_env, "--token-env", environ)
        if not is_token(token):
            raise AuthError(f"--token-env: the value of {auth.token_env} holds characters that no token has")
        return Credentials(token=token, session=session, clock=clock)
    if not auth.username:
        return Credentials(clock=clock)
    password = _from_environment(auth.password_env or "", "--password-env", environ)
    referer = next((value for name, value in headers if name.lower() == "referer"), str(url.origin))
    token_url = await token_service(url, session, headers=headers)
    login = Login(url=token_url, referer=referer, username=auth.username, password=password)
    return Credentials(login=login, session=session, clock=clock)


def _from_environment(name: str, option: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise AuthError(f"{option}: the environment variable {name} is not set", hint=f"Set {name} and run again.")
    if any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise AuthError(f"{option}: the value of {name} holds a line break or a control character")
    keep_secret(value)
    return value
