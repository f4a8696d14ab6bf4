"""What belongs to a cache and what is anybody's: only what is wholly a cache is replaced. Folders are told by their
names, databases by their tables (foreign_tables.py).

A compact or exploded cache: conf.xml, conf.cdi, root.json, manifest.json, ``_alllayers/Lnn/`` with its bundles, or rows
of tiles. A z/x/y folder: tiles.json, and numbers all the way down. Either may hold the notes of a delta. Layouts: see
bundle_v2.py, bundle_v1.py, exploded.py, xyz.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from harvester.caches import compact
from harvester.caches.folders import EXTENSIONS
from harvester.caches.foreign_tables import DATABASES, foreign_table
from harvester.caches.recognising import is_empty_or_missing, sniff, sniff_here
from harvester.durable import disk_error
from harvester.errors import CacheError
from harvester.manifest import FILE

MOVE = "Move it away or choose another output; nothing was changed."

ADDS = "Merge adds to the cache and keeps the rest; else move it away or choose another output. Nothing was changed."

_LITTER = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
"""What file managers leave in a folder that was looked at."""

_STATED = (compact.CONF, compact.CDI, compact.ROOT, FILE)
_DOCUMENTS = frozenset({*_STATED, *(f"{name}.part" for name in _STATED), "conf.xml.aux.xml", "root.json.aux.xml"})
"""In lower case; the last two are statistics that GDAL keeps beside what it has opened."""

_JSON_AND_XML = frozenset({*_STATED, compact.TILES})
"""Names that other things have too: these are looked into."""

_XYZ_DOCUMENTS = frozenset({compact.TILES, f"{compact.TILES}.part", "tiles.json.aux.xml"})

_KIND = "|".join(EXTENSIONS)
_LEVEL = r"[Ll]\d{2,9}"
_BUNDLE = r"[Rr][0-9a-fA-F]{4,12}[Cc][0-9a-fA-F]{4,12}\.bundl[ex](\.part)?"
_COMPACT = re.compile(rf"_alllayers/({_LEVEL}/({_BUNDLE})?)?", re.IGNORECASE)
_EXPLODED = re.compile(rf"_alllayers/({_LEVEL}/(R[0-9a-f]{{8,12}}/(C[0-9a-f]{{8,12}}\.({_KIND}))?)?)?", re.IGNORECASE)
_XYZ = re.compile(rf"\d{{1,2}}/(\d{{1,12}}/(\d{{1,12}}\.({_KIND}))?)?")
_NOTES = re.compile(r"delta/(index\.json(\.part)?|(\d+/){1,2}(\d+(\.part)?)?)?")
_INCOMING = re.compile(r"\.incoming/(\d+\.part)?")
_RESOURCES = re.compile(r"resources/.*|kept\.zip")
"""Style, sprites and fonts, and what else a package held: in work folders only. A folder's name ends in a slash here.
"""

ESRI_FOLDERS = frozenset({"compact", "compactv2", "exploded"})
"""Storage formats of one kind of cache: one may replace another."""

_TREES = {
    "compactv2": (_COMPACT, _NOTES),
    "compact": (_COMPACT, _NOTES),
    "exploded": (_EXPLODED, _NOTES, _INCOMING),
    "xyz": (_XYZ, _NOTES, _INCOMING),
}


def foreign_in(folder: Path, format: str, *, is_work: bool = False) -> str | None:
    """The first name in a cache folder that no cache of the format has, relative to it; None where all is the cache's.

    ``is_work``: it is the work folder of a package, which holds more. Links are names, and not followed. Raises
    CacheError where the folder can't be listed.
    """
    documents = _XYZ_DOCUMENTS if format == "xyz" else _DOCUMENTS
    trees = _TREES[format] + ((_RESOURCES,) if is_work else ())

    def is_own(name: str) -> bool:
        return name.lower() in documents or any(tree.fullmatch(name) for tree in trees)

    return next(_foreign(folder, "", is_own), None)


def _foreign(folder: Path, prefix: str, is_own: Callable[[str], bool]) -> Iterator[str]:
    inner = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                name = f"{prefix}{entry.name}{'/' * is_folder}"
                if name.lower() in _JSON_AND_XML and compact.is_foreign(folder / entry.name):
                    yield name
                elif not is_own(name) and (is_folder or entry.name.lower() not in _LITTER):
                    yield name.rstrip("/")
                elif is_folder:
                    inner.append(entry.name)
    except OSError as cause:
        raise disk_error("read", folder, cause) from cause
    for name in inner:
        yield from _foreign(folder / name, f"{prefix}{name}/", is_own)


def require_own(place: Path, format: str, *, is_work: bool = False, remedy: str = MOVE) -> None:
    """Raises CacheError, which names it, where a cache that is to be replaced holds anything that is no cache's.

    ``format``: of what lies there. ``is_work``: it is the work folder of a package. ``remedy``: what to do then.
    """
    what, name = "", None
    if place.is_dir():
        name = foreign_in(place, format, is_work=is_work)
    elif format in DATABASES:
        what, name = "the table ", foreign_table(place, format)
    if name is not None:
        raise CacheError(
            f"{place} holds {what}{name}, which is no part of a cache: it is not replaced", hint=remedy, code="foreign"
        )


def require_cache_or_nothing(out: Path, format: str, *, replaced: bool, remedy: str = ADDS) -> None:
    """``out`` is nothing, or a cache of the format, itself: not a folder that has a cache in it, nor one document of a
    cache. ``replaced``: all in it is the cache's, whatever its storage format; ``remedy``: what to do where it isn't.
    Raises CacheError; nothing was changed then."""
    if is_empty_or_missing(out):
        return
    found = sniff_here(out)
    if found is None:
        raise not_itself(out)
    if found != format and not (replaced and {found, format} <= ESRI_FOLDERS):
        hint = "Choose another output or name its format with --format."
        raise CacheError(f"{out} is a {found} cache, not {format}", hint=hint, code="format")
    if replaced:
        require_own(out, found, remedy=remedy)


def not_itself(out: Path) -> CacheError:
    """What to say of an output that is there and is no cache, though one may lie in it, or it be a part of one."""
    if sniff(out) is None:
        return CacheError(f"{out} exists and is no cache", hint=MOVE, code="not_a_cache")
    layout = compact.locate(out)
    folder = out.parent if out.is_file() or layout is None else layout.folder
    return CacheError(
        f"{out} exists and is no cache: one lies in {folder}",
        hint=f"Name {folder} if that is meant, or choose another output; nothing was changed.",
        code="not_a_cache",
    )
