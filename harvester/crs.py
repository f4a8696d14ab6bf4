"""Coordinate reference systems by wkid, latestWkid and WKT; the only importer of pyproj."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from harvester.errors import SourceError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pyproj import CRS as ProjCrs
    from pyproj import Transformer

    Floats = NDArray[np.float64]

    Projector = Callable[[Floats, Floats], tuple[Floats, Floats]]
    """x and y (east and north, or longitude and latitude) to x and y; what cannot be projected is ``inf``."""

Bounds = TypeVar("Bounds", bound=tuple[float, float, float, float])
"""xmin, ymin, xmax, ymax: a plain tuple or any NamedTuple of the four."""

WEB_MERCATOR_WKIDS = frozenset({3857, 102100, 102113, 900913, 3785})

MERCATOR_MAX_LATITUDE = 85.0511287798066
"""Where the web-mercator square ends: degrees(atan(sinh(pi)))."""

MERCATOR_HALF_WIDTH = 20037508.342789244
"""pi * 6378137 metres."""

LARGEST_EPSG = 32767
"""Numbers above it are Esri's own (or Google's 900913): EPSG's registry keeps below, and Esri starts above."""

MAX_WKT_CHARS = 65_536
"""The longest WKT of a real CRS is a few thousand characters; parsing a hostile one takes time."""

TWIN_CONFIDENCE = 90
"""Percent at which PROJ's word that an Esri CRS is an EPSG one is taken: equal parameters, other names."""

SAMPLES_PER_EDGE = 100
REFINEMENTS = 4
"""A box's projected edge bends; its extreme is searched by sampling, then by sampling again around the best, each time
50 times finer: to 1e-7 of the edge, and the error of the extreme is the square of that."""

