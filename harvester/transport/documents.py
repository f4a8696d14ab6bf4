"""Documents over HTTP: retries, redirects by hand, size and time caps, decoding, and errors that a person can act on.

Decides only; one exchange with a server is the subclass's (``Session``).
"""

from __future__ import annotations

import asyncio
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from harvester.edges import PASSING, Answer, Fault
from harvester.redact import is_secret_name, redact_url, scrub, scrub_json, site_of
from harvester.transport.origins import Origin, is_allowed, origin_of, same_site
from harvester.transport.refusals import REDIRECTS, DocumentError, decode, failure
from harvester.transport.retry_after import retry_after

MAX_DOCUMENT_BYTES = 64 << 20
"""The largest service documents seen are below 1 MB; a web map with drawn features may reach tens of MB."""

MAX_REDIRECTS = 3
"""http to https, a trailing slash, a moved context path: more is a loop or a login."""

MAX_DEPTH = 64
"""Nesting of a JSON document; Esri's deepest (group layers with renderers) stay below 20."""

DOCUMENT_TRIES = 4
FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 10.0
MAX_RETRY_AFTER_SECONDS = 30.0
"""A person waits for the first document: a longer Retry-After is told, not waited for."""

TRANSIENT = PASSING | {304, 429, 500, 502, 503, 504}
"""304 among them: to who has not asked whether it changed, it says nothing."""

Headers = Sequence[tuple[str, str]]
Sleep = Callable[[float], Awaitable[None]]


class Document(NamedTuple):
    """A whole document: the URL that finally gave it, its headers (lower-case names) and bytes."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Documents(ABC):
    """Fetches documents whole or raises DocumentError, or DeniedError for credentials; nothing else."""

    def __init__(
        self,
        *,
        allow_hosts: Sequence[str] = (),
        sleep: Sleep = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.allow_hosts = tuple(allow_hosts)
        self._sleep = sleep
        self._chance = chance

    @abstractmethod
    async def exchange(
        self, method: str, url: str, *, headers: Headers = (), form: Mapping[str, str] | None = None, cap: int
    ) -> Answer:
        """One request, no redirect followed, no exception raised: faults are in the Answer."""

    async def get_bytes(
        self,
        url: str,
        *,
        headers: Headers = (),
        cap: int = MAX_DOCUMENT_BYTES,
        status_in: Callable[[bytes], int] | None = None,
    ) -> Document:
        """GET a document; ``headers`` go to the URL's own origin only.

        ``status_in`` gives the status that a body states in spite of its 200 (0: none), as ArcGIS answers do.
        """
        return await self._retrying(lambda: self._follow(url, headers, cap), url, status_in)

    async def get_json(
        self, url: str, *, headers: Headers = (), status_in: Callable[[bytes], int] | None = None
    ) -> tuple[Any, Document]:
        """GET a JSON document: its value, and the document it came in."""
        document = await self.get_bytes(url, headers=headers, status_in=status_in)
        # What a server repeats of our secrets goes no further: names of files, metadata and titles are made of this.
        return scrub_json(read_json(document)), document

    async def post_form(
        self,
        url: str,
        form: Mapping[str, str],
        *,
        headers: Headers = (),
        status_in: Callable[[bytes], int] | None = None,
    ) -> tuple[Any, Document]:
        """POST a form (it may hold a password, so no redirect is followed) and read the JSON answer."""

        async def once() -> Document | Answer:
            answer = await self.exchange("POST", url, headers=headers, form=form, cap=MAX_DOCUMENT_BYTES)
            good = answer.fault is None and 200 <= answer.status < 300
            return Document(url, answer.headers, answer.body) if good else answer

        document = await self._retrying(once, url, status_in)
        return read_json(document), document

    async def _retrying(
        self,
        once: Callable[[], Awaitable[Document | Answer]],
        url: str,
        status_in: Callable[[bytes], int] | None,
    ) -> Document:
        for attempt in range(DOCUMENT_TRIES):
            got = await once()
            if isinstance(got, Answer):
                answer = got
            else:
                status = status_in(got.body) if status_in is not None else 0
                if status == 0:
                    return got
                answer = Answer(status, got.headers, got.body, 0.0)
            delay = self._delay(answer, attempt)
            if delay is None or attempt + 1 == DOCUMENT_TRIES:
                break
            await self._sleep(delay)
        error = failure(answer, url)
        error.passes = _passes(answer)
        raise error

    def _delay(self, answer: Answer, attempt: int) -> float | None:
        """Seconds until the next try (full jitter), None when asking again won't mend it or takes too long."""
        if answer.fault is Fault.DNS or not _passes(answer):
            return None
        delay = self._chance() * min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * float(2**attempt))
        asked = retry_after(answer.headers) or 0.0
        return None if asked > MAX_RETRY_AFTER_SECONDS else max(delay, asked)

    async def _follow(self, url: str, headers: Headers, cap: int) -> Document | Answer:
        """GET, following MAX_REDIRECTS at most, to the same site or an allowed host; credentials stay at home."""
        typed = origin_of(url)
        if typed is None:
            raise DocumentError(f"{redact_url(url)} is no http(s) URL", hint="Write it as https://HOST/PATH.")
        here, sent = url, headers
        shown = [pair for pair in urlsplit(url).query.split("&") if _shows(pair)]
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self.exchange("GET", here, headers=sent, cap=cap)
            if answer.fault is None and answer.status in REDIRECTS:
                here, sent = self._redirected(typed, here, answer, headers, shown)
                continue
            if answer.fault is None and 200 <= answer.status < 300:
                return Document(here, answer.headers, answer.body)
            return answer
        raise DocumentError(
            f"{redact_url(url)} redirects more than {MAX_REDIRECTS} times, at last to {site_of(here)}",
            hint="Open it in a browser and use the address where it ends; a login page needs --token-env or --header.",
        )

    def _redirected(
        self, typed: Origin, here: str, answer: Answer, headers: Headers, shown: Sequence[str]
    ) -> tuple[str, Headers]:
        target = urljoin(here, answer.headers.get("location", ""))
        found = origin_of(target)
        if found is None or not answer.headers.get("location"):
            raise DocumentError(
                f"{redact_url(here)} redirects to {redact_url(target)}, which is no http(s) URL",
                hint="Open it in a browser and use the address where it ends.",
            )
        downgrade = typed.scheme == "https" and found.scheme == "http"
        if same_site(typed, found):
            return _at_home(target, shown), headers
        if is_allowed(found, self.allow_hosts) and not downgrade:
            return _leaving(target, here), ()
        hint = f"Use its address if you trust it, or allow it: --allow-host {found.place}"
        if downgrade:
            hint = f"It leads from https to http, which nothing allows: use the address at {found} if you trust it."
        raise DocumentError(
            f"{redact_url(here)} redirects to another host, {found}",
            hint=hint,
            status=answer.status,
        )


