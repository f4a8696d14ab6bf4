"""The options that every verb has: ``--json --quiet --debug --log-file``, before the verb or after it."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from harvester.errors import UsageError
from harvester.redact import redact_text
from harvester.version import __version__

log = logging.getLogger("harvester")
log.addHandler(logging.NullHandler())


@dataclass(slots=True)
class Common:
    """What the common options say."""

    json: bool = False
    quiet: bool = False
    debug: bool = False
    arguments: tuple[str, ...] = ()
    """The command line as typed, secrets and all: not to be shown as it is."""
    log_file: Path | None = None

    def keep_log_from(self, *outs: str | Path | None) -> None:
        """The log is none of the files of these caches, and lies in none. Raises UsageError; it was not opened then."""
        if self.log_file is None:
            return
        from harvester.output import require_elsewhere

        for out in outs:
            if out is not None and "://" not in str(out):
                require_elsewhere(self.log_file, "--log-file", Path(out))

    def keep_log_from_read(self, files: Iterable[Path]) -> None:
        """The log is none of the files that the command reads. Raises UsageError; it was not opened then."""
        if self.log_file is not None:
            from harvester.output import require_unread

            require_unread(self.log_file, "--log-file", files)


def common_params() -> list[click.Parameter]:
    """The common options, as parameters of a command; they arrive in its context's ``Common``."""
    return [
        _flag("--json", text="One JSON document on stdout, nothing else there."),
        _flag("-q", "--quiet", text="Say nothing unless something is wrong."),
        _flag("--debug", text="Show tracebacks and log every decision."),
        click.Option(
            ["--log-file"],
            type=click.Path(path_type=Path, dir_okay=False),
            expose_value=False,
            callback=lambda ctx, param, value: _log_to(value, ctx),
            metavar="FILE",
            help="Append a log of what happened to FILE.",
        ),
        click.Option(
            ["--version", "-V"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            help="Show the version.",
            callback=_show_version,
        ),
    ]


STDOUT = "-"
"""What people write for the standard output where a file may be named."""


def or_stdout(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """No file for ``-``: what goes into one goes to the standard output without the option."""
    return None if str(value) == STDOUT else value


def or_json(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """The report on the standard output is ``--json``."""
    if str(value) == STDOUT:
        ctx.ensure_object(Common).json = True
    return or_stdout(ctx, param, value)


def require_name(options: Mapping[str, Any]) -> None:
    """A cache has a name. Raises UsageError."""
    if options.get("output") == STDOUT:
        raise UsageError("a cache is not written to the standard output", hint="Name a file or a folder.")


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        sys.stdout.write(f"harvester {__version__}\n")
        ctx.exit(0)


def _flag(*names: str, text: str) -> click.Option:
    field = names[-1].removeprefix("--")

    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if value:
            setattr(ctx.ensure_object(Common), field, True)
        return value

    callback: Callable[[click.Context, click.Parameter, Any], Any] = keep
    return click.Option(list(names), is_flag=True, expose_value=False, is_eager=True, callback=callback, help=text)


def _log_to(path: Path | None, ctx: click.Context) -> None:
    if str(path) == STDOUT:
        raise UsageError(
            "--log-file names a file", hint="What happens is told on stderr without it; --debug tells all."
        )
    if path is not None:
        ctx.ensure_object(Common).log_file = path


CACHES = ("source", "sources", "output", "outputs", "target", "delta", "old", "new")
"""Arguments and options that name what a verb reads and writes."""


def open_log(common: Common, options: Mapping[str, Any]) -> None:
    """Log to the file that is named, until the command ends, once it is known what the command reads and writes."""
    path = common.log_file
    if path is None:
        return
    named = [options.get(name) for name in CACHES]
    paths = [each for one in named for each in (one if isinstance(one, tuple) else (one,)) if each]
    common.keep_log_from(*paths)
    try:
        handler = _handler(path)
    except OSError as cause:
        raise UsageError(
            f"--log-file {path}: {cause.strerror}", hint="Name a file in a folder that can be written."
        ) from cause
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if common.debug else logging.INFO)

    def end() -> None:
        log.removeHandler(handler)
        handler.close()

    click.get_current_context().find_root().call_on_close(end)


def _handler(path: Path) -> logging.Handler:
    """Raises OSError. A file is opened with the first line: until then a job file may say that it is another's."""
    from harvester.durable import FILE, kind_of, open_there

    kind = kind_of(path)
    if kind not in ("", FILE):
        return _Stream(os.fdopen(open_there(path), "w", encoding="utf-8"))
    if kind == FILE or path.is_symlink():
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
    elif not path.absolute().parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    elif not os.access(path.absolute().parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return _File(path, encoding="utf-8", delay=True)


class _File(logging.FileHandler):
    """A handler for a file; one that takes no more (a full disk) stops nothing, and is told of at the end."""

    trouble: OSError | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            super().emit(record)
        except OSError:  # it can't be opened any more
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Remember what the file did not take."""
        cause = sys.exc_info()[1]
        if isinstance(cause, OSError):
            self.trouble = self.trouble or cause
        else:
            super().handleError(record)

    def close(self) -> None:
        """Close the file. What it did not take is lost."""
        try:
            super().close()
        except OSError as cause:
            self.trouble = self.trouble or cause
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            with suppress(OSError, ValueError):  # nobody reads stderr
                sys.stderr.write(f"note: --log-file {self.baseFilename}: {trouble.strerror}: lines of it are missing\n")


class _Stream(logging.StreamHandler[Any]):
    """A handler for a pipe or a device, which it closes; a reader that went away stops nothing."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: the log is gone, and what is done goes on."""

    def close(self) -> None:
        """Close what is written to."""
        with suppress(OSError):
            self.stream.close()
        super().close()


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""C0 and C1 (ECMA-48), but for tab and line feed: what a service puts in a name must not steer a terminal."""


def printable(text: str) -> str:
    """The text without control characters; lines stay lines."""
    return _CONTROLS.sub("", text)


class _Redacting(logging.Formatter):
    """A formatter whose lines never hold a secret, whatever was logged."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(redact_text(super().format(record)))
