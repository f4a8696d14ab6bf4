"""Why a document did not come, as errors in words that a person can act on."""

from __future__ import annotations

import json
from urllib.parse import urljoin, urlsplit

from harvester.edges import Answer, Fault
from harvester.errors import AuthError, SourceError
from harvester.redact import redact_text, redact_url
from harvester.transport.origins import origin_of
from harvester.transport.retry_after import retry_after
from harvester.wording import pause_words

REDIRECTS = frozenset({301, 302, 303, 307, 308})


class DeniedError(AuthError):
    """401, 403, 498 or 499 for a document. ``status`` is that number."""

    def __init__(self, message: str, *, hint: str = "", status: int) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class DocumentError(SourceError):
    """A document that can't be had. ``status`` is HTTP's, or the one that the body states, or 0 for a fault."""

    def __init__(self, message: str, *, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.status = status


OPERATOR = "That is for the server's operator to mend"

TLS_WORDS = (
    (("has expired",), "its certificate has expired", f"{OPERATOR}; look at the date of this machine, too."),
    (("not yet valid",), "its certificate is not valid yet", f"{OPERATOR}; look at the date of this machine, too."),
    (("mismatch",), "its certificate is that of another name", "Use the name that the certificate is for."),
    (
        ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW"),
        "it speaks no version of TLS that is safe",
        f"{OPERATOR}: TLS 1.2 or 1.3 has to be allowed.",
    ),
    (("WRONG_VERSION_NUMBER", "HTTP_REQUEST"), "what answers there speaks no TLS", "Check the port, or write http://."),
    (
        ("HANDSHAKE_FAILURE", "CERTIFICATE_REQUIRED", "BAD_CERTIFICATE"),
        "it ends the TLS handshake",
        "It may want a certificate of its clients, which harvester can't give, or other ciphers: ask its operator.",
    ),
    (
        ("certificate", "CERTIFICATE_VERIFY_FAILED"),
        "its certificate can't be verified",
        "If your organisation has its own certificate authority, name its file with --ca-bundle.",
    ),
)
"""Parts of OpenSSL's own words, what a person reads of them, and the remedy; the first that fits counts."""

FAULT_WORDS = {
    Fault.DNS: (
        "the name of its host can't be found",
        "Check the spelling and the network; behind a proxy use --proxy.",
    ),
    Fault.CONNECT: ("no connection", "Check address, network and VPN; behind a proxy use --proxy."),
    Fault.PROXY: (
        "the proxy gives no connection",
        # Without a scheme, which --proxy does not need: else the login's place would be taken out as a login is.
        "Check the proxy's address; where it wants a login (407), give that with it: --proxy USER:PASSWORD@HOST:PORT",
    ),
    Fault.TLS: (
        "no TLS with it",
        "Check the port; ask the server's operator which versions and ciphers of TLS it allows.",
    ),
    Fault.TIMEOUT: ("no whole answer in time", "Try again later, or allow more with --timeout."),
    Fault.RESET: ("the connection was closed before an answer", "Try again later."),
    Fault.TRUNCATED: ("the answer broke off", "Try again later."),
    Fault.PROTOCOL: ("the answer is no valid HTTP", "Check that the address and the port are those of a web server."),
    Fault.TOO_LARGE: ("the document is too large", "Check that the address is that of a service, not of a download."),
}

STATUS_WORDS = {
    304: (
        "answered that it has not changed (304), which nobody asked",
        "Try again later; a proxy or cache in between may be out of order.",
    ),
    400: ("refuses the request (400)", "Check the address; open it in a browser."),
    404: ("is not there (404)", "Check the address; open it in a browser to see the services that there are."),
    407: (
        "can't be reached: the proxy wants a login (407)",
        "Give the login with it: --proxy USER:PASSWORD@HOST:PORT",
    ),
    429: ("is busy (429)", "Try again later."),
}

LOGIN_HINT = "Name the environment variable that holds a token with --token-env, or use --username and --password-env."

DENIED_WORDS = {
    401: ("wants a login (401)", LOGIN_HINT),
    403: (
        "refuses access (403)",
        "These credentials may not see it, or it wants a Referer: --header 'Referer: …'. " + LOGIN_HINT,
    ),
    498: ("refuses the token as invalid or expired (498)", "Get a new token, or use --username and --password-env."),
    499: ("wants a token (499)", LOGIN_HINT),
}


def failure(answer: Answer, url: str) -> SourceError:
    """The error for a document that did not come, in words, without a secret."""
    where = redact_url(url)
    if answer.fault is not None:
        words, hint = _fault_words(answer)
        detail = f" ({redact_text(answer.detail)})" if answer.detail else ""
        return DocumentError(f"{where}: {words}{detail}", hint=hint)
    if answer.status in DENIED_WORDS:
        words, hint = DENIED_WORDS[answer.status]
        return DeniedError(f"{where} {words}{stated(answer.body)}", hint=hint, status=answer.status)
    if answer.status in STATUS_WORDS:
        words, hint = STATUS_WORDS[answer.status]
    elif answer.status >= 500:
        words, hint = f"is out of order ({answer.status})", "Try again later; is the service started?"
    elif answer.status in REDIRECTS:
        words, hint = _redirect_words(answer, url)
    else:
        words, hint = f"answered with status {answer.status}", "Open it in a browser to see what it is."
    asked = retry_after(answer.headers)
    error = DocumentError(f"{where} {words}{stated(answer.body)}", hint=hint, status=answer.status)
    if asked and answer.status in (429, 503):
        error.hint = f"The server asks to come back in {pause_words(asked)}: run the same command again then."
        error.come_back_seconds = asked
    return error


def _redirect_words(answer: Answer, url: str) -> tuple[str, str]:
    """Of a form that was sent to ``url``: where it is led, and what to do, for it holds a login and goes nowhere else.
    To allow the other host would change nothing: a server says itself where its token service is."""
    target = urljoin(url, answer.headers.get("location", ""))
    here, found = origin_of(url), origin_of(target)
    hint = (
        "Give a token in place of the login: --token-env. Its operator can mend where the server says that logins go."
    )
    if here is None or found is None or here == found:
        path = redact_url(urlsplit(target)._replace(scheme="", netloc="", query="", fragment="").geturl())
        words = f"redirects to {path or 'another address'} of the same host"
    else:
        words = f"redirects to {found}"
        if (here.scheme, here.host) == ("http", found.host) and found.scheme == "https":
            hint = "Use the https address of the service, or a token in place of the login: --token-env."
    return f"{words} ({answer.status}), where a login never follows", hint


def _fault_words(answer: Answer) -> tuple[str, str]:
    """What a fault is called, and its remedy; of TLS by what went wrong in it."""
    assert answer.fault is not None
    if answer.fault is Fault.TLS:
        for parts, words, hint in TLS_WORDS:
            if any(part in answer.detail for part in parts):
                return words, hint
    return FAULT_WORDS[answer.fault]


def stated(body: bytes) -> str:
    """What a small JSON error body says of itself, as ``: message``; else nothing."""
    if body.lstrip()[:1] != b"{" or len(body) > 1 << 16:
        return ""
    try:
        error = json.loads(decode(body)).get("error")
        message = error.get("message") if isinstance(error, dict) else None
    except (ValueError, RecursionError, AttributeError):
        return ""
    return f": {redact_text(message.strip())[:200]}" if isinstance(message, str) and message.strip() else ""


def decode(body: bytes) -> str:
    """Text of a document: UTF-8 with or without a byte order mark, else Latin-1, which every byte sequence is."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("latin-1")
