"""What of ``Known`` has no place in memory: sorted runs in scratch files, each a file of its own.

Two runs of a size are joined to one, streaming, so that there are few and each content is copied a few times only. Of
each run the hash of every 256th content is in memory: to look one up takes one read of 4 KB.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from harvester.caches.known import Filter, Known, as_ints, found_in
from harvester.durable import disk_error
from harvester.errors import CacheError

if TYPE_CHECKING:
    from harvester.caches.known import Ints

STEP = 256
"""Contents between two whose hash is in memory: 4 KB of the file, 0.03 bytes of memory a content."""

CHUNK = STEP << 7
"""Contents that are read and written at once while runs are joined: 512 KB."""

MOST = 1 << 17
"""Contents in memory: 2 MB, and as much again while they are sorted."""


@dataclass(slots=True)
class _Run:
    file: IO[bytes]
    count: int = 0
    fences: list[Ints] = field(default_factory=list)

    def write(self, names: Ints, places: Ints) -> None:
        """Append sorted contents; all but the last writing are of whole steps."""
        self.file.write(np.stack((names, places), axis=1).tobytes())
        self.fences.append(names[::STEP].copy())
        self.count += len(names)

    def read(self, first: int, count: int) -> tuple[Ints, Ints]:
        """``count`` contents from ``first`` on, fewer where the run ends."""
        self.file.seek(16 * first)
        data = self.file.read(16 * max(min(count, self.count - first), 0))
        rows = np.frombuffer(data, np.int64).reshape(-1, 2)
        return rows[:, 0], rows[:, 1]


class KnownFiles:
    """All contents of one file that is written from its first to its last; ``folder`` holds the scratch files."""

    def __init__(self, folder: Path, *, most: int = MOST) -> None:
        self._folder = folder
        self._most = most
        self._known = Known()
        self._runs: list[_Run] = []
        self._filter: Filter | None = None  # 16 MB: only once there is a run

    def find(self, names: list[int]) -> dict[int, list[int]]:
        """The places of those hashes that are known. Raises CacheError where a scratch file can't be read."""
        found: dict[int, list[int]] = {}
        wanted = as_ints(names)
        for position, place in self._known.find(wanted):
            found.setdefault(names[position], []).append(place)
        if self._filter is not None:
            positions = np.flatnonzero(self._filter.perhaps(wanted))
            positions = positions[np.argsort(wanted[positions], kind="stable")]
            for run in self._runs:
                for at, place in self._find_in(run, wanted[positions]):
                    found.setdefault(names[int(positions[at])], []).append(place)
        return found

    def add(self, names: list[int], places: list[int]) -> None:
        """Remember a place for each hash. Raises CacheError where a scratch file can't be written."""
        self._known.add(as_ints(names), np.array(places, np.int64))
        if len(self._known) < self._most:
            return
        taken, at = self._known.take()
        if self._filter is None:
            self._filter = Filter()
        self._filter.add(taken)
        run = self._new_run()
        self._put(run, taken, at)
        self._runs.append(run)
        while len(self._runs) > 1 and self._runs[-2].count <= 2 * self._runs[-1].count:
            one, other = self._runs[-2:]
            both = self._new_run()
            self._write(both, self._joined(one, other))
            one.file.close()
            other.file.close()
            self._runs[-2:] = [both]

    def close(self) -> None:
        """The scratch files go. May be called twice."""
        for run in self._runs:
            run.file.close()
        self._runs = []

    # ------------------------------------------------------------------------------------------ runs

    def _new_run(self) -> _Run:
        try:
            return _Run(tempfile.TemporaryFile(dir=self._folder, prefix=".known"))
        except OSError as cause:
            raise disk_error("write", self._folder, cause) from cause

    def _write(self, run: _Run, parts: Iterator[tuple[Ints, Ints]]) -> None:
        waiting: tuple[Ints, Ints] = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        for part in parts:
            waiting = np.concatenate((waiting[0], part[0])), np.concatenate((waiting[1], part[1]))
            whole = len(waiting[0]) // CHUNK * CHUNK
            self._put(run, waiting[0][:whole], waiting[1][:whole])
            waiting = waiting[0][whole:], waiting[1][whole:]
        self._put(run, *waiting)

    def _put(self, run: _Run, names: Ints, places: Ints) -> None:
        try:
            for first in range(0, len(names), CHUNK):
                run.write(names[first : first + CHUNK], places[first : first + CHUNK])
        except OSError as cause:
            run.file.close()
            raise disk_error("write", self._folder, cause) from cause

    def _read(self, run: _Run, first: int, count: int) -> tuple[Ints, Ints]:
        try:
            names, places = run.read(first, count)
        except (OSError, ValueError) as cause:
            if isinstance(cause, OSError):
                raise disk_error("read", self._folder, cause) from cause
            raise CacheError(f"a scratch file in {self._folder} is cut short", hint="Run it again.") from cause
        if len(names) != max(min(count, run.count - first), 0):
            raise CacheError(f"a scratch file in {self._folder} is cut short", hint="Run it again.")
        return names, places

    def _joined(self, one: _Run, other: _Run) -> Iterator[tuple[Ints, Ints]]:
        """Two runs as one, a piece at a time: what is not above the lower of the two pieces' ends is settled."""
        heads = [self._read(one, 0, CHUNK), self._read(other, 0, CHUNK)]
        ends = [len(heads[0][0]), len(heads[1][0])]
        while len(heads[0][0]) and len(heads[1][0]):
            bound = min(heads[0][0][-1], heads[1][0][-1])
            cuts = [int(np.searchsorted(names, bound, "right")) for names, _ in heads]
            names = np.concatenate([head[0][:cut] for head, cut in zip(heads, cuts, strict=True)])
            places = np.concatenate([head[1][:cut] for head, cut in zip(heads, cuts, strict=True)])
            order = np.argsort(names, kind="stable")
            yield names[order], places[order]
            for number, run in enumerate((one, other)):
                heads[number] = heads[number][0][cuts[number] :], heads[number][1][cuts[number] :]
                if not len(heads[number][0]):
                    heads[number] = self._read(run, ends[number], CHUNK)
                    ends[number] += len(heads[number][0])
        for number, run in enumerate((one, other)):
            while len(heads[number][0]):
                yield heads[number]
                heads[number] = self._read(run, ends[number], CHUNK)
                ends[number] += len(heads[number][0])

    def _find_in(self, run: _Run, wanted: Ints) -> Iterator[tuple[int, int]]:
        """The same as ``found_in`` for a run; ``wanted`` is sorted."""
        if not len(wanted):
            return
        if len(run.fences) > 1:
            run.fences = [np.concatenate(run.fences)]
        fences = run.fences[0]
        # A hash that is a fence itself may begin before it.
        first = np.maximum(np.searchsorted(fences, wanted) - 1, 0)
        last = np.maximum(np.searchsorted(fences, wanted, "right") - 1, 0)
        for (low, high), group in groupby(range(len(wanted)), key=lambda at: (int(first[at]), int(last[at]))):
            positions = list(group)
            names, places = self._read(run, low * STEP, (high - low + 1) * STEP)
            for at, place in found_in(names, places, wanted[positions]):
                yield positions[at], place