ESRI_UNITS = {
    "degree": "esriDecimalDegrees",
    "metre": "esriMeters",
    "meter": "esriMeters",
    "kilometre": "esriKilometers",
    "foot": "esriFeet",
    "US survey foot": "esriFeet",
    "yard": "esriYards",
    "Statute mile": "esriMiles",
    "nautical mile": "esriNauticalMiles",
    "centimetre": "esriCentimeters",
    "millimetre": "esriMillimeters",
}
"""Unit words of the ArcGIS REST service document by EPSG's names; there is one word for both feet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crs:
    """A CRS as a service states it: ``wkid`` (Esri's word), ``latest_wkid`` (EPSG's, where it differs), ``wkt`` alone.

    The fields are kept as stated, since caches repeat them; equal records are not what sameness is: ask ``same_as``.
    """

    wkid: int | None = None
    latest_wkid: int | None = None
    wkt: str | None = None

    @classmethod
    def from_service(cls, mapping: object, where: str) -> Crs:
        """Read an ArcGIS spatialReference (``wkid``, ``latestWkid``, ``wkt`` or ``wkt2``).

        ``where`` names the field in messages. Raises SourceError when nothing in it names a usable horizontal CRS.
        """
        if not isinstance(mapping, Mapping):
            raise SourceError(f"{where}: no spatial reference (found {type(mapping).__name__})")
        wkid = _number(mapping.get("wkid"), f"{where}.wkid")
        latest = _number(mapping.get("latestWkid"), f"{where}.latestWkid")
        wkt = _text(mapping.get("wkt"), f"{where}.wkt") or _text(mapping.get("wkt2"), f"{where}.wkt2")
        if wkid is None and latest is None and wkt is None:
            raise SourceError(f"{where}: neither wkid, latestWkid nor wkt is stated")
        crs = cls(wkid=wkid, latest_wkid=latest, wkt=wkt)
        if not crs.is_web_mercator and _resolve(crs) is None:
            stated = ", ".join(
                f"{name} {value}" for name, value in (("wkid", wkid), ("latestWkid", latest), ("wkt", wkt)) if value
            )
            raise SourceError(f"{where}: no known horizontal coordinate system ({stated[:200]})")
        return crs

    @classmethod
    def from_epsg(cls, number: int) -> Crs:
        """The CRS of an EPSG (or, above 32767, ESRI) number. Raises UsageError when there is none."""
        crs = cls(wkid=number)
        if not crs.is_web_mercator and _resolve(crs) is None:
            raise UsageError(f"EPSG:{number} is not a known horizontal coordinate system")
        return crs

    @classmethod
    def from_user(cls, text: str) -> Crs:
        """Read ``EPSG:n``, ``ESRI:n``, a bare number, an OGC URN, a PROJ string or WKT; UsageError when it is none."""
        text = text.strip()
        number = re.fullmatch(r"(?:(?:EPSG|ESRI)\s*::?\s*)?(\d{1,9})", text, re.IGNORECASE)
        if number:
            return cls.from_epsg(int(number[1]))
        # Anything else PROJ takes for a name and searches its whole database for what is like it.
        parsed = _parse(text) if re.match(r"[A-Za-z0-9_]+\s*[:\[]|\+|http|\{", text) else None
        if parsed is None:
            raise UsageError(
                f"not a known horizontal coordinate system: {text[:120]}", hint="Write EPSG:n, ESRI:n or the CRS's WKT."
            )
        for wkid in (_authority_number(parsed), 4326):
            if wkid is not None and _equal(parsed, _resolve(cls(wkid=wkid))):
                return cls(wkid=wkid)
        return cls(wkt=text)

    @property
    def is_web_mercator(self) -> bool:
        """True for EPSG:3857 under any of its numbers, or as WKT alone."""
        if self.wkid is not None or self.latest_wkid is not None:
            return bool({self.wkid, self.latest_wkid} & WEB_MERCATOR_WKIDS)
        return self.wkt is not None and _is_mercator_text(self.wkt)

    @property
    def is_geographic(self) -> bool:
        """True when coordinates are longitude and latitude."""
        return not self.is_web_mercator and bool(_known(self).is_geographic)

    def unit_name(self) -> str:
        """The unit as the ArcGIS service document says it: ``esriMeters``, ``esriFeet``, ``esriDecimalDegrees`` ..."""
        if self.is_web_mercator:
            return "esriMeters"
        return ESRI_UNITS.get(_known(self).axis_info[0].unit_name, "esriUnknownUnits")

    @property
    def metres_per_unit(self) -> float:
        """Metres in one map unit; for degrees, along the equator of the CRS's own ellipsoid (111319.49 on WGS 84)."""
        if self.is_web_mercator:
            return 1.0
        crs = _known(self)
        factor = float(crs.axis_info[0].unit_conversion_factor)
        if not crs.is_geographic:
            return factor
        return factor * float(crs.ellipsoid.semi_major_metre if crs.ellipsoid else 6378137.0)

    @property
    def area_of_use(self) -> tuple[float, float, float, float] | None:
        """West, south, east, north in WGS 84 degrees (west > east crosses the antimeridian); None: not known."""
        if self.is_web_mercator:
            return (-180.0, -MERCATOR_MAX_LATITUDE, 180.0, MERCATOR_MAX_LATITUDE)
        area = _known(self).area_of_use
        return None if area is None else (float(area.west), float(area.south), float(area.east), float(area.north))

    def same_as(self, other: Crs) -> bool:
        """True when both name the same CRS, whatever number they use; axis order does not matter here."""
        if self == other or (self.best_number is not None and self.best_number == other.best_number):
            return True
        if self.is_web_mercator or other.is_web_mercator:
            return self.is_web_mercator and other.is_web_mercator
        return _equal(_resolve(self), _resolve(other))

    @property
    def best_number(self) -> int | None:
        """The number to look up: 3857 for web mercator, else latestWkid before wkid; None for WKT alone."""
        if self.is_web_mercator:
            return 3857
        return self.latest_wkid if self.latest_wkid is not None else self.wkid

    def esri_wkt(self) -> str:
        """WKT as Esri writes it into conf.xml (WKT 1, Esri's names), ending in AUTHORITY where a number is known."""
        crs = _known(self)
        text = _wkt(crs, "WKT1_ESRI") or self.wkt or _wkt(crs, "WKT1_GDAL")
        number = self.best_number
        if number is None or not text.endswith("]") or "AUTHORITY[" in text:
            return text
        name = "EPSG" if number <= LARGEST_EPSG else "ESRI"
        return f'{text[:-1]},AUTHORITY["{name}",{number}]]'

    def gdal_wkt(self) -> str:
        """WKT 1 in GDAL's dialect (GeoPackage, GDAL before 3); WKT 2 where WKT 1 cannot say it."""
        return _wkt(_known(self), "WKT1_GDAL") or self.wkt2()

    def wkt2(self) -> str:
        """WKT 2 (ISO 19162:2019)."""
        return _wkt(_known(self), "WKT2_2019") or self.wkt or ""

    @property
    def name(self) -> str:
        """The CRS's own name: ``WGS 84 / Pseudo-Mercator``."""
        return str(_known(self).name)

    def spatial_reference(self) -> dict[str, int | str]:
        """The ArcGIS spatialReference: what was stated, with both numbers where web mercator's were stated in part."""
        if self.is_web_mercator:
            return {"wkid": 102100, "latestWkid": 3857}
        if self.best_number is None:
            return {"wkt": self.wkt or ""}
        wkid = self.wkid if self.wkid is not None else self.best_number
        return {"wkid": wkid, "latestWkid": self.best_number}

    def __str__(self) -> str:
        number = self.best_number
        if number is not None:
            return f"EPSG:{number}" if number <= LARGEST_EPSG else _twin(number)
        if self.wkt is None:
            return "unknown CRS"
        found = _parse(self.wkt)
        return "unknown CRS" if found is None else (_authority_text(found) or str(found.name))


