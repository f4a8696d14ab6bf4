"""The arguments of arcpy's tools as people give them, read into harvester's own: words, switches, scales, extents,
areas."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from harvester.errors import UsageError
from harvester.job import AoiFile, Policy
from harvester.job_text import check_scale, parse_scale, parse_scales

WIDEST_DEGREES = 90.0
"""A box wider than half the world is taken for one across the antimeridian; pieces this wide never are."""

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?"
GAP = r"\s*[\s,;]\s*"

_EXTENT = re.compile(rf"\s*({NUMBER}){GAP}({NUMBER}){GAP}({NUMBER}){GAP}({NUMBER})(?:[\s,;]+(.*?))?\s*", re.DOTALL)
_FEATURE_CLASS = re.compile(r"(?i)^(.*\.(?:gdb|gpkg))[\\/](.+)$", re.DOTALL)
_INSIDE_ARCGIS = re.compile(r"(?i)^(?:in_memory|memory)[\\/]|\.(?:sde|geodatabase)[\\/]|^[^\\/.:]+$")
"""Feature classes in memory, in an enterprise or mobile geodatabase, and layers of a map by their name."""
_CONNECTION = re.compile(r"(?i)^gis servers[\\/]|\.ags(?:$|[\\/])|[^\\/]\.(?:Map|Image)Server$")


class Extent(NamedTuple):
    """A box; ``reference`` is the text or mapping of its own CRS, None where it is the service's."""

    box: tuple[float, float, float, float]
    reference: Any = None


def is_default(value: object) -> bool:
    """True for what arcpy takes as "not given": None, ``#`` and the empty text."""
    return value is None or (isinstance(value, str) and value.strip() in ("", "#"))


def read_word(name: str, value: object, words: Sequence[str], default: str, *, switch: str | None = None) -> str:
    """One of ``words``, in any case of letters. ``switch``: the word that True means; False means the other of two.

    Raises UsageError.
    """
    if is_default(value):
        return default
    if switch is not None:
        text = str(value).strip().lower() if isinstance(value, bool | str) else ""
        if text in ("true", "false"):
            return switch if text == "true" else next(word for word in words if word != switch)
    if isinstance(value, str) and value.strip().upper() in words:
        return value.strip().upper()
    raise UsageError(f"{name}: {value!r:.80} is none of {', '.join(words)}", hint=f"The default is {default}.")


