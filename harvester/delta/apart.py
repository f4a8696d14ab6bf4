"""What a verb reads and what it writes are two things: neither is the other, lies in it, or has one of its names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harvester.caches import compact
from harvester.errors import CacheError, UsageError
from harvester.output import OutputPaths

OTHER = "Choose another output."


def require_apart(sources: Sequence[Path], out: Path, *, may_be_one: bool = False) -> None:
    """Raises UsageError where ``out`` is one of the sources, lies in one, holds one, or takes the name of one for the
    time that it is made. ``may_be_one``: a source may be what is added to."""
    paths = OutputPaths(out=out, sealed=True, overwrite=True)
    taken = {_real(path) for path in (paths.new, paths.old, paths.part, paths.work)}
    target = _real(out)
    for source in sources:
        place = _real(_place(source))
        if place == target or (source.exists() and out.exists() and source.samefile(out)):
            if not may_be_one:
                raise UsageError(f"{out} is both read and written", hint=OTHER)
        elif place in target.parents:
            raise UsageError(f"{out} lies in {source}, which is read", hint=OTHER)
        elif target in place.parents:
            raise UsageError(f"{source}, which is read, lies in {out}", hint=OTHER)
        elif taken & {place, *place.parents}:
            hint = f"Move {source} away, or choose another output."
            raise UsageError(f"{source} is read, and its name is one that {out} takes while it is made", hint=hint)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _place(source: Path) -> Path:
    """The file or folder of a cache that may be named by one of its documents, by the folder above it or its table."""
    with suppress(CacheError):
        layout = compact.locate(source)
        if layout is not None:
            return layout.folder
    if source.name.lower() == compact.TILES:
        return source.parent
    before, colon, _ = str(source).rpartition(":")
    return Path(before) if colon and not source.exists() and Path(before).is_file() else source
