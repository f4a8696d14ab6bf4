"""Which addresses belong together: the same-origin rule for URLs that are found inside documents and redirects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"[a-z0-9_.-]{1,253}|[0-9a-f:.]{2,45}(%[a-z0-9_.-]+)?")
"""A name as DNS and Windows networks have them, or the number of an IPv6 address."""


class Origin(NamedTuple):
    """Scheme, lower-case ASCII host without brackets, and port of an http(s) URL."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if DEFAULT_PORTS.get(self.scheme) == self.port else f":{self.port}"
        return f"{self.scheme}://{name}{port}"

    @property
    def place(self) -> str:
        """What ``--allow-host`` takes: the host, with its port where it isn't the scheme's own."""
        return str(self).partition("://")[2]


def origin_of(url: str) -> Origin | None:
    """The origin of an http or https URL, None for anything else (other schemes, no host, a port that is none)."""
    try:
        parts = urlsplit(url)
        scheme, port = parts.scheme.lower(), parts.port
        host = (parts.hostname or "").encode("idna").decode("ascii")
    except ValueError:  # UnicodeError is one
        return None
    if scheme not in DEFAULT_PORTS or not _HOST.fullmatch(host) or port == 0:
        return None
    return Origin(scheme, host, port if port is not None else DEFAULT_PORTS[scheme])


def same_site(typed: Origin, found: Origin) -> bool:
    """True when ``found`` is the same origin as ``typed``, or its https twin on the default port."""
    if typed == found:
        return True
    upgrade = (typed.scheme, found.scheme) == ("http", "https") and found.port == 443
    return upgrade and typed.host == found.host and typed.port == 80


def is_allowed(found: Origin, allow_hosts: Sequence[str]) -> bool:
    """True when ``--allow-host`` names the host: ``HOST`` is all its ports, ``HOST:PORT`` is one. No wildcards."""
    return any(_allows(entry.strip().lower(), found) for entry in allow_hosts)


def _allows(entry: str, found: Origin) -> bool:
    if "://" in entry:
        return origin_of(entry) == found
    name, colon, digits = entry.rpartition(":")
    if colon and digits.isdigit() and (":" not in name or name.startswith("[")):
        return name.strip("[]") == found.host and int(digits) == found.port
    return entry.strip("[]") == found.host