def read_scales(value: object) -> tuple[float, ...] | None:
    """Denominators of a ``;`` text, a number or a list of them; None (all LODs) where none is given."""
    if is_default(value):
        return None
    try:
        if isinstance(value, str):
            return parse_scales(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return (check_scale(value),)
        if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
            found = [parse_scale(item) if isinstance(item, str) else check_scale(float(item)) for item in value]
            return tuple(dict.fromkeys(found)) or None
    except (TypeError, ValueError, OverflowError) as cause:
        raise UsageError(f"scales: {value!r:.80} holds what is no number", hint="Give scale denominators.") from cause
    except UsageError as error:
        raise UsageError(f"scales: {error.message}", hint=error.hint) from error
    raise UsageError(f"scales: {value!r:.80} is no list of scale denominators", hint='Write "4000;2000;1000".')


def read_instances(value: object) -> int | None:
    """The number of caching service instances as requests in flight; None (harvester's own choice) for -1."""
    if is_default(value):
        return None
    try:
        number = int(str(value).strip())
    except ValueError:
        number = 0
    if number == -1:
        return None
    if number < 1 or isinstance(value, bool):
        raise UsageError(
            f"num_of_caching_service_instances: {value!r:.40} is no number above 0",
            hint="It bounds the requests in flight; -1 leaves that to harvester.",
        )
    return number


def read_service(value: object) -> str:
    """The address of a service. Raises UsageError for a connection file or a catalog path, with the address to give."""
    text = str(value).strip() if not is_default(value) else ""
    if not text:
        raise UsageError("input_service: nothing is named", hint="Give the address of a service: https://…/MapServer")
    if "://" not in text and _CONNECTION.search(text):
        name = re.sub(
            r"(?i)\.(Map|Image)Server$",
            r"/\1Server",
            re.split(r"(?i)\.ags[\\/]?|\)[\\/]|^gis servers[\\/][^\\/]*[\\/]", text)[-1],
        )
        name = name.replace("\\", "/").strip("/")
        shown = name if re.search(r"(?i)[^/]/(Map|Image)Server$", name) and ":" not in name else "NAME/MapServer"
        raise UsageError(
            f"input_service: {text!r:.120} is a connection of ArcGIS, not an address",
            hint=f"Give the service's address: https://HOST/arcgis/rest/services/{shown} "
            "(its REST URL; credentials by token_env, or username and password_env).",
        )
    if "://" not in text and text.lower().endswith((".toml", ".json")):
        raise UsageError(
            f"input_service: {text!r:.120} is a file, not the address of a service",
            hint=f"Harvest job files and web maps with: harvester run {text}",
        )
    return text


# ---------------------------------------------------------------------------------------------- where


def read_extent(value: object) -> Extent | None:
    """``xmin ymin xmax ymax`` (blanks, commas or semicolons between), four numbers, or arcpy's Extent object or its
    JSON.

    None where none is given; so mean ``MAXOF``, ``MINOF`` and ``DEFAULT``, since a service has but one extent. A text
    may end in its CRS: WKT, as ArcGIS Pro writes it, or EPSG:n. The name of a layer that is there means its extent.
    Raises UsageError.
    """
    if is_default(value):
        return None
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError as cause:
            hint = 'Write "xmin ymin xmax ymax".'
            raise UsageError(f"export_extent: not JSON ({str(cause)[:80]})", hint=hint) from cause
    if isinstance(value, str):
        if value.strip().upper() in ("MAXOF", "MINOF", "DEFAULT"):
            return None
        if value.strip().upper() == "DISPLAY":
            raise UsageError("export_extent: DISPLAY needs a map on screen", hint='Write "xmin ymin xmax ymax".')
        found = _EXTENT.fullmatch(value)
        if found is None:
            return _extent_of(value.strip())
        rest = re.sub(r"(?i)^(?:nan[\s,;]*)+", "", found[5] or "").strip()
        return Extent(_checked([float(number) for number in found.groups()[:4]]), rest or None)
    document = _json_of(value)
    if isinstance(document, Mapping):
        try:
            box = [float(document[key]) for key in ("xmin", "ymin", "xmax", "ymax")]
        except (KeyError, TypeError, ValueError) as cause:
            raise UsageError("export_extent: the object is no extent", hint="It has xmin, ymin, xmax, ymax.") from cause
        return Extent(_checked(box), document.get("spatialReference"))
    try:
        return Extent(_checked([float(number) for number in value]))  # type: ignore[attr-defined]
    except (TypeError, ValueError) as cause:
        raise UsageError(f"export_extent: {value!r:.80} is no box", hint='Write "xmin ymin xmax ymax".') from cause


def _extent_of(name: str) -> Extent:
    """The box of everything in a layer, in the layer's own CRS."""
    from harvester.aoi_files import read_file
    from harvester.crs import WGS84

    file = feature_class(name)
    if not file.path.exists():
        hint = 'Write "xmin ymin xmax ymax", or name a layer that is there.'
        raise UsageError(f"export_extent: {name!r:.80} is no box and no layer", hint=hint)
    layer = read_file(file)
    boxes = [
        tuple(map(float, found.geometry.bounds))
        for found in layer.features
        if found.geometry is not None and not found.geometry.is_empty
    ]
    if not boxes:
        raise UsageError(f"export_extent: {layer.name} is empty", hint="Name a layer that has features.")
    lows, highs = (
        (min(box[axis] for box in boxes) for axis in (0, 1)),
        (max(box[axis] for box in boxes) for axis in (2, 3)),
    )
    return Extent(_checked([*lows, *highs]), (layer.crs or WGS84).spatial_reference())


def _checked(box: Sequence[float]) -> tuple[float, float, float, float]:
    shown = " ".join(f"{value:g}" for value in box)
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise UsageError(f"export_extent: {shown} is not four numbers", hint='Write "xmin ymin xmax ymax".')
    xmin, ymin, xmax, ymax = box
    if xmin >= xmax or ymin >= ymax:
        raise UsageError(
            f"export_extent: {shown} encloses nothing", hint="The order is xmin ymin xmax ymax, each below its max."
        )
    return xmin, ymin, xmax, ymax


def seems_degrees(box: tuple[float, float, float, float]) -> bool:
    """Could these be longitudes and latitudes? In metres or feet they'd be a spot at the origin of a CRS."""
    xmin, ymin, xmax, ymax = box
    return min(xmin, 2 * ymin) >= -180 and max(xmax, 2 * ymax) <= 180


def extent_geometry(box: tuple[float, float, float, float], reference: object, *, degrees: bool) -> dict[str, Any]:
    """A box as an Esri feature set; in ``degrees`` cut into pieces none of which seems to cross the antimeridian."""
    xmin, ymin, xmax, ymax = box
    pieces = max(1, math.ceil((xmax - xmin) / WIDEST_DEGREES)) if degrees else 1
    edges = [xmin + (xmax - xmin) * part / pieces for part in range(pieces)] + [xmax]
    shapes = [{"xmin": left, "ymin": ymin, "xmax": right, "ymax": ymax} for left, right in pairwise(edges)]
    return {"features": [{"geometry": shape} for shape in shapes], "spatialReference": reference}


def read_area(value: object, scales: tuple[float, ...] | None) -> Policy:
    """The policy of an area of interest and scales: ``value`` is a feature class or AOI file, a FeatureSet (object,
    JSON text or mapping), or a geometry. Raises UsageError."""
    if is_default(value):
        return Policy(scales=scales)
    if isinstance(value, str | PathLike):
        text = str(fspath(value)).strip()
        if not text.startswith("{"):
            return Policy(scales=scales, aoi=(_area_file(text),))
        try:
            document = json.loads(text)
        except ValueError as cause:
            raise UsageError(f"area_of_interest: not JSON ({str(cause)[:80]})", hint="Give a FeatureSet.") from cause
        return Policy(scales=scales, geometry=document)
    # arcpy's geometries state their CRS in .JSON only; __geo_interface__ leaves it out.
    document = _json_of(value)
    return Policy(scales=scales, geometry=value if document is None else document)


def _area_file(text: str) -> AoiFile:
    if _EXTENT.fullmatch(text):
        raise UsageError(f"area_of_interest: {text!r:.80} is an extent", hint="Give it as export_extent.")
    found = feature_class(text)
    if not found.path.exists() and _INSIDE_ARCGIS.search(text):
        raise UsageError(
            f"area_of_interest: {text!r:.80} is no file; what is in memory, in a map or in an enterprise or mobile "
            "geodatabase can be read inside ArcGIS alone",
            hint="Copy it to a shapefile or file geodatabase; in Python, arcpy.FeatureSet of it will do as well.",
        )
    return found


def feature_class(text: str) -> AoiFile:
    """A feature class as ArcGIS names it (``C:/data/city.gdb/parcels``), or any AOI file (``FILE[:LAYER]``)."""
    found = _FEATURE_CLASS.match(text)
    if found is not None and Path(found[1]).exists() and not Path(text).exists():
        # A feature class may lie in a feature dataset; SQLite's carry the name of the database.
        layer = re.split(r"[\\/]", found[2])[-1]
        return AoiFile(path=Path(found[1]), layer=re.sub(r"^main\.", "", layer))
    return AoiFile.from_text(text)


def _json_of(value: object) -> Any:
    """The Esri JSON of arcpy's object, or a mapping as it is; None for anything else."""
    if isinstance(value, Mapping):
        return value
    text = getattr(value, "JSON", None)
    if not isinstance(text, str):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
