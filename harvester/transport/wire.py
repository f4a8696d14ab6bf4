"""aiohttp, its one home in the client: one exchange with a server, and what its exceptions mean."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Mapping, Sequence

import aiohttp
from yarl import URL

from harvester.edges import Answer, Fault
from harvester.transport.access import LEAST_RATE, Access
from harvester.transport.bodies import BodyTooLargeError, PackedBodyError, is_packed, unpack
from harvester.transport.in_step import InStep, OutOfStepError, begin, require_alone
from harvester.transport.proxies import Proxies
from harvester.transport.trust import check_trust, is_default_trust, tls_context, tls_words

NO_BODY = frozenset({204, 304})

MAX_HEADER_BYTES = 16 << 10
"""Per header: what nginx and IIS send at most; a longer one is a fault, not an answer."""


class Wire:
    """One aiohttp client: connections that are made when first needed, and one exchange at a time on each.

    Raises UsageError when the proxy or the trust bundle is wrong; a bundle that has the look of one and can't be read,
    with the first ``exchange`` over TLS.
    """

    def __init__(self, access: Access) -> None:
        self._proxies = Proxies.resolve(access.proxy, access.environ)
        self._access = access
        self._tls: ssl.SSLContext | bool | None = None
        check_trust(access.ca_bundle, access.environ)
        self._user_agent = access.user_agent
        self._client: aiohttp.ClientSession | None = None
        self._connector: InStep | None = None
        self._unasked = 0
        """Answers too many over connections that were dropped."""
        self._closing: list[Awaitable[None]] = []
        self._proxy_of: dict[tuple[str, str, int], str | None] = {}

    async def exchange(
        self,
        method: str,
        address: str,
        headers: Sequence[tuple[str, str]],
        cap: int,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request to a percent-encoded URL and its whole answer. Raises FAILURES. Follows nothing, keeps no cookie.

        A packed body is unpacked (``cap`` holds for both) unless ``headers`` ask for gzip: then it is kept as received.
        """
        asked = begin()
        url = URL(address, encoded=True)
        client = self._client or self._open()
        sent = dict(headers)
        named = {name.lower(): value for name, value in headers}
        if "accept-encoding" not in named:
            sent["Accept-Encoding"] = "identity"
        proxy = self._proxy(url)
        secure = url.scheme == "https" or (proxy is not None and proxy.startswith("https:"))
        async with client.request(
            method,
            url,
            headers=sent,
            data=form,
            allow_redirects=False,
            proxy=proxy,
            ssl=self._trusted() if secure else True,
        ) as response:
            head = _head(response)
            body = await _body(response, cap, self._access.patience_seconds)
            if is_packed(body, head, "gzip" in named.get("accept-encoding", "")):
                body = unpack(body, head["content-encoding"], cap)
                del head["content-encoding"]
            delimited = (
                "content-length" in head
                or "chunked" in head.get("transfer-encoding", "").lower()
                or response.status in NO_BODY
            )
            require_alone(asked)
            return Answer(response.status, head, body, time.monotonic() - asked.began, delimited)

    @property
    def unasked(self) -> int:
        """Answers that nobody asked for, so far; after the first no connection is used twice."""
        return self._unasked + (0 if self._connector is None else self._connector.unasked)

    async def linger(self) -> None:
        """Wait for one that may be under way."""
        if self._connector is not None:
            await asyncio.sleep(self._connector.linger_seconds())

    def drop(self) -> None:
        """Close every connection; what is in flight ends with an exception."""
        self._unasked = self.unasked
        client, self._client, self._connector = self._client, None, None
        if client is not None and client.connector is not None:
            self._closing.append(client.connector.close(abort_ssl=True))
            client.detach()

    async def close(self) -> None:
        """Close every connection and wait until they are."""
        self.drop()
        closing, self._closing = self._closing, []
        for waiter in closing:
            await waiter

    def _open(self) -> aiohttp.ClientSession:
        # limit=0: the callers' number is the limit. Timeouts are the callers': one timer a request, theirs.
        connector = self._connector = InStep(out_of_step=self._unasked > 0, limit=0, ttl_dns_cache=300)
        self._client = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),
            auto_decompress=False,
            trust_env=False,
            headers={"User-Agent": self._user_agent, "Accept": "*/*"},
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )
        # Else aiohttp asks again by itself where a kept connection was closed: a request that no rate limit saw.
        self._client._retry_connection = False
        return self._client

    def _trusted(self) -> ssl.SSLContext | bool:
        """Made with the first TLS connection: reading a trust store takes 35 ms, and plain HTTP needs none."""
        if self._tls is None:
            bundle, environ = self._access.ca_bundle, self._access.environ
            self._tls = True if is_default_trust(bundle, environ) else tls_context(bundle, environ)
        return self._tls

    def _proxy(self, url: URL) -> str | None:
        place = (url.scheme, url.raw_host or "", url.port or 0)
        try:
            return self._proxy_of[place]
        except KeyError:
            proxy = self._proxy_of[place] = self._proxies.proxy_for(*place)
            return proxy


