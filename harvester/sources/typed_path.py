"""A file or a folder where a source was expected: what lies there, and what was probably meant."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path

from harvester.caches.open import FORMATS, is_empty_or_missing, sniff
from harvester.errors import CacheError, SourceError
from harvester.redact import redact_url

AREAS = frozenset({".shp", ".geojson", ".gpkg", ".kml", ".kmz", ".fgb", ".wkt", ".shx", ".dbf", ".prj"})
"""Suffixes of what holds areas."""

PROJECTS = frozenset({".aprx", ".mapx", ".lyrx", ".mxd", ".qgz", ".qgs"})
"""Suffixes of what a desktop program keeps its maps in."""

MAX_JOB_BYTES = 1 << 20
"""A job file is a page; more is not read to find out whether it is one."""

WHAT_A_SOURCE_IS = (
    "A source is the address of a service (https://HOST/arcgis/rest/services/NAME/MapServer) "
    "or the JSON file of a web map."
)


def is_path(source: str) -> bool:
    """True when what was typed is there as a file or a folder, and is no address."""
    try:
        return "://" not in source and bool(source.strip()) and Path(source).exists()
    except (OSError, ValueError):
        return False


def require_no_other(path: Path) -> None:
    """Raises SourceError for a path that is there and holds something else than a web map, as far as can be told at
    a glance; a file that may be one is left to who reads it."""
    try:
        found = sniff(path)
    except (CacheError, OSError):
        found = None
    if found in FORMATS and not (path.is_file() and path.suffix.lower() == ".json"):
        raise SourceError(
            f"{path} is a cache ({found}), and tiles are harvested from a service",
            hint=f"harvester info {path} shows what it holds; harvester convert {path} OUT makes another format of it. "
            "A source is the address of a service: harvester run SOURCE -o OUT",
        )
    if path.is_dir():
        raise SourceError(f"{path} is {_folder(path)}, not a source", hint=_meant_by_folder(path))
    suffix = path.suffix.lower()
    if suffix == ".ledger":
        raise SourceError(
            f"{path} is the ledger of a cache, not a source", hint=f"harvester report {path.with_suffix('')} reads it."
        )
    if suffix in AREAS and suffix != ".geojson":
        raise SourceError(
            f"{path} holds areas, and is no source", hint=f"An area goes with a source: SOURCE --aoi {path}"
        )
    if suffix in PROJECTS and not _is_json(path):
        raise SourceError(
            f"{path} is a project of a desktop program, which can't be read", hint=f"{WHAT_A_SOURCE_IS} Save it as one."
        )
    if _is_job(path):
        raise SourceError(
            f"{path} looks like a job file, whose name ends in .toml",
            hint=f"Rename it to {path.with_suffix('.toml').name}.",
        )


def require_no_file_meant(text: str) -> None:
    """Raises SourceError for a name with a dot in a folder that is there, of a file that is not: no service lies at a
    host alone."""
    path = Path(text)
    if "://" in text or ":" in text or "\0" in text or not path.suffix or not path.parent.is_dir() or path.exists():
        return
    there = [entry.name for entry in path.parent.iterdir()] if _listable(path.parent) else []
    close = get_close_matches(path.name, [name for name in there if Path(name).suffix in (".toml", ".json")], 1)
    raise SourceError(
        f"{redact_url(text)} is not there as a file, and no address of a service",
        hint=f"Did you mean {path.with_name(close[0])}?" if close else WHAT_A_SOURCE_IS,
    )


def _folder(path: Path) -> str:
    return "an empty folder" if is_empty_or_missing(path) else "a folder"


def _meant_by_folder(path: Path) -> str:
    jobs, maps, caches = [], [], []
    for entry in sorted(path.iterdir()) if _listable(path) else []:
        suffix = entry.suffix.lower()
        if suffix == ".toml" and _is_job(entry):
            jobs.append(entry)
        elif suffix == ".json":
            maps.append(entry)
        elif suffix in {each.suffix for each in FORMATS.values() if each.suffix}:
            caches.append(entry)
    if jobs:
        return f"Name the job file in it: {jobs[0]}."
    if caches:
        return f"Name what is in it: harvester info {caches[0]}. {WHAT_A_SOURCE_IS}"
    if maps:
        return f"Name the web map in it: {maps[0]}."
    if "/" not in str(path) and "." in path.name:
        return f"{WHAT_A_SOURCE_IS} Where a host of that name is meant, write https://{path.name}."
    return WHAT_A_SOURCE_IS


def _listable(path: Path) -> bool:
    try:
        next(path.iterdir(), None)
    except OSError:
        return False
    return True


def _is_json(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    except OSError:
        return False


def _is_job(path: Path) -> bool:
    """Does a file have a job's keys? Its name may end in anything."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JOB_BYTES + 1)
        keys = tomllib.loads(data.decode()) if len(data) <= MAX_JOB_BYTES else {}
    except (OSError, ValueError, RecursionError):
        return False
    return "source" in keys and ("policy" in keys or "output" in keys)
