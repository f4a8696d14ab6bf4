"""Logging in to an ArcGIS server or portal: where its token service is, and a token from it (``generateToken``)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harvester.errors import AuthError
from harvester.redact import keep_secret, redact_text, redact_url
from harvester.sources.arcgis_errors import status_in
from harvester.sources.fields import as_number
from harvester.sources.service_url import LOOPBACK, ServiceUrl, is_token
from harvester.transport.documents import Document, Documents
from harvester.transport.origins import is_allowed, origin_of, same_site
from harvester.transport.refusals import DocumentError

TOKEN_MINUTES = 120
"""Asked for; servers give less if they allow less. A stolen token soon ends, a renewal costs one request."""


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
        return read_grant(value, document, where)


def read_grant(value: Any, document: Document, where: str) -> Grant:
    """The token in an answer of ``generateToken``. Raises AuthError where there is none."""
    token = value.get("token") if isinstance(value, dict) else None
    if not isinstance(token, str) or not is_token(token.strip()):
        raise AuthError(f"{where} gave no token", hint="Is it the address of an ArcGIS token service?")
    keep_secret(token)
    return Grant(token=token.strip(), seconds=_life(value, document.headers))


WRONG_LOGIN = "Check --username and the password in the variable that --password-env names."


async def token_service(url: ServiceUrl, session: Documents, *, headers: tuple[tuple[str, str], ...] = ()) -> str:
    """The address of ``generateToken`` for a service: what its server's ``/rest/info`` says, or its portal's.

    The password goes there, so it must be https (or this machine) and the service's own host or an allowed one.
    """
    if url.rest_root is None:
        found = portal_token_service(url)
    else:
        value, _ = await session.get_json(f"{url.rest_root}/info?f=json", headers=headers, status_in=status_in)
        stated = stated_service(value)
        if stated is None:
            raise AuthError(
                f"{url.rest_root}/info names no token service", hint="Log in another way: --token-env or --header."
            )
        found = stated
    require_trusted(found, url, session, what="password")
    return found


def require_trusted(found: str, url: ServiceUrl, session: Documents, *, what: str) -> None:
    """A token service that ``what`` (a password, a token) may be sent to: https or this machine, and the service's own
    host or an allowed one. Raises AuthError."""
    origin = origin_of(found)
    if origin is None:
        raise AuthError(f"the token service of {url.origin}, {redact_url(found)}, is no http(s) address")
    if not same_site(url.origin, origin) and not is_allowed(origin, session.allow_hosts):
        raise AuthError(
            f"the token service of {url.origin} is on another host, {origin}: the {what} would go there",
            hint=f"Allow it if you trust it: --allow-host {origin.place}",
        )
    if origin.scheme != "https" and origin.host not in LOOPBACK:
        raise AuthError(
            f"the token service {redact_url(found)} is not https: the {what} would travel in the clear",
            hint="Use the https address of the service, or a token (--token-env).",
        )


def portal_token_service(url: ServiceUrl) -> str:
    """``generateToken`` of the portal that an address under ``/sharing/`` or ``/home/`` belongs to."""
    root = url.path
    for mark in ("/sharing/", "/home/", "/apps/"):
        root = root.partition(mark)[0]
    return f"{url.origin}{root}/sharing/rest/generateToken"


def stated_service(value: Any) -> str | None:
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
    """Seconds from the answer's own ``Date`` (else our clock) to ``expires`` (ms since 1970); None: none is stated, or
    one that has passed: then the clocks differ, and a refusal will tell."""
    expires = as_number(value.get("expires"))
    if expires is None or expires <= 0:
        return None
    from email.utils import parsedate_to_datetime

    try:
        now = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        now = time.time()
    life = expires / 1000.0 - now
    return life if life >= 1.0 else None


def _secretless(message: str, login: Login) -> str:
    for secret in (login.password, login.username):
        message = message.replace(secret, "***") if secret else message
    return redact_text(message.partition(": ")[2] or message)