WGS84 = Crs(wkid=4326)
WEB_MERCATOR = Crs(wkid=102100, latest_wkid=3857)


def projector(source: Crs | str, target: Crs | str) -> Projector:
    """A function from x, y in ``source`` to x, y in ``target``; x is always east or longitude, y north or latitude.

    Arrays of any one shape; what cannot be projected comes back as ``inf``. Into web mercator, latitudes beyond its
    square are moved onto its edge, so the poles are finite. Raises UsageError when there is no way between the two.
    """
    return _projector(_as_crs(source), _as_crs(target))


def project_box(box: Bounds, source: Crs | str, target: Crs | str) -> Bounds:
    """The smallest box in ``target`` that holds ``box``, whose edges bend on the way; the same type as ``box``.

    Where the target is geographic, a box that holds a pole reaches it, and one that crosses the antimeridian or holds a
    pole spans -180..180. What can't be projected is left out. Raises UsageError when nothing of it can be.
    """
    ours, theirs = _as_crs(source), _as_crs(target)
    if ours.same_as(theirs):
        return box
    make: Any = getattr(type(box), "_make", tuple)
    result: Bounds = make(_project_box(box, ours, theirs))
    return result


def local_equidistant(lon: float, lat: float) -> Crs:
    """An azimuthal equidistant CRS in metres on WGS 84 around one point: distances from that point are geodesic."""
    return Crs(wkt=f"+proj=aeqd +lat_0={lat!r} +lon_0={lon!r} +datum=WGS84 +units=m +no_defs +type=crs")


# ---------------------------------------------------------------------------------------------- inside


def _number(value: object, where: str) -> int | None:
    if value is None or value == 0 or value == -1:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise SourceError(f"{where}: not a number of a spatial reference: {value!r:.80}")
    return value


