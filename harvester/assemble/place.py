"""Where a job's output goes: its format is known, and that of a web map is a folder of caches."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from harvester.caches.open import FORMATS, SUFFIXES, format_for
from harvester.durable import disk_error, safe_name
from harvester.edges import ServiceInfo, TileFormat
from harvester.errors import CacheError, UsageError
from harvester.job import Job

COMPANIONS = (".ledger", ".lock", ".new", ".old", ".part", ".work", "-journal")
"""Endings of the files that lie beside a cache while it is made."""

LONGEST = ".new.ledger-journal"
"""The longest of them: with it, a name must not be longer than the file system takes."""


def require_output(job: Job) -> Path:
    """The output, whose folder the run makes where it is missing. Raises UsageError."""
    if job.output is None or not job.output.absolute().name:
        raise UsageError("no output is named", hint='Add -o streets.mbtiles, or output = "..." in the job file.')
    if job.report is not None and not job.report.absolute().parent.is_dir():
        raise UsageError(f"--report {job.report}: its folder does not exist", hint="Make the folder first.")
    require_place(job.output)
    return job.output


def require_place(output: Path) -> None:
    """A name under which a cache can lie: nothing, a file or a folder is there. Nothing is opened, since opening a pipe
    waits for its other end. Raises CacheError."""
    try:
        output.with_name(output.name + LONGEST).lstat()
    except OSError as cause:
        if cause.errno == errno.ENAMETOOLONG:
            raise disk_error("make", output, cause) from cause
    if output.exists():
        if output.is_file() or output.is_dir():
            return
        raise CacheError(
            f"{output} is a device, a pipe or a socket, and no cache",
            hint="Name a file or a folder; nothing was changed.",
            code="not_a_cache",
        )
    if output.is_symlink():
        raise CacheError(
            f"{output} is a symbolic link to {output.readlink()}, which is not there",
            hint="Mount or make what it leads to, or name the place itself; nothing was changed.",
            code="not_a_cache",
        )


def format_of(job: Job, output: Path) -> str:
    """The format of a single service's cache. Raises UsageError."""
    return format_for(f"{output}{os.sep}" if job.output_is_folder else output, job.format)


def require_folder(job: Job, output: Path) -> Path:
    """The folder for the caches of a web map's layers: one that is there, or a name that is not a cache's.

    Raises UsageError.
    """
    if output.is_dir():
        return output
    if output.exists():
        raise UsageError(f"{output} is a file", hint="A web map gives one cache for each layer: name a folder.")
    format = SUFFIXES.get(output.suffix.lower())
    if format is not None and not job.output_is_folder:
        named = job.format or format
        hint = f"Name a folder, and the format of the caches in it: -o {output.with_suffix('')} --format {named}"
        raise UsageError(f"{output}: a web map gives one cache for each layer, in a folder", hint=hint)
    return output


def format_of_layer(job: Job, info: ServiceInfo) -> str:
    """The format of a web map layer's cache: the one named, else a package for the device. Raises UsageError."""
    if job.format is None:
        return "vtpk" if info.tile_format is TileFormat.PBF else "tpkx"
    return format_for("", job.format)


def target_of_layer(folder: Path, name: str, format: str) -> Path:
    """The cache of a layer in the folder of a web map."""
    suffix = FORMATS[format].suffix if format in FORMATS else ""
    return folder / (name + suffix)


def plain(name: str) -> str:
    """A safe name that no companion of another layer's cache has: ``Roads.ledger`` becomes ``Roads_ledger``."""
    safe = safe_name(name)
    ending = next((ending for ending in COMPANIONS if safe.lower().endswith(ending)), "")
    # Of the same length: a longer name might be cut again, just there.
    at = len(safe) - len(ending)
    return f"{safe[:at]}_{safe[at + 1 :]}" if ending else safe
