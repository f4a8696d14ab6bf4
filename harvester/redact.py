"""URLs and texts as a person may see them: without user names, passwords, tokens, keys and signatures.

Two ways, since neither is enough: what stands where secrets stand (``token=``, ``user:password@``) is masked whatever
it is, and what is known to be a secret is masked wherever it stands, also where a server repeats it in its own words.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from html import escape
from typing import Any
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
    r"(?i)\b([\w-]*(?:token|password|secret|signature|api[_-]?key))(=|\"?\s*:\s*\"?)"
    r"(?!//|line \d+, col)([^\s&\"',;}<>]+)"  # a parser's "token: line 1, column 2" is a place
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+")


def is_secret_name(name: str) -> bool:
    """True for the name of a query parameter or form field that carries a secret."""
    name = name.lower()
    return name in SECRET_NAMES or name.startswith("x-amz-") or name.endswith(SECRET_ENDS)


def site_of(url: str) -> str:
    """Where a URL leads, and nothing more of it: ``https://host:8443``; empty for what names no host; never raises."""
    try:
        parts = urlsplit(url.strip())
        port = f":{parts.port}" if parts.port is not None else ""
        host = parts.hostname or ""
    except ValueError:
        return ""
    if not parts.scheme or not host:
        return f"{parts.scheme}://" if parts.scheme else ""
    return redact_text(f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"[:200])


def redact_url(url: str) -> str:
    """The URL with ``user:password@`` dropped and the values of secret parameters masked; never raises.

    What can't be parsed as a URL loses its query altogether.
    """
    url = scrub(url)
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
    text = _URL.sub(lambda match: redact_url(match.group()), scrub(text))
    text = _BEARER.sub(lambda match: f"{match.group(1)} {MASK}", text)
    return _PAIR.sub(_mask_value, text)


def _mask_value(match: re.Match[str]) -> str:
    if match.start() and match.string[match.start() - 1] == "/" and ":" in match[2]:
        return match[0]  # the end of an address, ".../generateToken", and what is said of it
    return f"{match[1]}{match[2]}{MASK}"


def _redact_query(query: str) -> str:
    if not query:
        return query
    return "&".join(_redact_pair(pair) for pair in query.split("&"))


def _redact_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    return f"{name}={MASK}" if equals and value and is_secret_name(unquote(name).strip()) else pair


# ---------------------------------------------------------------------------------------------- known secrets

LEAST = 4
"""Shorter values are in every second word: masking them would tell more than it hides."""

PART_OF_WORD = 8
"""Shorter values are masked as whole words only: a password such as ``tile`` is in harvester's own sentences."""

PLAIN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-type",
        "dnt",
        "from",
        "host",
        "origin",
        "pragma",
        "referer",
        "user-agent",
        "x-requested-with",
    }
)
"""Headers that hold no secret."""

SECRET_HEADER = re.compile(r"(?i)auth|cookie|key|token|secret|pass|session|sig|credential")
LIKELY_SECRET = 12
"""Headers of such names hold one; the value of any other is taken for one from this length on: a shorter one is more
likely a word (``X-Region: north``), and masking words makes messages unreadable."""

ADDRESS_KEYS = ("url", "urls", "servers", "tiles", "sprite", "glyphs", "href", "output")
"""Ends of JSON keys whose values are used as addresses, so they stay whole; they are redacted where they are shown."""


class Secrets:
    """Values that must not be shown. One for the process, the only state that outlives a job: what was a secret stays
    one, and every way out (log, stderr, JSON, report, traceback) knows it without being told."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def keep(self, values: Iterable[str | None]) -> None:
        """Mask these from now on, as they stand, percent-encoded, and escaped as in JSON or HTML."""
        found = {value.strip() for value in values if value and len(value.strip()) >= LEAST}
        if not found <= self._values:
            self._values = self._values | found
            # The longest first: a secret that begins another must not leave the rest of it.
            ordered = sorted(self._values, key=lambda value: (-len(value), value))
            # Host names are lower-cased on their way, and so is %2F by some.
            self._pattern = re.compile("|".join(map(_spelled, ordered)), re.IGNORECASE)

    def scrub(self, text: str) -> str:
        """The text without any of them."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def __repr__(self) -> str:
        return f"Secrets({len(self._values)})"


_KNOWN = Secrets()


def keep_secret(*values: str | None) -> None:
    """Values (tokens, passwords) that no text may show from now on, wherever they come from."""
    _KNOWN.keep(values)


def is_secret_header(name: str) -> bool:
    """True for the name of a request header that carries a secret."""
    name = name.strip().lower()
    return name not in PLAIN_HEADERS and SECRET_HEADER.search(name) is not None


def keep_secret_header(name: str, value: str) -> None:
    """The value of a request header, with what is inside it: after ``Bearer``, in a cookie, in a basic login."""
    if name.strip().lower() in PLAIN_HEADERS:
        return
    if not SECRET_HEADER.search(name) and len(value.strip()) < LIKELY_SECRET:
        return
    scheme, space, rest = value.strip().partition(" ")
    keep_secret(value, rest)
    if name.strip().lower() == "cookie":
        keep_secret(*(pair.partition("=")[2] for pair in value.split(";")))
    if space and scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest.strip(), validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            return
        keep_secret(pair, pair.partition(":")[2])


def keep_secret_login(username: str | None, password: str | None) -> None:
    """A password, and the form in which a login travels (RFC 7617)."""
    pair = f"{username or ''}:{password or ''}"
    keep_secret(password, base64.b64encode(pair.encode()).decode("ascii") if password else None)


def scrub(text: str) -> str:
    """The text without any known secret; unlike ``redact_text`` it changes nothing else."""
    return _KNOWN.scrub(text)


def scrub_json(value: Any) -> Any:
    """A JSON value without any known secret in its strings, but for addresses (``ADDRESS_KEYS``)."""
    if isinstance(value, str):
        return _KNOWN.scrub(value)
    if isinstance(value, list):
        return [scrub_json(item) for item in value]
    if isinstance(value, dict):
        return {
            scrub(str(key)): item if _is_address(str(key), item) else scrub_json(item) for key, item in value.items()
        }
    return value


def _is_address(key: str, value: Any) -> bool:
    plain = isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
    return plain and key.lower().endswith(ADDRESS_KEYS)


def _spelled(value: str) -> str:
    """A pattern for a value in the ways in which it may be written."""
    spelled = "".join(map(_ways, value))
    return spelled if len(value) >= PART_OF_WORD else rf"(?<![A-Za-z0-9]){spelled}(?![A-Za-z0-9])"


def _ways(char: str) -> str:
    if char.isascii() and char.isalnum():
        return char
    percent = "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
    ways = {char, escape(char), escape(char).replace("&#x27;", "&#39;"), "\\" + char, f"\\u{ord(char) & 0xFFFF:04x}"}
    if char == " ":
        ways.add("+")
    found = [re.escape(way) for way in sorted(ways, key=len, reverse=True)]
    return f"(?:{percent}|{'|'.join(found)})"
