"""ArcGIS credentials: a token as given, or a login that gives tokens; renewed before they end, never shown.

A token travels in the header ``X-Esri-Authorization`` (Esri REST reference, "Authenticated requests"): it stays out of
logs and cache keys. A server that refuses a fresh token there may be too old to know the header: from then on the
``token`` query parameter is used, which every version knows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any
from urllib.parse import quote

from harvester.errors import AuthError
from harvester.job import Auth
from harvester.redact import redact_text, redact_url
from harvester.sources.arcgis_errors import status_in
from harvester.sources.fields import as_number
from harvester.sources.service_url import LOOPBACK, ServiceUrl
from harvester.transport.documents import Documents
from harvester.transport.origins import is_allowed, origin_of, same_site
from harvester.transport.refusals import LOGIN_HINT, DocumentError

TOKEN_MINUTES = 120
"""Asked for; servers give less if they allow less. A stolen token soon ends, a renewal costs one request."""

LEAD_SECONDS = 60.0
"""A token is renewed this long before its end, or in the last tenth of a short life."""


class Style(Enum):
    """How a token travels."""

    HEADER = "header"
    QUERY = "query"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token service gave: the token and its life in seconds (None: it doesn't end)."""

    token: str = field(repr=False)
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user's name and password, and the token service of the host that they are for."""

    url: str
    referer: str
    username: str = field(repr=False)
    password: str = field(repr=False)

    async def grant(self, session: Documents) -> Grant:
        """Ask for a token (``generateToken``). Raises AuthError when the login is refused."""
        form = {
            "username": self.username,
            "password": self.password,
            "client": "referer",
            "referer": self.referer,
            "expiration": str(TOKEN_MINUTES),
            "f": "json",
        }
        where = redact_url(self.url)
        try:
            value, document = await session.post_form(
                self.url, form, headers=[("Referer", self.referer)], status_in=status_in
            )
        except DocumentError as error:
            if error.status != 400:
                raise
            raise AuthError(
                f"{where} refuses the login: {_secretless(error.message, self)}", hint=WRONG_LOGIN
            ) from None
        except AuthError as error:
            raise AuthError(
                f"{where} refuses the login: {_secretless(error.message, self)}", hint=WRONG_LOGIN
            ) from None
        token = value.get("token") if isinstance(value, dict) else None
        if not isinstance(token, str) or not token.strip():
            raise AuthError(f"{where} gave no token", hint="is it the address of an ArcGIS token service?")
        return Grant(token=token.strip(), seconds=_life(value, document.headers))


WRONG_LOGIN = "check --username and the password in the variable that --password-env names"


