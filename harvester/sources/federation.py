"""Servers that belong to a portal: whose tokens they take, and how the portal's token is exchanged for one of theirs.

Source: Esri's REST reference, "Server Info" (``owningSystemUrl``, ``authInfo.tokenServicesUrl``) and "Generate Token"
of the portal (``token`` and ``serverUrl`` give a server token).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harvester.errors import AuthError
from harvester.redact import redact_url
from harvester.sources.arcgis_errors import status_in
from harvester.sources.login import TOKEN_MINUTES, Grant, read_grant, require_trusted, stated_service
from harvester.sources.service_url import ServiceUrl
from harvester.transport.documents import Documents
from harvester.transport.refusals import DeniedError, DocumentError

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """The portal that a server belongs to, and the server as the portal knows it."""

    url: str
    """The portal's ``generateToken``."""
    server: str
    """The server's root, such as ``https://host/arcgis``."""
    referer: str

    async def grant(self, session: Documents, token: str) -> Grant:
        """A token of the server for one of the portal. Raises AuthError when the portal refuses, SourceError when it
        does not answer."""
        form = {
            "request": "getToken",
            "token": token,
            "serverUrl": self.server,
            "referer": self.referer,
            "expiration": str(TOKEN_MINUTES),
            "f": "json",
        }
        where = redact_url(self.url)
        try:
            value, document = await session.post_form(
                self.url, form, headers=[("Referer", self.referer)], status_in=status_in
            )
        except (DocumentError, DeniedError) as error:
            if error.passes:
                raise
            raise AuthError(
                f"the portal gives no token for its server {self.server}: {error.message}",
                hint="Check that the token is the portal's, still holds, and was made for this Referer.",
            ) from None
        return read_grant(value, document, where)


async def federation_of(url: ServiceUrl, session: Documents, *, headers: Headers = ()) -> Federation | None:
    """The portal that a service's server belongs to; None where it says nothing of one.

    Raises AuthError when the portal is on a host that nobody allowed, since the token would go there.
    """
    if url.rest_root is None:
        return None
    try:
        value, _ = await session.get_json(f"{url.rest_root}/info?f=json", headers=headers, status_in=status_in)
    except (DocumentError, DeniedError):
        return None
    portal = _portal_service(value)
    if portal is None:
        return None
    require_trusted(portal, url, session, what="token")
    referer = next((value for name, value in headers if name.lower() == "referer"), str(url.origin))
    return Federation(url=portal, server=url.rest_root.removesuffix("/rest"), referer=referer)


def _portal_service(value: Any) -> str | None:
    """``generateToken`` of the owning portal: what the server names, if that is the portal's, else by convention."""
    if not isinstance(value, dict):
        return None
    owner, stated = value.get("owningSystemUrl"), stated_service(value)
    if stated is not None and "/sharing/" in stated:
        return stated
    if isinstance(owner, str) and owner.strip():
        return f"{owner.strip().rstrip('/')}/sharing/rest/generateToken"
    return None
