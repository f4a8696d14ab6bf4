"""Plain files in z/x/y folders on the Google grid, with a TileJSON beside them.

    DIR/tiles.json              TileJSON 3.0; ``tileSize`` and ``generator`` beyond it
    DIR/5/4/10.png              zoom, column, row from the top

Source: mapbox/tilejson-spec 3.0.0. All files have one extension, since the one template of a TileJSON names one: that
of the source's format, png for mixed tiles, whatever the first one is where the source doesn't say. Viewers look at a
picture's own first bytes. Vector tiles are stored as they are, gzip and all: a server has to say so in a header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harvester.caches import compact
from harvester.caches.compact import TILES
from harvester.caches.folders import EXTENSIONS, TileFolder
from harvester.caches.folders_reader import FolderReader
from harvester.caches.vector_layers import parse_layers
from harvester.durable import Disk
from harvester.edges import CacheInfo, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.manifest import KEY
from harvester.tiling.google import google_scheme, mercator_box
from harvester.tiling.scheme import Box

FORMAT = "xyz"

MAX_ZOOM = 30
"""The deepest that TileJSON knows."""

MAX_TILE_PIXELS = 8192
"""What a foreign tileSize may say; real ones are 256 and 512."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,11}")
_LIKE_NUMBER = re.compile(r"[+-]?[0-9]+")

_FORMATS = {
    "png": TileFormat.PNG,
    "jpg": TileFormat.JPEG,
    "jpeg": TileFormat.JPEG,
    "webp": TileFormat.WEBP,
    "pbf": TileFormat.PBF,
    "mvt": TileFormat.PBF,
}


class XyzNaming:
    """``z/x/y``."""

    row_outer = False

    def level(self, level: int) -> str:
        """The name of a level's folder."""
        return str(level)

    def outer(self, number: int) -> str:
        """The name of the folder within a level."""
        return str(number)

    def inner(self, number: int) -> str:
        """The name of a tile's file."""
        return str(number)

    def size(self, level: int) -> int | None:
        """Rows, and columns, of a level: the world's."""
        return 1 << level

    def parse_level(self, name: str) -> int | None:
        """The level that a folder's name means; None for another name."""
        number = self.parse_inner(name)
        return number if number is not None and number <= MAX_ZOOM else None

    def parse_outer(self, name: str) -> int | None:
        """The number that the name of an outer folder means; None for another name."""
        return self.parse_inner(name)

    def parse_inner(self, name: str) -> int | None:
        """The number that a file's name means; None for another name."""
        return int(name) if _NUMBER.fullmatch(name) else None

    def is_like_level(self, name: str) -> bool:
        """A number, with a sign and padded as it may be."""
        return _LIKE_NUMBER.fullmatch(name) is not None

    def is_like_inner(self, name: str) -> bool:
        """The same."""
        return _LIKE_NUMBER.fullmatch(name) is not None


def folder_of(path: Path) -> Path | None:
    """The folder of a z/x/y cache that ``path`` or its tiles.json is; None where there is none."""
    folder = path.parent if path.name.lower() == TILES and path.is_file() else path
    return folder if (folder / TILES).is_file() else None


def open_reader(path: str | Path) -> FolderReader:
    """Open a folder of z/x/y files by its folder or its tiles.json. Raises CacheError."""
    path, disk = Path(path), Disk()
    folder = folder_of(path)
    if folder is None:
        what = "is not there" if not path.exists() else f"is no folder of tiles: it has no {TILES}"
        raise CacheError(f"{path} {what}", hint=f"Name the folder that holds {TILES}.", code="not_a_cache")
    files = TileFolder(folder, XyzNaming())
    stated = read_tilejson(folder, disk)
    return FolderReader(describe(stated, files.levels()), files, disk)


def read_tilejson(folder: Path, disk: Disk) -> dict[str, Any]:
    """tiles.json. Raises CacheError where it can't be read."""
    path = folder / TILES
    try:
        document = json.loads(compact.read_document(path, disk).decode("utf-8-sig"))
    except (ValueError, RecursionError) as cause:
        raise _unreadable(path, f"it is no JSON ({cause})") from cause
    if not isinstance(document, dict) or not isinstance(document.get("tiles"), list):
        raise _unreadable(path, "it is no TileJSON")
    if document.get("scheme", "xyz") != "xyz":
        raise UnsupportedFormatError(
            f"{path}: its rows are counted in the scheme {str(document['scheme'])[:20]!r}",
            hint="Folders of z/x/y files are read with rows from the top (scheme xyz).",
        )
    return document


def extension_of(stated: Mapping[str, Any]) -> str | None:
    """The extension that the template names, None where it is none of a tile."""
    template = str(stated["tiles"][0]) if stated.get("tiles") else ""
    extension = template.partition("?")[0].rpartition(".")[2].lower()
    return extension if extension in EXTENSIONS else None


def _word_of(stated: Mapping[str, Any]) -> str:
    word = stated.get("format")
    return word if isinstance(word, str) and word in ("mixed", *_FORMATS) else extension_of(stated) or ""


def stated_format(stated: Mapping[str, Any]) -> TileFormat:
    """What the tiles are, as a TileJSON says."""
    word = _word_of(stated)
    return TileFormat.MIXED if word == "mixed" else _FORMATS.get(word, TileFormat.UNKNOWN)


def describe(stated: Mapping[str, Any], zooms: Sequence[int]) -> CacheInfo:
    """What describes the folder."""
    word = _word_of(stated)
    size = stated.get("tileSize")
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_TILE_PIXELS:
        size = 512 if word in ("pbf", "mvt") else 256
    details = {name: value for name, value in stated.items() if isinstance(value, str)}
    if isinstance(stated.get(KEY), dict):
        details[KEY] = json.dumps(stated[KEY])
    return CacheInfo(
        format=FORMAT,
        scheme=google_scheme(size, max(zooms, default=0)),
        tile_format=stated_format(stated),
        name=str(stated.get("name") or ""),
        attribution=str(stated.get("attribution") or ""),
        extent=_extent(stated.get("bounds")),
        vector_layers=parse_layers(stated.get("vector_layers")),
        details=details,
    )


def _extent(bounds: object) -> Box | None:
    if not isinstance(bounds, list) or len(bounds) != 4:
        return None
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in bounds):
        return None
    west, south, east, north = bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        return None
    return mercator_box(west, south, east, north)


def _unreadable(path: Path, what: str) -> CacheError:
    return CacheError(f"cannot read {path}: {what}", hint="Restore the file from the cache's origin.", code="damaged")
