"""Areas in a zip: which data set in it is meant, and where GDAL finds that."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from harvester.errors import UsageError

MAX_FILE_BYTES = 512 << 20
"""An AOI of half a gigabyte has tens of millions of vertices, or is the wrong file. Zips count unpacked."""

SINGLE = frozenset({".gpkg", ".kml", ".fgb", ".geojson", ".geojsonl", ".geojsons", ".gml"})
"""Suffixes of data sets that are one file."""

PERHAPS = frozenset({".json", ".esrijson"})
"""Suffixes of what is a data set where nothing else is one: metadata, mostly."""

ROOT = PurePosixPath()

LISTED = 5
"""Data sets that an error names."""


def place_in(path: Path, layer: str | None) -> str | Path:
    """What GDAL opens for an AOI file: of a zip the one data set in it, in whatever folder that lies, else the path.

    A folder with shapefiles is one data set, as a geodatabase is. Of several the one that ``layer`` names by its file.
    Raises UsageError for a zip that can't be read, is too large, or has no data set or several.
    """
    if path.suffix.lower() not in (".zip", ".kmz"):
        return path
    try:
        with zipfile.ZipFile(path) as archive:
            items = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise UsageError(f"{path}: not a zip file that can be read") from error
    if sum(item.file_size for item in items) > MAX_FILE_BYTES:
        raise UsageError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB when unpacked", hint="Cut it in parts.")
    if path.suffix.lower() == ".kmz":
        return path
    found = _data_sets([PurePosixPath(item.filename) for item in items if not item.is_dir()])
    if not found:
        raise UsageError(
            f"{path}: no data set in this zip", hint="Zip a shapefile with its .shx, .dbf and .prj, or give the file."
        )
    meant = list(found)
    if len(found) > 1:
        meant = [place for place, names in found.items() if layer in names] or [each for each in found if each == ROOT]
    if len(meant) != 1:
        listed = ", ".join(str(place) for place in list(found)[:LISTED])
        raise UsageError(f"{path}: several data sets in this zip ({listed[:400]})", hint="Unpack it, and name one.")
    return f"/vsizip/{{{path}}}/{'' if meant[0] == ROOT else meant[0]}"


def _data_sets(members: Sequence[PurePosixPath]) -> dict[PurePosixPath, set[str]]:
    """The data sets among a zip's files, and by which names a layer of each may be asked for. The root is one where it
    has shapefiles."""
    found: dict[PurePosixPath, set[str]] = {}
    perhaps: dict[PurePosixPath, set[str]] = {}
    for member in members:
        if any(part.startswith((".", "__MACOSX")) for part in member.parts):
            continue  # what macOS adds: each file's shadow, under nearly the same name
        suffix = member.suffix.lower()
        bases = [base for base in member.parents if base.suffix.lower() == ".gdb"]
        if bases:
            found.setdefault(bases[-1], set())
        elif suffix == ".shp":
            found.setdefault(member.parent, set()).add(member.stem)
        elif suffix in SINGLE:
            found[member] = {member.stem}
        elif suffix in PERHAPS:
            perhaps[member] = {member.stem}
    return found or perhaps
