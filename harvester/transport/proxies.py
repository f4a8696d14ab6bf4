"""Which proxy leads to a host: ``--proxy``, else ``HTTPS_PROXY`` or ``HTTP_PROXY`` unless ``NO_PROXY`` names it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from harvester.errors import UsageError
from harvester.redact import keep_secret_login, redact_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """Proxy URLs by the scheme of what is asked; may hold passwords, so ``repr`` leaves them out."""

    http: str | None = field(default=None, repr=False)
    https: str | None = field(default=None, repr=False)
    exempt: tuple[str, ...] = ()
    """Lower-case entries of NO_PROXY: ``host``, ``.domain``, ``host:port``, ``10.0.0.0/8``, ``*``."""

    @classmethod
    def resolve(cls, explicit: str | None = None, environ: Mapping[str, str] = os.environ) -> Proxies:
        """From ``--proxy`` (typed, so it wins over the whole environment, ``NO_PROXY`` too) or from the environment.

        Lower-case names come first, as with curl.
        Upper-case ``HTTP_PROXY`` is ignored under CGI, where a request header can
        set it. Raises UsageError for what is no URL.
        """
        if explicit:
            proxy = _checked(explicit, "--proxy")
            return cls(http=proxy, https=proxy)
        every = _read(environ, "all_proxy")
        plain = environ.get("http_proxy") or ("" if "REQUEST_METHOD" in environ else environ.get("HTTP_PROXY", ""))
        return cls(
            http=_checked(plain or every, "HTTP_PROXY"),
            https=_checked(_read(environ, "https_proxy") or every, "HTTPS_PROXY"),
            exempt=tuple(_read(environ, "no_proxy").lower().replace(",", " ").split()),
        )

    def proxy_for(self, scheme: str, host: str, port: int) -> str | None:
        """The proxy's URL for one host, or None: ask directly."""
        proxy = self.https if scheme == "https" else self.http
        if proxy is None or self._exempts(host.lower().strip("[]"), port):
            return None
        return proxy

    def _exempts(self, host: str, port: int) -> bool:
        return any(_matches(entry, host, port) for entry in self.exempt)


def _read(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper(), "")


def _checked(proxy: str, where: str) -> str | None:
    if not proxy:
        return None
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise UsageError(
            f"{where}: {redact_url(url)} is no proxy that can be used",
            hint="Write it as http://proxy.example.org:8080.",
        )
    keep_secret_login(unquote(parts.username or ""), unquote(parts.password or ""))
    return url


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, digits = entry.rpartition(":")
    if colon and digits.isdigit() and ":" not in name:
        if int(digits) != port:
            return False
        entry = name
    domain = entry.strip("[]").removeprefix("*").lstrip(".")
    return host == domain or host.endswith("." + domain)
