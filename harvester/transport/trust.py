"""Which certificates are trusted: the system's, and a bundle that the environment or a person names; never all."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from harvester.errors import UsageError

BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Environment variables that name a bundle, in the order in which they are asked."""

_PEM = b"-----BEGIN "
"""Of a certificate, a trusted one (OpenSSL's own kind) or a list of them (RFC 7468)."""

_BUNDLE_HINT = "Name a file of PEM certificates (-----BEGIN CERTIFICATE-----), or a folder of hashed ones."


def tls_context(ca_bundle: Path | None = None, environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """A verifying context: system trust, plus ``ca_bundle`` or else the first bundle that the environment names.

    Where the system has no trust store (some Python builds), certifi's is used if it is installed.
    Raises UsageError when a bundle is missing or holds no certificate.
    """
    context = ssl.create_default_context()
    named = _named(ca_bundle, environ)
    if named is not None:
        path, where = named
        _load(context, path, where)
    if not context.cert_store_stats()["x509_ca"] and not _system_folder():
        _load_certifi(context)
    return context


def check_trust(ca_bundle: Path | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Look at the bundle that is named, if one is, without the 35 ms that reading it costs: plain HTTP needs none.

    Raises UsageError when it is missing or is no file of certificates at all; the rest ``tls_context`` tells.
    """
    named = _named(ca_bundle, environ)
    if named is None or named[0].is_dir():
        return
    path, where = named
    try:
        looks_right = _PEM in path.read_bytes()
    except OSError as error:
        raise _no_bundle(path, where, error) from error
    if not looks_right:
        raise UsageError(f"{where}: {path} cannot be read as certificates (none in it)", hint=_BUNDLE_HINT)


class Trust:
    """The context of one client of HTTP/1.1, made for its first TLS connection. Raises UsageError as ``check_trust``,
    and ``context`` as ``tls_context``."""

    def __init__(self, ca_bundle: Path | None, environ: Mapping[str, str]) -> None:
        check_trust(ca_bundle, environ)
        self._named = ca_bundle, environ
        self._made: ssl.SSLContext | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """The same one each time."""
        if self._made is None:
            self._made = tls_context(*self._named)
            self._made.set_alpn_protocols(["http/1.1"])
        return self._made


def is_default_trust(ca_bundle: Path | None = None, environ: Mapping[str, str] = os.environ) -> bool:
    """True when nothing but OpenSSL's own trust is asked for, and there is one.

    Then aiohttp's own verifying context does, which is made when aiohttp is imported (so before a notebook may have
    set SSL_CERT_FILE): a second one costs 35 ms.
    """
    if _named(ca_bundle, environ) is not None:
        return False
    if os.name == "nt":
        return True
    paths = ssl.get_default_verify_paths()
    return (paths.cafile is not None and Path(paths.cafile).is_file()) or _system_folder()


def _named(ca_bundle: Path | None, environ: Mapping[str, str]) -> tuple[Path, str] | None:
    if ca_bundle is not None:
        return ca_bundle, "--ca-bundle"
    for name in BUNDLE_VARIABLES:
        if environ.get(name):
            return Path(environ[name]), name
    return None


def _load(context: ssl.SSLContext, path: Path, where: str) -> None:
    try:
        if path.is_dir():
            context.load_verify_locations(capath=str(path))
        else:
            context.load_verify_locations(cafile=str(path))
    except OSError as error:  # ssl.SSLError is one
        raise _no_bundle(path, where, error) from error


def _no_bundle(path: Path, where: str, error: OSError) -> UsageError:
    if isinstance(error, FileNotFoundError):
        return UsageError(f"{where}: {path} is not there", hint=_BUNDLE_HINT)
    words = error.strerror or error
    return UsageError(f"{where}: {path} cannot be read as certificates ({words})", hint=_BUNDLE_HINT)


def _system_folder() -> bool:
    """True where OpenSSL looks certificates up one by one in a folder, which the store's count does not show."""
    folder = ssl.get_default_verify_paths().capath
    return folder is not None and any(Path(folder).iterdir())


def _load_certifi(context: ssl.SSLContext) -> None:
    try:
        import certifi
    except ImportError:
        return
    context.load_verify_locations(cafile=certifi.where())


def tls_words(error: BaseException) -> str:
    """Why TLS failed, as OpenSSL says it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return getattr(error, "reason", None) or "no TLS"