def _head(response: aiohttp.ClientResponse) -> dict[str, str]:
    head: dict[str, str] = {}
    for name, value in response.headers.items():
        name = name.lower()
        head[name] = f"{head[name]}, {value}" if name in head else value
    return head


async def _body(response: aiohttp.ClientResponse, cap: int, patience: float) -> bytes:
    """The body as sent, at most ``cap`` bytes. Raises BodyTooLargeError, and TimeoutError for one that drips; the
    connection is then closed."""
    length = response.content_length
    if length is not None and length > cap:
        response.close()
        raise BodyTooLargeError(f"{length} bytes stated, more than {cap}")
    chunks: list[bytes] = []
    size = 0
    began = time.monotonic()
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > cap:
            response.close()
            raise BodyTooLargeError(f"more than {cap} bytes")
        seconds = time.monotonic() - began
        if seconds >= patience and size < LEAST_RATE * seconds:
            response.close()
            raise TimeoutError(f"less than {LEAST_RATE:.0f} bytes a second")
        chunks.append(chunk)
    return b"".join(chunks)


FAILURES = (aiohttp.ClientError, OSError, ValueError)
"""All that ``Wire.exchange`` raises (TimeoutError is an OSError); ``fault_of`` says what each means."""


def fault_of(error: BaseException) -> tuple[Fault, str]:
    """What an exception of aiohttp, ssl or the socket means; the text holds no URL."""
    match error:
        case TimeoutError():
            return Fault.TIMEOUT, str(error) if str(error).startswith("less than") else ""
        case BodyTooLargeError():
            return Fault.TOO_LARGE, str(error)
        case PackedBodyError() | OutOfStepError():
            return Fault.PROTOCOL, str(error)
        case aiohttp.ClientConnectorDNSError():
            return Fault.DNS, error.host
        case aiohttp.ClientConnectorCertificateError():
            return Fault.TLS, tls_words(error.certificate_error)
        case aiohttp.ClientConnectorSSLError():
            return Fault.TLS, tls_words(error.os_error)
        case aiohttp.ClientHttpProxyError():
            return Fault.PROXY, f"it answered {error.status}"
        case aiohttp.ClientProxyConnectionError():
            return Fault.PROXY, error.os_error.strerror or "no connection"
        case aiohttp.ClientConnectorError():
            return Fault.CONNECT, _os_words(error.os_error)
        case aiohttp.ClientPayloadError():
            return _payload_fault(error)
        case aiohttp.ClientResponseError():
            return Fault.PROTOCOL, error.message.splitlines()[0][:100] if error.message else ""
        case ssl.SSLError():
            return Fault.TLS, tls_words(error)
        case aiohttp.ClientConnectionError() | OSError():
            return Fault.RESET, ""
    return Fault.PROTOCOL, type(error).__name__


def _payload_fault(error: aiohttp.ClientPayloadError) -> tuple[Fault, str]:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 8:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(cause, ConnectionError) and not isinstance(cause, aiohttp.ClientError) for cause in causes):
        return Fault.RESET, "in the middle of the body"
    if any(isinstance(cause, aiohttp.http_exceptions.TransferEncodingError) for cause in causes) and "chunk" in str(
        error
    ):
        return Fault.PROTOCOL, "broken chunks"
    return Fault.TRUNCATED, ""


def _os_words(error: OSError) -> str:
    """``strerror`` of a failed connect: asyncio wraps several addresses' errors into one text."""
    return error.strerror or "no connection"
