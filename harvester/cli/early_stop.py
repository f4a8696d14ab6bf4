"""What a signal does while the command line is only starting, or has ended: no traceback, no line of Python's own, and
the documented exit code. Imports next to nothing: it is there before anything else is."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

CODES = {"SIGINT": 130, "SIGBREAK": 130, "SIGTERM": 143}
"""Signals that stop a command, with its exit code. SIGBREAK is Windows' Ctrl-Break, and no SIGTERM comes there."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, or Ctrl-Break, as Ctrl-C comes: files are closed, what is half made is removed."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


def numbers() -> dict[int, str]:
    """The signals of this system by number."""
    return {
        int(getattr(signal, name)): name
        for name in CODES
        if hasattr(signal, name) and not (name == "SIGTERM" and os.name == "nt")
    }


def at_once(number: int, frame: Any) -> None:
    """Nothing is open yet that would have to be closed. No exception: in the midst of an import it could get lost."""
    name = numbers()[number]
    _say(f"error: stopped by {name}\nNothing was done yet.\n")
    os._exit(CODES[name])


class Unwinding:
    """Files are open: an exception closes them. A loop (harvester/loop.py) raises it when it has ended."""

    def error(self, number: int) -> TerminatedError:
        """The exception for a signal."""
        return TerminatedError(CODES[numbers()[number]])

    def __call__(self, number: int, frame: Any) -> None:
        raise self.error(number)


unwinding = Unwinding()


def watch(handler: Any = at_once) -> None:
    """From now on this is done. Outside of the main thread, and for what is ignored (``nohup``), nothing changes."""
    for number in numbers():
        try:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)
        except ValueError:  # not the main thread
            return


def unwind() -> None:
    """The command opens files from now on."""
    watch(unwinding)


def outlive_terminal() -> None:
    """From now on a terminal that is closed, or a connection to it that is lost (SIGHUP), ends nothing: what can't be
    shown any more is not shown. What somebody else has set stays, ``nohup`` too."""
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is None:
        return
    with suppress(ValueError):  # not the main thread
        if signal.getsignal(hangup) is signal.SIG_DFL:
            signal.signal(hangup, signal.SIG_IGN)


def is_early(handler: Any) -> bool:
    """True for what ``watch`` has set at the start."""
    return handler is at_once


def over(exit_code: int) -> None:
    """All is done, and only the interpreter has to end: a signal changes nothing of what came of it."""

    def leave(number: int, frame: Any) -> None:
        os._exit(exit_code)

    watch(leave)


def stopped(error: BaseException | None) -> int:
    """The exit code of a command that Ctrl-C, or what comes as it does, has ended."""
    return error.exit_code if isinstance(error, TerminatedError) else CODES["SIGINT"]


def _say(text: str) -> None:
    with suppress(OSError):
        os.write(2, text.encode())
