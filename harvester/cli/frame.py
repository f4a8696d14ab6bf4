"""What every verb shares: the lazy group, the common options, errors as one or two lines or as JSON, output that any
console takes."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from harvester.cli.common import Common, common_params, log, open_log, printable, require_name
from harvester.cli.early_stop import is_early, numbers, stopped, unwind
from harvester.errors import CacheError, HarvesterError, UsageError
from harvester.redact import redact_text, scrub, scrub_json

READER_GONE_EXIT = 141
"""What a shell shows for a writer whose reader went away; only for output that a person piped."""

OF_A_PATH = frozenset({errno.ENAMETOOLONG, errno.EACCES, errno.EPERM})
"""What the system says of a path that somebody named, wherever it is first looked at."""

DEFAULT_SAMPLE = 20
"""Tiles of each LOD that ``plan --sample`` fetches."""

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class Verbs(click.Group):
    """A group whose verbs are imported when they are called; the list in the help costs no import."""

    def __init__(self, verbs: Mapping[str, str], **settings: Any) -> None:
        super().__init__(**settings)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the help."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        if cmd_name not in self._verbs:
            return None
        command = import_module(f"harvester.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a verb; an unknown one names the nearest."""
        name = args[0] if args else ""
        if name and name not in self._verbs and not name.startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(name, self._verbs, 1)
            meant = f"Did you mean: harvester {close[0]}" if close else "See: harvester --help"
            raise UsageError(f"there is no command {name!r}", hint=meant)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._verbs.items()))


def verb(name: str, *, example: str, opens_late: bool = False) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command with the common options and an example at the end of its help. ``opens_late``: it makes no file
    before it looks after signals by itself."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        text = "\b\nExample:\n" + "\n".join(f"  {line}" for line in example.splitlines())

        @wraps(function)
        def begun(*arguments: Any, **options: Any) -> Any:
            if not opens_late and any(is_early(signal.getsignal(number)) for number in numbers()):
                unwind()
            require_name(options)
            open_log(arguments[0], options)
            return function(*arguments, **options)

        wrapped: Callable[..., Any] = click.pass_obj(begun)
        command = click.command(name, context_settings=SETTINGS, epilog=text)(wrapped)
        command.params.extend(common_params())
        return command

    return decorate


def run(arguments: list[str], verbs: Mapping[str, str]) -> int:
    """Run one command; gives its exit code. Every error ends here as one or two lines, with a traceback only for
    ``--debug``."""
    group = Verbs(
        verbs,
        name="harvester",
        help="Takes tiled web maps offline: exact, complete, polite and fast.",
        epilog="harvester COMMAND --help shows a command's options and an example.",
        context_settings={
            **SETTINGS,
            "obj": (
                common := Common(debug="--debug" in arguments, json="--json" in arguments, arguments=tuple(arguments))
            ),
        },
        params=common_params(),
        no_args_is_help=True,
    )
    make_output_safe()
    try:
        code = group.main(args=spell_out(arguments), prog_name="harvester", standalone_mode=False)
        _flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        return 2
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        name = error.ctx.command_path if error.ctx else "harvester"
        return _complain(UsageError(error.format_message(), hint=f"See: {name} --help"), common)
    except click.ClickException as error:
        return _complain(UsageError(error.format_message()), common)
    except HarvesterError as error:
        return _complain(error, common)
    except (KeyboardInterrupt, click.Abort) as error:
        say("stopped")
        cause = error.__cause__ if isinstance(error, click.Abort) else error
        return stopped(cause)
    except ReaderGoneError:
        # The reader of our stdout went away (| head): nothing to say, and nobody to say it to.
        return READER_GONE_EXIT
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OF_A_PATH and error.filename:
            from harvester.durable import disk_error

            return _complain(disk_error("use", Path(os.fsdecode(error.filename)), error), common)
        if isinstance(error, ValueError) and "null byte" in str(error):
            return _complain(UsageError("a path holds a NUL", hint="No file can have such a name."), common)
        if common.debug:
            _show_traceback(error)
        log.exception("a defect of harvester")
        text = redact_text(f"{type(error).__name__}: {error}")
        return _complain(
            HarvesterError(
                f"a defect of harvester: {text}", hint="Please report it with the output of --debug.", code="defect"
            ),
            common,
        )


def spell_out(arguments: list[str]) -> list[str]:
    """``--sample`` without a number says how many itself, so that it never takes the next word for one."""
    return [
        f"{word}={DEFAULT_SAMPLE}" if word == "--sample" and not after[:1].isdigit() else word
        for word, after in zip(arguments, (*arguments[1:], ""), strict=False)
    ]


def _complain(error: HarvesterError, common: Common) -> int:
    message, hint = redact_text(error.message), redact_text(error.hint)
    log.error("%s (%s)", message, error.code)
    if common.debug and error.__traceback__ is not None and error.code != "defect":
        _show_traceback(error)
    say(f"error: {message}")
    if hint:
        say(hint)
    if common.json:
        document = {"error": {"code": error.code, "message": message, "hint": hint}}
        with suppress(CacheError, ReaderGoneError):  # the code speaks for itself
            _write_json(document)
            _flush()
    return error.exit_code


def _show_traceback(error: BaseException) -> None:
    """The traceback on stderr; what libraries say in theirs may hold a URL with its token."""
    say(redact_text("".join(traceback.format_exception(error)).rstrip()))


def make_output_safe() -> None:
    """No character that a console can't show ends a command (Windows' cp1252): it becomes a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def say(text: str) -> None:
    """A line for a person, on stderr; a closed stderr stops nothing."""
    try:
        sys.stderr.write(printable(scrub(text)) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def show(text: str) -> None:
    """Data for whoever reads stdout."""
    _write(printable(scrub(text)) + "\n")


_STEERING = re.compile("[\x7f-\x9f]")
"""Control characters that JSON may hold as they are; terminals that know C1 would obey them."""


def show_bytes(data: bytes) -> None:
    """A file's bytes as they are, for whoever reads stdout."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as cause:
        raise _unwritten(cause) from cause


def show_json(document: object) -> None:
    """One JSON document on stdout."""
    _write_json(scrub_json(document))


def _write_json(document: object) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    _write(_STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


class ReaderGoneError(Exception):
    """Nobody reads stdout any more. click would take the system's own error for it and end with 1: incomplete."""


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
    except OSError as cause:
        raise _unwritten(cause) from cause


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError as cause:
        raise _unwritten(cause) from cause


def _unwritten(cause: OSError) -> Exception:
    # What is still in the buffer would be tried again at exit, and be a traceback there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if isinstance(cause, BrokenPipeError):
        return ReaderGoneError()
    return CacheError(
        f"cannot write to the standard output: {cause.strerror or cause}",
        hint="What was done is done; send the output elsewhere, or use --report.",
        code="stdout",
    )
