"""Crash points: a Disk that counts its steps and ends the process at one of them, as ``kill -9`` would.

``HARVESTER_CRASH_AT`` (read here alone) holds the number of the step, from 1; the process ends just before it:

    12          before the 12th step of any kind
    sync:3      before the 3rd step of that name (``open``, ``write``, ``sync``, ``replace``, ``sqlite_commit`` ...)
    write:3/half  in the 3rd write, after half of its bytes
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harvester.durable import Buffer, Disk
from harvester.errors import UsageError
from harvester.testing.sqlite_files import SqliteWatch

VARIABLE = "HARVESTER_CRASH_AT"

KILLED = 137
"""The exit code where the system has no SIGKILL: 128 + 9, as a shell reports it."""


class CrashPoint(NamedTuple):
    """The step at which the process ends."""

    number: int
    """From 1; 0: never."""
    name: str = ""
    """Count only steps of this name; empty: all."""
    half: bool = False
    """In the middle of the step, where it is a write, instead of before it."""

    @classmethod
    def parse(cls, text: str) -> CrashPoint:
        """Read ``12``, ``sync:3`` or ``write:3/half``. Raises UsageError."""
        place, _, part = text.strip().partition("/")
        name, colon, number = place.rpartition(":")
        if not number.isdigit() or part not in ("", "half") or bool(colon) != bool(name):
            raise UsageError(f"{VARIABLE}={text!r} is no crash point", hint="Write 12, sync:3 or write:3/half.")
        return cls(int(number), name, part == "half")


def kill_now() -> None:
    """End this process without any clean-up: SIGKILL to itself, or ``_exit`` where that doesn't exist."""
    if hasattr(signal, "SIGKILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(KILLED)


class CrashingDisk(Disk):
    """Calls ``kill`` at its crash point. ``steps`` counts all steps, ``names`` by name; threads count together."""

    def __init__(self, point: CrashPoint, *, kill: Callable[[], None] = kill_now) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self._point = point
        self._kill = kill
        self._counting = threading.Lock()

    @property
    def steps(self) -> int:
        """How many steps were begun."""
        return self.names.total()

    def step(self, name: str, path: Path) -> None:
        """Count, and end the process if this is the one."""
        point = self._point
        with self._counting:
            self.names[name] += 1
            count = self.names[name] if point.name else self.steps
            if count != point.number or point.name not in ("", name):
                return
        if not (point.half and name == "write"):
            self._kill()

    def pwritev(self, descriptor: int, buffers: Sequence[Buffer], offset: int) -> None:
        """A write of which only half arrives, where the crash point says so."""
        if self._point.half and self._next_is_due():
            data = b"".join(bytes(buffer) for buffer in buffers)
            super().pwritev(descriptor, (data[: len(data) // 2],), offset)
            self._kill()
            return
        super().pwritev(descriptor, buffers, offset)

    def _next_is_due(self) -> bool:
        """Whether the write about to begin is the crash point (then its step must not kill)."""
        with self._counting:
            count = self.names["write"] if self._point.name else self.steps
            return self._point.name in ("", "write") and count + 1 == self._point.number


class SqliteSteps(SqliteWatch):
    """SQLite's own writes, syncs, truncations and removals are steps of a Disk, too.

    ``with watching_sqlite(SqliteSteps(disk)):`` ends the process inside a transaction."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def step(self, name: str, path: Path) -> None:
        """One step of the Disk."""
        self._disk.step(name, path)


def crashing_disk(environment: Mapping[str, str] = os.environ) -> Disk:
    """The Disk that the environment asks for; a plain one where it asks for none."""
    text = environment.get(VARIABLE, "")
    return CrashingDisk(CrashPoint.parse(text)) if text else Disk()
