"""The address of an ArcGIS service as people type it: odd endings and secrets cut, the missing protocol added."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from harvester.errors import SourceError, UsageError
from harvester.redact import redact_url
from harvester.transport.origins import Origin, origin_of

PATH_SAFE = "/%:@!$&'()*+,;=~-._"
"""Left as typed in a path (RFC 3986, 3.3); everything else is percent-encoded."""

_SERVICE = re.compile(r"(?i)^(.*?/(MapServer|ImageServer|VectorTileServer|FeatureServer))(?:/|$)")

KINDS = {"mapserver": "arcgis-map", "imageserver": "arcgis-image", "vectortileserver": "arcgis-vector"}

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class NoAddressError(SourceError):
    """A text that can be no service's address, whatever answers there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUrl:
    """Where a service lives. ``token`` and ``basic`` were in the typed address and are in no other field."""

    origin: Origin
    path: str
    """Percent-encoded, no trailing slash, ends in ``/MapServer`` and the like where the address has one."""
    kind: str
    """``arcgis-map``, ``arcgis-image``, ``arcgis-vector``; ``arcgis-map`` also where the address doesn't say."""
    named: bool
    """True when the address ends in the name of a service type."""
    token: str | None = field(default=None, repr=False)
    basic: str | None = field(default=None, repr=False)
    """The value of an ``Authorization`` header for ``user:password@`` in the address."""

    def __str__(self) -> str:
        return f"{self.origin}{self.path}"

    @property
    def document(self) -> str:
        """The address of the service document."""
        return f"{self}?f=json"

    @property
    def name(self) -> str:
        """The service's name as its address gives it: the part before ``/MapServer``."""
        parts = self.path.rstrip("/").split("/")
        return unquote(parts[-2] if self.named and len(parts) > 1 else parts[-1]) or self.origin.host

    @property
    def rest_root(self) -> str | None:
        """``https://host/arcgis/rest``: what comes before ``/services/``; None where there is none."""
        head, found, _ = self.path.partition("/services/")
        return f"{self.origin}{head}" if found else None


def parse_service_url(text: str) -> ServiceUrl:
    """Read an address. Raises NoAddressError when it is no http(s) address, SourceError for a feature service's."""
    url = text.strip()
    if "://" not in url:
        host = url.partition("/")[0].rpartition("@")[2]
        local = host.rpartition(":")[0].strip("[]") in LOOPBACK or host in LOOPBACK
        url = f"{'http' if local else 'https'}://{url}"
    origin = origin_of(url)
    if origin is None:
        raise NoAddressError(
            f"{redact_url(text)} is no http(s) address",
            hint="Give the address of a service, such as https://HOST/arcgis/rest/services/NAME/MapServer.",
        )
    parts = urlsplit(url)
    path = quote(re.sub(r"/{2,}", "/", parts.path), safe=PATH_SAFE).rstrip("/")
    match = _SERVICE.match(path)
    server = match.group(2).lower() if match else ""
    if match:
        path = match.group(1)
    if server == "featureserver":
        raise SourceError(
            f"{origin}{path} is a feature service: it serves features, not tiles",
            hint="Use the address of its map in tiles, if there is one (…/MapServer).",
        )
    if "/rest/" not in path and re.search(r"(?i)/services/.*Server$", path):
        path = re.sub(r"(?i)/services/", "/rest/services/", path, count=1)
    return ServiceUrl(
        origin=origin,
        path=path,
        kind=KINDS.get(server, "arcgis-map"),
        named=bool(match),
        token=_token(parts.query) or _token(parts.fragment),
        basic=_basic(parts.username, parts.password),
    )


def parse_typed_url(text: str) -> ServiceUrl:
    """The same of what a person typed, for whom UsageError says that it is no address: no service has to be asked."""
    try:
        return parse_service_url(text)
    except NoAddressError as error:
        raise UsageError(error.message, hint=error.hint) from error


def _token(query: str) -> str | None:
    for name, value in parse_qsl(query):
        if name.lower() == "token" and value.strip():
            token = value.strip()
            if not is_token(token):
                raise SourceError("the token in the address holds characters that no token has")
            return token
    return None


def is_token(text: str) -> bool:
    """True for what may be a token: printable ASCII, which can't end a header line or begin another."""
    return bool(text) and text.isascii() and text.isprintable()


def _basic(username: str | None, password: str | None) -> str | None:
    if not username:
        return None
    pair = f"{unquote(username)}:{unquote(password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")