def _passes(answer: Answer) -> bool:
    """True for what may come otherwise later, if not within seconds."""
    if answer.fault is not None:
        return answer.fault not in (Fault.TLS, Fault.TOO_LARGE)
    return answer.status in TRANSIENT


MOST_ENCODED = 8
"""Times that an address may have been encoded on its way through proxies."""


def _shows(pair: str) -> bool:
    """True for a credential in a query."""
    return bool(pair) and (_tells(pair) or is_secret_name(pair.partition("=")[0]))


def _at_home(target: str, shown: Sequence[str]) -> str:
    """A redirect within the site, or back to it, with the credentials of the query that was asked with first: headers
    go along as well, and many a proxy's or other host's redirect knows no query."""
    parts = urlsplit(target)
    there = {pair.partition("=")[0].lower() for pair in parts.query.split("&")}
    added = [pair for pair in shown if pair.partition("=")[0].lower() not in there]
    return parts._replace(query="&".join((*filter(None, (parts.query,)), *added))).geturl() if added else target


def _leaving(target: str, here: str) -> str:
    """A redirect to another host without what was sent to this one: many a proxy repeats the whole query, and a token
    may be in it. Raises DocumentError where a known secret stands elsewhere in it."""
    sent = urlsplit(here).query.split("&")
    parts = urlsplit(target)
    pairs = [
        pair
        for pair in parts.query.split("&")
        if not _tells(pair) and not (pair in sent and is_secret_name(pair.partition("=")[0]))
    ]
    target = parts._replace(query="&".join(pairs)).geturl()
    if _tells(target):
        raise DocumentError(
            f"{redact_url(here)} redirects to another host, {origin_of(target)}, with a secret in the address",
            hint="Nothing was sent there; use its own address, with the credentials that are meant for it.",
        )
    return target


def _tells(text: str) -> bool:
    """True when a known secret is in it, however often it was percent-encoded."""
    for _ in range(MOST_ENCODED):
        if scrub(text) != text:
            return True
        text = unquote(text)
    return False


def read_json(document: Document) -> Any:
    """The value of a JSON document. UTF-8, else Latin-1 (old servers); NaN, Infinity and deep nesting are refused.

    Raises DocumentError.
    """
    where = redact_url(document.url)
    text = decode(document.body).strip()
    if text.startswith("<"):
        raise DocumentError(
            f"{where} answered with a web page, not JSON",
            hint="A login page, or no ArcGIS REST address? That of a service ends in /MapServer or /ImageServer.",
        )
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise DocumentError(f"{where} is nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise DocumentError(
            f"{where} is not valid JSON ({error})", hint="Open it in a browser to see what it is."
        ) from error
    if _deeper_than(value, MAX_DEPTH):
        raise DocumentError(f"{where} is nested deeper than {MAX_DEPTH} levels")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _deeper_than(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return [child for child in node.values() if isinstance(child, dict | list)]
    return [child for child in node if isinstance(child, dict | list)] if isinstance(node, list) else []
