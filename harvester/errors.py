"""The exception tree, sorted by what the caller does next: mend the request, mend the source, mend the disk, or go on
later."""

from __future__ import annotations


class HarvesterError(Exception):
    """Something a person has to know. ``message`` says what is wrong and where, ``hint`` what to do about it.

    ``code`` is a stable word for programs; ``exit_code`` is the one that the command line ends with.
    Neither text ever holds a secret: whoever raises it has redacted its URLs.
    """

    exit_code = 1
    code = "error"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class UsageError(HarvesterError):
    """The request itself is wrong (option, job file, AOI, selection): nothing was fetched or written. Exit 2."""

    exit_code = 2
    code = "usage"


class SourceError(HarvesterError):
    """The source cannot be used: unreachable, not tiled, credentials refused, the breaker gave up. Exit 3."""

    exit_code = 3
    code = "source"
    come_back_seconds: float | None = None
    """The pause that the source asks for; None where it asks for none."""
    passes = False
    """It may go well when it is tried again: nothing was refused, the source was busy, out of order or not reached."""


class AuthError(SourceError):
    """Credentials are missing or were refused. Exit 3."""

    code = "auth"


class CacheError(HarvesterError):
    """The cache cannot be written or read: disk full, damaged, another source or scheme. Exit 4."""

    exit_code = 4
    code = "cache"


class LockedError(CacheError):
    """Another run holds this cache. Exit 4."""

    code = "locked"


class UnsupportedFormatError(CacheError):
    """The format cannot hold this tiling scheme or tile type. Exit 4."""

    code = "format"


class StoppedError(HarvesterError):
    """A run was stopped by a signal or by its caller. Exit 130 or 143."""

    code = "stopped"

    def __init__(self, message: str, *, hint: str = "", exit_code: int = 130) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code
