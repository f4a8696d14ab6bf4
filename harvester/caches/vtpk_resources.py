"""The resources of a vector tile package: style, sprites and fonts, as files in ``resources/`` of the work folder.

styles/root.json
sprites/sprite.json, sprites/sprite.png, sprites/sprite@2x.json, sprites/sprite@2x.png
fonts/FONT/FIRST-LAST.pbf
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from harvester.caches import compact, stored_zip
from harvester.caches.stored_zip import Entry
from harvester.caches.zip_bundles import ZipBundles
from harvester.durable import Disk

FOLDER = "resources"
PREFIX = "p12/resources/"

STYLE = "styles/root.json"

MAX_FILES = 100_000
"""All glyph ranges of 390 fonts; Esri's basemaps have some thousand files."""

MAX_BYTES = 16 << 20
"""Of one file: a sheet of sprites or a range of CJK glyphs has some hundred kilobytes."""

_PART = re.compile(r"[A-Za-z0-9@_~()&+,'!#-][A-Za-z0-9 @_~()&+,'!#.-]{0,150}")


def is_name(name: str) -> bool:
    """True for a resource's name below ``resources`` that every file system and every zip reader can hold."""
    parts = name.split("/")
    return (
        len(parts) in (2, 3)
        and parts[0] in ("styles", "sprites", "fonts")
        and all(_PART.fullmatch(part) and not part.endswith((" ", ".")) for part in parts[1:])
    )


class Resources:
    """The resources in one work folder."""

    def __init__(self, work: Path, disk: Disk) -> None:
        self.folder = work / FOLDER
        self._disk = disk

    @staticmethod
    def may_hold(entry: Entry) -> bool:
        """Can a package's entry be kept as a file?"""
        return is_name(entry.name[len(PREFIX) :]) and entry.size <= MAX_BYTES

    def names(self) -> list[str]:
        """Those that are there, in order."""
        found = (file.relative_to(self.folder).as_posix() for file in self.folder.rglob("*") if file.is_file())
        return sorted(name for name in found if is_name(name))[:MAX_FILES]

    def has(self, name: str) -> bool:
        """True where a resource is there."""
        return (self.folder / name).is_file()

    def read(self, name: str) -> bytes:
        """A resource's bytes. Raises CacheError."""
        return compact.read_document(self.folder / name, self._disk)

    def put(self, name: str, data: bytes) -> None:
        """Keep a resource, durably. Raises CacheError."""
        if not is_name(name):
            raise ValueError(f"{name!r} is no name of a resource")
        path = self.folder / name
        self._disk.make_dirs(path.parent)
        self._disk.write_whole(path, data)


def resources_in(bundles: ZipBundles) -> Iterator[tuple[str, bytes]]:
    """The resources of a package, name by name; those that can't be kept as files are left out. Raises CacheError."""
    for count, entry in enumerate(entry for entry in bundles.all if entry.name.lower().startswith(PREFIX)):
        if count >= MAX_FILES:
            raise stored_zip.refused(bundles.path, f"it has more than {MAX_FILES:,} resources")
        name = entry.name[len(PREFIX) :]
        if Resources.may_hold(entry):
            yield name, b"".join(bundles.content(entry))