def _text(value: object, where: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise SourceError(f"{where}: not a text but {type(value).__name__}")
    if len(value) > MAX_WKT_CHARS:
        raise SourceError(f"{where}: {len(value)} characters, more than any coordinate system needs")
    return value


def _as_crs(value: Crs | str) -> Crs:
    return value if isinstance(value, Crs) else Crs.from_user(value)


@lru_cache(maxsize=256)
def _parse(text: str) -> ProjCrs | None:
    """A 2D geographic or projected CRS of pyproj, or None; of a compound CRS its horizontal part."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    if len(text) > MAX_WKT_CHARS:
        return None
    try:
        crs: Any = CRS.from_user_input(text)
        if crs.is_compound:
            crs = crs.sub_crs_list[0]
        if crs.is_bound and crs.source_crs is not None and not (crs.is_geographic or crs.is_projected):
            crs = crs.source_crs
        if not (crs.is_geographic or crs.is_projected) or crs.is_geocentric:
            return None
        return crs.to_2d()  # type: ignore[no-any-return]
    except (CRSError, ValueError, TypeError):
        return None


@lru_cache(maxsize=256)
def _resolve(crs: Crs) -> ProjCrs | None:
    """The first of latestWkid, wkid and WKT that PROJ knows."""
    if crs.is_web_mercator:
        return _parse("EPSG:3857")
    for number in (crs.latest_wkid, crs.wkid):
        if number is None:
            continue
        names = ("EPSG", "ESRI") if number <= LARGEST_EPSG else ("ESRI", "EPSG")
        for name in names:
            found = _parse(f"{name}:{number}")
            if found is not None:
                return found
    return None if crs.wkt is None else _parse(crs.wkt)


def _known(crs: Crs) -> ProjCrs:
    found = _resolve(crs)
    if found is None:
        raise UsageError(f"not a known horizontal coordinate system: {crs.best_number or (crs.wkt or '')[:120]}")
    return found


def _equal(one: ProjCrs | None, other: ProjCrs | None) -> bool:
    return one is not None and other is not None and bool(one.equals(other, ignore_axis_order=True))


@lru_cache(maxsize=64)
def _is_mercator_text(wkt: str) -> bool:
    found, mercator = _parse(wkt), _parse("EPSG:3857")
    return "ercator" in wkt and _equal(found, mercator)


def _authority_number(crs: ProjCrs) -> int | None:
    found = crs.to_authority(min_confidence=TWIN_CONFIDENCE)
    if not found or found[0] not in ("EPSG", "ESRI") or not found[1].isdigit():
        return None
    return int(found[1])


def _authority_text(crs: ProjCrs) -> str | None:
    epsg = crs.to_epsg(min_confidence=TWIN_CONFIDENCE)
    if epsg is not None:
        return f"EPSG:{epsg}"
    found = crs.to_authority(min_confidence=TWIN_CONFIDENCE)
    return None if found is None else f"{found[0]}:{found[1]}"


@lru_cache(maxsize=64)
def _twin(number: int) -> str:
    found = _resolve(Crs(wkid=number))
    return (found is not None and _authority_text(found)) or f"ESRI:{number}"


def _wkt(crs: ProjCrs, version: str) -> str:
    """WKT of one dialect; empty where the dialect has no words for the CRS."""
    from pyproj.exceptions import CRSError

    try:
        return crs.to_wkt(version) or ""
    except CRSError:
        return ""


@lru_cache(maxsize=64)
def _transformer(source: Crs, target: Crs) -> Transformer:
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    try:
        return Transformer.from_crs(_known(source), _known(target), always_xy=True)
    except ProjError as error:
        raise UsageError(f"there is no way from {source} to {target}") from error


@lru_cache(maxsize=64)
def _projector(source: Crs, target: Crs) -> Projector:
    import numpy as np

    if source.same_as(target):
        return lambda x, y: (np.asarray(x, float).copy(), np.asarray(y, float).copy())
    transform = _transformer(source, target).transform
    clamp_in = target.is_web_mercator and source.is_geographic
    clamp_out = target.is_web_mercator
    degrees = source.is_geographic and _known(source).axis_info[0].unit_name == "degree"

    def project(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        east, north = np.array(x, float), np.array(y, float)
        if clamp_in and degrees:
            north = np.clip(north, -MERCATOR_MAX_LATITUDE, MERCATOR_MAX_LATITUDE)
        east, north = transform(east, north)
        east, north = np.asarray(east, float), np.asarray(north, float)
        bad = ~(np.isfinite(east) & np.isfinite(north))
        if clamp_out:
            north = np.clip(north, -MERCATOR_HALF_WIDTH, MERCATOR_HALF_WIDTH)
        if bad.any():
            east, north = np.where(bad, np.inf, east), np.where(bad, np.inf, north)
        return east, north

    return project


def _along(box: tuple[float, float, float, float], t: Floats) -> tuple[Floats, Floats]:
    """Points on a box's outline, ``t`` in 0..4: south, east, north, west edge."""
    import numpy as np

    xmin, ymin, xmax, ymax = box
    edge = np.minimum(np.floor(t), 3)
    part = t - edge
    x = np.choose(edge.astype(int), [xmin + part * (xmax - xmin), xmax, xmax - part * (xmax - xmin), xmin])
    y = np.choose(edge.astype(int), [ymin, ymin + part * (ymax - ymin), ymax, ymax - part * (ymax - ymin)])
    return x, y


def _project_box(box: tuple[float, float, float, float], source: Crs, target: Crs) -> tuple[float, float, float, float]:
    import numpy as np

    project = _projector(source, target)
    first = np.linspace(0, 4, 4 * SAMPLES_PER_EDGE + 1)
    values = []
    for axis, sign in ((0, -1.0), (1, -1.0), (0, 1.0), (1, 1.0)):
        t, step = first, first[1]
        best = -np.inf
        for _ in range(REFINEMENTS):
            found = sign * project(*_along(box, t))[axis]
            found = np.where(np.isfinite(found), found, -np.inf)
            at = int(found.argmax())
            best = max(best, float(found[at]))
            t = np.linspace(max(t[at] - step, 0.0), min(t[at] + step, 4.0), SAMPLES_PER_EDGE + 1)
            step = t[1] - t[0]
        values.append(sign * best)
    # A pole or a cut may lie inside: a coarse grid catches what the outline does not.
    gx, gy = np.meshgrid(np.linspace(box[0], box[2], 21), np.linspace(box[1], box[3], 21))
    ix, iy = project(gx.ravel(), gy.ravel())
    kept = np.isfinite(ix) & np.isfinite(iy)
    if kept.any():
        values = [
            min(values[0], ix[kept].min()),
            min(values[1], iy[kept].min()),
            max(values[2], ix[kept].max()),
            max(values[3], iy[kept].max()),
        ]
    if not np.isfinite(values).all():
        raise UsageError(f"the box {tuple(box)} of {source} lies outside of what {target} can show")
    if target.is_geographic:
        values = _round_the_world(box, values, source, target)
    return (float(values[0]), float(values[1]), float(values[2]), float(values[3]))


def _round_the_world(
    box: tuple[float, float, float, float], values: list[float], source: Crs, target: Crs
) -> list[float]:
    """Longitudes run round: a pole or the antimeridian inside a projected box make -180..180 of its width."""
    import numpy as np

    if source.is_geographic:
        return values
    west, south, east, north = values
    back, forth = _projector(target, source), _projector(source, target)
    for pole in (-90.0, 90.0):
        px, py = back(np.array([0.0]), np.array([pole]))
        inside = box[0] <= px[0] <= box[2] and box[1] <= py[0] <= box[3]
        if inside and not source.is_web_mercator:
            west, east = -180.0, 180.0
            south, north = min(south, pole), max(north, pole)
    lon, _ = forth(*_along(box, np.linspace(0, 4, 40 * SAMPLES_PER_EDGE + 1)))
    lon = lon[np.isfinite(lon)]
    if not source.is_web_mercator and (np.abs(np.diff(lon)) > 180.0).any():
        west, east = -180.0, 180.0
    return [west, south, east, north]
