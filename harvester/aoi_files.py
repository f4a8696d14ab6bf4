"""AOI files to features: GeoJSON, Esri JSON and WKT by our own readers, everything else through GDAL (pyogrio)."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from harvester.aoi_json import read_json
from harvester.aoi_layer import Feature, Layer, check_finite
from harvester.aoi_zip import MAX_FILE_BYTES, place_in
from harvester.crs import WGS84, Crs
from harvester.errors import UsageError
from harvester.job import AoiFile

GDAL_SUFFIXES = frozenset({".shp", ".gpkg", ".kml", ".kmz", ".fgb", ".zip", ".geojsonl", ".geojsons", ".gdb", ".gml"})
JSON_SUFFIXES = frozenset({".geojson", ".json", ".esrijson"})
TEXT_SUFFIXES = frozenset({".wkt", ".ewkt", ".txt"})
KNOWN = "GeoJSON, Esri JSON, Shapefile (also zipped), GeoPackage, KML, KMZ, FlatGeobuf, WKT"

WKT_START = re.compile(
    r"\s*(SRID\s*=\s*\d+\s*;\s*)?(MULTI)?(POLYGON|LINESTRING|POINT|GEOMETRYCOLLECTION|CURVEPOLYGON|SURFACE|CURVE)",
    re.IGNORECASE,
)

MAGIC = {b"SQLite format 3\0": ".gpkg", b"fgb": ".fgb", b"PK\3\4": ".zip", b"\0\0\x27\x0a": ".shp"}
"""First bytes of files whose suffix says nothing."""


def read_file(file: AoiFile) -> Layer:
    """Read one AOI file. Raises UsageError that names the file and what to do."""
    path = file.path
    name = str(path) if file.layer is None else f"{path}, layer {file.layer}"
    try:
        if path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB", hint="Simplify it, or cut it in parts.")
        if not path.exists():
            raise _not_there(path)
        kind = _kind(path)
        if kind == "gdal":
            return _read_gdal(file, name)
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    if kind == "wkt":
        if file.where is not None or file.layer is not None:
            raise UsageError(f"{path}: WKT has neither layers nor attributes", hint="Leave the layer and where out.")
        return _read_wkt(_decode(text), name)
    if file.where is not None:
        return _read_gdal(file, name)
    document = _parse(text, path)
    if file.layer is not None and file.layer not in (path.stem, _collection_name(document)):
        raise UsageError(f"{path}: JSON has no layers, so none named {file.layer!r:.80}", hint="Leave the layer out.")
    return read_json(document, name)


def _kind(path: Path) -> str:
    """``gdal``, ``json`` or ``wkt``: by suffix, else by the first bytes."""
    suffix = path.suffix.lower()
    if suffix in GDAL_SUFFIXES:
        return "gdal"
    if path.is_dir():
        raise UsageError(f"{path}: a folder, not an AOI file", hint=f"Known: {KNOWN}.")
    with path.open("rb") as stream:
        start = stream.read(4096)
    if suffix in JSON_SUFFIXES:
        return "json"
    if any(start.startswith(magic) for magic in MAGIC):
        return "gdal"
    text = _decode(start).lstrip()
    if text.startswith("{"):
        return "json"
    if WKT_START.match(text) or suffix in TEXT_SUFFIXES:
        return "wkt"
    if "<kml" in text:
        return "gdal"
    raise UsageError(f"{path}: not a known kind of AOI file", hint=f"Known: {KNOWN}.")


def _not_there(path: Path) -> UsageError:
    if re.match(r"https?:[/\\]", str(path), re.IGNORECASE):
        return UsageError(f"{path.name}: an address, and an AOI is a file", hint="Download it, and name the file.")
    return UsageError(f"{path}: there is no such file", hint=_colon_hint(path))


def _colon_hint(path: Path) -> str:
    head, colon, _ = str(path).rpartition(":")
    if colon and len(head) > 1:
        return f"There is no {head} either."
    return "Check the path; a relative one starts at the current folder, in a job file at the folder of that."


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _parse(data: bytes, path: Path) -> Any:
    try:
        return json.loads(_decode(data))
    except json.JSONDecodeError as error:
        what = f"not JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        start = data.lstrip()[:1]
        if not start:
            what = "is empty"
        page = "A web page was saved in its place: get the data itself."
        hint = page if start == b"<" else "It is cut short or no GeoJSON: write it again from where it came."
        raise UsageError(f"{path}: {what}", hint=hint) from error
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{path}: not JSON that can be read ({type(error).__name__})") from error


def _collection_name(document: object) -> str | None:
    name = document.get("name") if isinstance(document, dict) else None
    return name if isinstance(name, str) else None


# ---------------------------------------------------------------------------------------------- WKT


def _read_wkt(text: str, name: str) -> Layer:
    """One geometry a line (or one over many lines); ``SRID=n;`` before it names the CRS, else it is not stated."""
    found = re.match(r"\s*SRID\s*=\s*(\d{1,9})\s*;", text, re.IGNORECASE)
    crs = None
    if found is not None and int(found[1]) != 0:
        try:
            crs = Crs.from_epsg(int(found[1]))
        except UsageError as error:
            raise UsageError(f"{name}: {error.message}") from error
    bodies = [re.sub(r"^\s*SRID\s*=\s*\d+\s*;", "", part, flags=re.IGNORECASE).strip() for part in _wkt_parts(text)]
    features = []
    for number, body in enumerate(bodies, 1):
        where = f"{name}, feature {number}" if len(bodies) > 1 else name
        if re.match(r"(?i)(compoundcurve|circularstring|curvepolygon|multisurface|multicurve)", body):
            raise UsageError(f"{where}: curves cannot be read", hint="Make straight lines of them (ST_CurveToLine).")
        try:
            with np.errstate(invalid="ignore"):  # a NaN is refused below, in words
                geometry = shapely.force_2d(shapely.from_wkt(body))
        except (shapely.errors.GEOSException, ValueError) as error:
            hint = "Write POLYGON ((lon lat, lon lat, ...)): a space inside a point, a comma between points."
            raise UsageError(f"{where}: not WKT ({str(error)[:120]})", hint=hint) from error
        check_finite(shapely.get_coordinates(geometry), where)
        features.append(Feature(geometry, where))
    return Layer(name, crs, features, [])


def _wkt_parts(text: str) -> list[str]:
    """Geometries of a text: a new one starts where a line starts with a geometry's name."""
    parts: list[list[str]] = []
    for line in text.splitlines():
        if WKT_START.match(line) or not parts:
            if line.strip():
                parts.append([line])
        else:
            parts[-1].append(line)
    return [" ".join(part) for part in parts] or [text]