class Credentials:
    """The token in use for one service, and how it is renewed. ``generation`` grows with each change."""

    def __init__(
        self,
        *,
        token: str | None = None,
        login: Login | None = None,
        session: Documents | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token = token
        self._login = login
        self._session = session
        self._clock = clock
        self._ends: float | None = None
        self._lead = LEAD_SECONDS
        self._renewal = asyncio.Lock()
        self.style = Style.HEADER
        self.generation = 0

    def __repr__(self) -> str:
        kind = "login" if self._login else "token" if self._token else "none"
        return f"<Credentials {kind}, {self.style.value}, generation {self.generation}>"

    @property
    def present(self) -> bool:
        """True when there is a token, or a login to get one."""
        return self._token is not None or self._login is not None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What every request to the token's own host carries."""
        referer = (("Referer", self._login.referer),) if self._login else ()
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
        return self._login is not None or (self._token is not None and self.style is Style.HEADER)

    def use_query(self) -> None:
        """From now on the token travels in the query."""
        if self.style is Style.HEADER:
            self.style = Style.QUERY
            self.generation += 1

    async def sign_in(self) -> None:
        """Get the first token of a login; nothing to do for a token as given. Raises AuthError."""
        if self._login is not None and self._token is None:
            await self._grant(self._login)

    async def renew(self) -> None:
        """Get a new token, once however many ask for it at the same time. Raises AuthError.

        A token that was refused before its end was refused as it travelled: its successor goes in the query.
        """
        seen = self.generation
        async with self._renewal:
            if self.generation != seen:
                return
            refused_early = self.renews_in is None or self.renews_in > 0
            if self._login is not None:
                await self._grant(self._login)
                if refused_early:
                    self.style = Style.QUERY
            elif self.can_renew:
                self.use_query()
            else:
                raise AuthError("the token is refused, and there is no login to get a new one", hint=LOGIN_HINT)

    async def _grant(self, login: Login) -> None:
        if self._session is None:
            raise AuthError("a login needs a session")
        grant = await login.grant(self._session)
        self._token = grant.token
        self._ends = None if grant.seconds is None else self._clock() + grant.seconds
        self._lead = LEAD_SECONDS if grant.seconds is None else min(LEAD_SECONDS, grant.seconds / 10)
        self.generation += 1


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
        return Credentials(token=url.token, clock=clock)
    if auth.token_env:
        return Credentials(token=_from_environment(auth.token_env, "--token-env", environ), clock=clock)
    if not auth.username:
        return Credentials(clock=clock)
    if not auth.password_env:
        raise AuthError("--username needs --password-env", hint="name the environment variable that holds the password")
    password = _from_environment(auth.password_env, "--password-env", environ)
    referer = next((value for name, value in headers if name.lower() == "referer"), str(url.origin))
    token_url = await token_service(url, session, headers=headers)
    login = Login(url=token_url, referer=referer, username=auth.username, password=password)
    return Credentials(login=login, session=session, clock=clock)


async def token_service(url: ServiceUrl, session: Documents, *, headers: tuple[tuple[str, str], ...] = ()) -> str:
    """The address of ``generateToken`` for a service: what its server's ``/rest/info`` says, or its portal's.

    The password goes there, so it must be https (or this machine) and the service's own host or an allowed one.
    """
    if url.rest_root is None:
        found = portal_token_service(url)
    else:
        value, _ = await session.get_json(f"{url.rest_root}/info?f=json", headers=headers, status_in=status_in)
        stated = _stated_service(value)
        if stated is None:
            raise AuthError(
                f"{url.rest_root}/info names no token service", hint="log in another way: --token-env or --header"
            )
        found = stated
    origin = origin_of(found)
    if origin is None:
        raise AuthError(f"the token service of {url.origin}, {redact_url(found)}, is no http(s) address")
    if not same_site(url.origin, origin) and not is_allowed(origin, session.allow_hosts):
        raise AuthError(
            f"the token service of {url.origin} is on another host, {origin}: the password would go there",
            hint=f"allow it if you trust it: --allow-host {origin.place}",
        )
    if origin.scheme != "https" and origin.host not in LOOPBACK:
        raise AuthError(
            f"the token service {redact_url(found)} is not https: the password would travel in the clear",
            hint="use the https address of the service, or a token (--token-env)",
        )
    return found


def portal_token_service(url: ServiceUrl) -> str:
    """``generateToken`` of the portal that an address under ``/sharing/`` or ``/home/`` belongs to."""
    root = url.path
    for mark in ("/sharing/", "/home/", "/apps/"):
        root = root.partition(mark)[0]
    return f"{url.origin}{root}/sharing/rest/generateToken"


def _stated_service(value: Any) -> str | None:
    """``authInfo.tokenServicesUrl`` (old servers leave ``generateToken`` out), else the portal that owns the server."""
    if not isinstance(value, dict):
        return None
    info = value.get("authInfo")
    stated = info.get("tokenServicesUrl") if isinstance(info, dict) else None
    if isinstance(stated, str) and stated.strip():
        base = stated.strip().rstrip("/")
        return base if base.lower().endswith("generatetoken") else f"{base}/generateToken"
    portal = value.get("owningSystemUrl")
    if isinstance(portal, str) and portal.strip():
        return f"{portal.strip().rstrip('/')}/sharing/rest/generateToken"
    return None


def _life(value: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    """Seconds from the answer's own ``Date`` (else our clock) to ``expires`` (ms since 1970); None: none is stated."""
    expires = as_number(value.get("expires"))
    if expires is None or expires <= 0:
        return None
    try:
        now = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        now = time.time()
    return max(0.0, expires / 1000.0 - now)


def _from_environment(name: str, option: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise AuthError(f"{option}: the environment variable {name} is not set", hint=f"set {name} and run again")
    if any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise AuthError(f"{option}: the value of {name} holds a line break or a control character")
    return value


def _secretless(message: str, login: Login) -> str:
    for secret in (login.password, login.username):
        message = message.replace(secret, "***") if secret else message
    return redact_text(message.partition(": ")[2] or message)
