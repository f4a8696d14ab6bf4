"""URLs and texts as a person may see them: without user names, passwords, tokens, keys and signatures."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

MASK = "***"

SECRET_NAMES = frozenset(
    {
        "access_token",
        "api_key",
        "apikey",
        "auth",
        "authorization",
        "client_secret",
        "code",
        "key",
        "pass",
        "passwd",
        "password",
        "pwd",
        "sas",
        "secret",
        "sig",
        "signature",
        "subscription-key",
        "token",
    }
)
"""Query parameters whose values are secrets, lower case; so is ``x-amz-*``, and what ends in one of ``SECRET_ENDS``."""

SECRET_ENDS = ("token", "secret", "password", "signature", "apikey", "api_key", "api-key")

_URL = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s\"'<>]+")
_PAIR = re.compile(
    r"(?i)\b([\w-]*(?:token|password|secret|signature|api[_-]?key))(=|\"?\s*:\s*\"?)(?!//)([^\s&\"',;}<>]+)"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+")


def is_secret_name(name: str) -> bool:
    """True for the name of a query parameter or form field that carries a secret."""
    name = name.lower()
    return name in SECRET_NAMES or name.startswith("x-amz-") or name.endswith(SECRET_ENDS)


def redact_url(url: str) -> str:
    """The URL with ``user:password@`` dropped and the values of secret parameters masked; never raises.

    What can't be parsed as a URL loses its query altogether.
    """
    try:
        parts = urlsplit(url)
        netloc = parts.netloc.rpartition("@")[2]
        path = parts.path
    except ValueError:
        head = url.partition("?")[0]
        return re.sub(r"//[^/@]*@", "//", head)
    return urlunsplit((parts.scheme, netloc, path, _redact_query(parts.query), _redact_query(parts.fragment)))


def redact_text(text: str) -> str:
    """A message with every URL in it redacted, and values after ``token=``, ``password:`` and the like masked."""
    text = _URL.sub(lambda match: redact_url(match.group()), text)
    text = _BEARER.sub(lambda match: f"{match.group(1)} {MASK}", text)
    return _PAIR.sub(lambda match: f"{match.group(1)}{match.group(2)}{MASK}", text)


def _redact_query(query: str) -> str:
    if not query:
        return query
    return "&".join(_redact_pair(pair) for pair in query.split("&"))


def _redact_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    return f"{name}={MASK}" if equals and value and is_secret_name(unquote(name).strip()) else pair