# ---------------------------------------------------------------------------------------------- GDAL


def _read_gdal(file: AoiFile, name: str) -> Layer:
    import pyogrio

    path = file.path
    place = place_in(path, file.layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GDAL warns of what our own checks say in the user's words
        try:
            layer = file.layer if file.layer is not None else _only_layer(place, path)
            info = pyogrio.read_info(place, layer=layer)
            columns = [field for field in info["fields"] if field.lower() == "level"][:1]
            # Fields that are not asked for are not there for ``where`` either: some drivers then find nothing.
            wanted = columns if file.where is None else None
            meta, fids, shapes, values = pyogrio.raw.read(
                place, layer=layer, columns=wanted, where=file.where, force_2d=True, return_fids=True
            )
        except (pyogrio.errors.DataLayerError, pyogrio.errors.DataSourceError) as error:
            _refuse_condition(file, place, name, error)
            raise UsageError(f"{name}: {_words(path, error)}", hint=_layers_hint(place, path)) from error
        except LookupError as error:  # of a file without a layer, in which GDAL found no more than its first bytes
            raise UsageError(
                f"{name}: no layer in it can be read: it is damaged, cut short or empty",
                hint="Write it again from where it came, or fetch it again.",
            ) from error
        except (RuntimeError, ValueError, OSError) as error:
            _refuse_condition(file, place, name, error)
            raise UsageError(f"{name}: {str(error)[:300]}") from error
    if shapes is None:
        raise UsageError(f"{name}: a table without geometry", hint=_layers_hint(place, path))
    label = name if file.layer is not None or layer in (None, path.stem) else f"{path}, layer {layer}"
    notices: list[str] = []
    geometries = shapely.from_wkb(shapes, on_invalid="ignore")
    names = list(meta["fields"])
    levels = values[names.index(columns[0])].tolist() if columns else [None] * len(fids)
    features = []
    for fid, shape, geometry, level in zip(fids.tolist(), shapes, geometries, levels, strict=True):
        where = f"{label}, feature {fid}"
        if shape is not None and geometry is None:
            notices.append(f"{where}: its geometry is no geometry that can be read, and is left out")
        elif geometry is not None:
            check_finite(shapely.get_coordinates(geometry), where)
            if shapely.get_type_id(geometry) > 7:
                raise UsageError(f"{where}: curves cannot be read", hint="Make straight lines of them first.")
        features.append(Feature(geometry, where, level))
    return Layer(label, _gdal_crs(meta["crs"], path, label), features, notices)


def _gdal_crs(text: str | None, path: Path, label: str) -> Crs | None:
    if path.suffix.lower() in (".kml", ".kmz"):
        return WGS84
    if not text:
        return None
    try:
        return Crs.from_user(text)
    except UsageError as error:
        raise UsageError(f"{label}: {error.message}", hint=error.hint) from error


def _only_layer(place: str | Path, path: Path) -> str | None:
    """The layer to read where none is named: the only one, or the only one with polygons."""
    import pyogrio

    layers = [(str(name), kind) for name, kind in pyogrio.list_layers(place) if kind is not None]
    if len(layers) <= 1:
        return layers[0][0] if layers else None
    with_polygons = [name for name, kind in layers if _has_polygons(place, name, str(kind))]
    if len(with_polygons) == 1:
        return with_polygons[0]
    listed = ", ".join(name for name, _ in layers)
    raise UsageError(f"{path}: several layers ({listed[:400]})", hint=f"Name one: {path}:{(with_polygons or [''])[0]}")


def _has_polygons(place: str | Path, name: str, kind: str) -> bool:
    if "Polygon" in kind or "Surface" in kind:
        return True
    if "Unknown" not in kind and "Collection" not in kind and "Geometry" not in kind:
        return False
    import pyogrio

    shapes = pyogrio.raw.read(place, layer=name, columns=[], force_2d=True)[2]
    kinds = np.unique(shapely.get_type_id(shapely.from_wkb(shapes, on_invalid="ignore")))
    return bool({3, 6, 7} & set(kinds.tolist()))


def _words(path: Path, error: Exception) -> str:
    """What GDAL says, unless it speaks of its own settings."""
    if path.suffix.lower() == ".shp" and ".shx" in str(error):
        return "its .shx is not there"
    return str(error)[:300]


def _layers_hint(place: str | Path, path: Path) -> str:
    import pyogrio

    if path.suffix.lower() == ".shp":
        return (
            "A shapefile needs its .shx and .dbf beside it, and its .prj for the CRS; or give all of them in one .zip."
        )
    try:
        names = [str(name) for name, _ in pyogrio.list_layers(place)]
    except (RuntimeError, ValueError, OSError, LookupError):
        return f"Known kinds of AOI files: {KNOWN}."
    return f"Its layers: {', '.join(names)[:400]}."


def _refuse_condition(file: AoiFile, place: str | Path, name: str, error: Exception) -> None:
    """Raise UsageError with the fields that there are where GDAL (each driver in words of its own) can't read a
    condition."""
    if file.where is None or "SQL" not in str(error):
        return
    import pyogrio

    fields = pyogrio.read_info(place, layer=file.layer or _only_layer(place, file.path))["fields"]
    raise UsageError(
        f"{name}: where {file.where!r:.200} is no condition that can be read",
        hint=f"Its fields: {', '.join(map(str, fields))[:400]}. Texts stand in single quotes: state = 'CO'.",
    ) from error
