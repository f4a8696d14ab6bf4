"""What belongs to a cache and what is anybody's: only what is wholly a cache is replaced, no link is written through.

Folders are told by their names (foreign_names.py), databases by their tables (foreign_tables.py), packages by their
members (foreign_members.py): each is imported where there is such a thing, for a new cache needs none of them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from harvester.caches import compact
from harvester.caches.formats import DATABASES, PACKAGES
from harvester.caches.recognising import is_empty_or_missing, sniff, sniff_here
from harvester.errors import CacheError
from harvester.wording import a_format

MOVE = "Move it away or choose another output; nothing was changed."

ADDS = "Where it has tiles, merge adds to them and keeps the rest; else move it away. Nothing was changed."

ELSEWHERE = "Choose another output; this file can be one of those that harvester merge joins in it."
"""What to do where a file can be read, and not added to."""

TAKE_OUT = "Take it out, or move the package away, and run the same command again; it was not changed."

_BUNDLED = frozenset({"compact", "compactv2"})
"""Formats of folders whose files are changed in their place; tiles that are files are replaced."""

ESRI_FOLDERS = frozenset({"compact", "compactv2", "exploded"})
"""Storage formats of one kind of cache: one may replace another."""


def require_own(place: Path, format: str, *, is_work: bool = False, remedy: str = MOVE) -> None:
    """Raises CacheError, which names it, where a cache that is to be replaced holds anything that is no cache's.

    ``format``: of what lies there. ``is_work``: it is the work folder of a package. ``remedy``: what to do then.
    """
    name = None
    if place.is_dir():
        from harvester.caches.foreign_names import foreign_in

        name = foreign_in(place, format, is_work=is_work)
    elif format in DATABASES:
        from harvester.caches.foreign_tables import foreign_part

        name = foreign_part(place, format)
    elif format in PACKAGES:
        from harvester.caches.foreign_members import foreign_member

        name = foreign_member(place, format)
    if name is not None:
        raise _foreign(place, name, remedy)


def require_kept(package: Path, format: str, ready: Path) -> None:
    """Raises CacheError where a package holds a member that is no package's, and that the one which is ready to take
    its place lacks: it came when that was made already."""
    from harvester.caches.foreign_members import foreign_member

    if (name := foreign_member(package, format, kept_in=ready)) is not None:
        raise _foreign(package, name, TAKE_OUT)


def _foreign(place: Path, name: str, remedy: str) -> CacheError:
    what = f"{place} holds {name}, which is no part of a cache: it is not replaced"
    return CacheError(what, hint=remedy, code="foreign")


def or_replace(out: Path) -> str:
    """What to do where tiles don't fit what is there already: to replace it is advised where it would be replaced."""
    if is_replaceable(out):
        return "Choose another output, or replace it with --mode overwrite."
    return "Choose another output: this one holds more than a cache, and is not replaced."


def is_replaceable(out: Path) -> bool:
    """Would the cache that is there be replaced? False where that can't be seen."""
    try:
        require_way_free(out)
        if (found := sniff_here(out)) is not None:
            require_own(out, found)
    except CacheError:
        return False
    return True


def require_way_free(out: Path) -> None:
    """Raises CacheError where a cache folder has a link in it, so that what is written there would go elsewhere, or
    something of anybody's where half-written tiles are cleared away. ``out`` itself may be a link."""
    if not out.is_dir():
        return
    from harvester.caches.foreign_names import foreign_incoming, link_in

    if (name := link_in(out)) is not None:
        raise CacheError(
            f"{out} holds the link {name}: what it leads to would be written to",
            hint="Put what it leads to in its place, or choose another output; nothing was changed.",
            code="link",
        )
    if (name := foreign_incoming(out)) is not None:
        raise CacheError(
            f"{out} holds {name}, which is no part of a cache, where half-written tiles lie", hint=MOVE, code="foreign"
        )


def require_one_name(out: Path, format: str) -> None:
    """Raises CacheError where ``second_name`` has something to say."""
    if (error := second_name(out, format)) is not None:
        raise error


def second_name(out: Path, format: str) -> CacheError | None:
    """What to say where a file that is changed in its place, a database or a bundle, has a second name (a hard link):
    a copy that somebody made so would change with it, and of a database SQLite finds no journal under the other name
    (sqlite.org/howtocorrupt.html, 2.4). What is written anew under its name needs no such look: None."""
    if format in DATABASES:
        places = [out]
    elif format in _BUNDLED:
        places = [file for file in out.rglob("*") if file.suffix.lower() in (".bundle", ".bundlx")]
    else:
        return None
    for file in places:
        with suppress(OSError):
            if (names := file.stat().st_nlink) > 1:
                return CacheError(
                    f"{file} has {names} names (hard links): what is written to it would change under all of them",
                    hint="Put a copy in its place, or choose another output; nothing was changed.",
                    code="link",
                )
    return None


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
        raise CacheError(f"{out} is {a_format(found)} cache, not {format}", hint=hint, code="format")
    require_way_free(out)
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
