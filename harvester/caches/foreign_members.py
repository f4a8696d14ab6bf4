"""What of a package is no tile package's: one that holds a member of somebody's is added to, and not replaced.

Known are the places of Esri/tile-package-spec 1.0, of the packages that ArcGIS writes (item and service descriptions,
and a folder for each of its versions, ``v101/``, ``p12/``), and ours. What lies in ArcGIS's own folders may be its own,
whatever it is called: it is not held against a package.
"""

from __future__ import annotations

import re
from pathlib import Path

from harvester.caches import bundle_v2, root_json, stored_zip
from harvester.caches.zip_bundles import ZipBundles
from harvester.durable import Disk
from harvester.errors import CacheError
from harvester.manifest import FILE

_DELTA, _INDEX = "delta/", "delta/index.json"
"""The folder with what a delta says beside its tiles, and what is always in it."""

_ROOT = "root.json"
_TOP = frozenset({"iteminfo.json", _ROOT, "thumbnail.png", "thumbnail.jpg", FILE.lower()})
_FOLDERS = re.compile(r"(esriinfo|servicedescriptions|[vp][0-9]+)/.*", re.DOTALL)
_LITTER = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
"""What systems leave in folders that somebody looks at."""


def foreign_member(path: Path, format: str, *, kept_in: Path | None = None) -> str | None:
    """The first member that no tile package of the format has; None where all are one's, and where the archive is
    damaged, so that nobody can tell. ``kept_in``: another package; what that has as well is not meant."""
    try:
        directory = stored_zip.read_directory(path)
        tiles = _tiles_of(path, directory) if format == "tpkx" else ""
        kept = {} if kept_in is None else {e.raw: e for e in stored_zip.read_directory(kept_in).files}
    except CacheError:
        return None
    is_delta = any(entry.name == _INDEX for entry in directory.files)
    for entry in directory.files:
        name = entry.name.lower()
        is_known = (
            name in _TOP
            or name.rpartition("/")[2] in _LITTER
            or _FOLDERS.fullmatch(name) is not None
            or (is_delta and name.startswith(_DELTA))
            or (bool(tiles) and _is_tiles(name, tiles))
        )
        other = kept.get(entry.raw)
        is_kept = other is not None and (other.size, other.crc) == (entry.size, entry.crc)
        if not (is_known or is_kept):
            return f"the member {entry.name}"
    return None


def _tiles_of(path: Path, directory: stored_zip.Directory) -> str:
    """The folder of the bundles, in lower case, with its slash."""
    disk = Disk()
    bundles = ZipBundles(path, directory, disk, disk.open(path))
    try:
        _, folders = root_json.parse_root(bundles.document(_ROOT), f"{path}: {_ROOT}")
    finally:
        bundles.close()
    return "".join(f"{folder}/" for folder in folders).lower()


def _is_tiles(name: str, tiles: str) -> bool:
    """A bundle, whatever its name: one that is misnamed is damage, and no one's notes."""
    level, slash, file = name[len(tiles) :].partition("/")
    is_below = name.startswith(tiles) and bool(slash) and file.endswith(".bundle")
    return is_below and bundle_v2.parse_level_folder(level) is not None
