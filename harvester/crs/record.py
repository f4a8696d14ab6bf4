"""The record of a CRS: what a service states, and what it is called, measured in and the same as."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harvester.crs.lookup import (
    LARGEST_EPSG,
    MAX_WKT_CHARS,
    authority_number,
    authority_text,
    equal,
    is_mercator_text,
    known,
    parse,
    resolve,
    twin,
    write_wkt,
)
from harvester.errors import SourceError, UsageError

WEB_MERCATOR_WKIDS = frozenset({3857, 102100, 102113, 900913, 3785})

MERCATOR_MAX_LATITUDE = 85.0511287798066
"""Where the web-mercator square ends: degrees(atan(sinh(pi)))."""

MERCATOR_HALF_WIDTH = 20037508.342789244
"""pi * 6378137 metres."""

MERCATOR_ESRI_WKT = (
    'PROJCS["WGS_1984_Web_Mercator_Auxiliary_Sphere",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",'
    'SPHEROID["WGS_1984",6378137.0,298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],'
    'PROJECTION["Mercator_Auxiliary_Sphere"],PARAMETER["False_Easting",0.0],PARAMETER["False_Northing",0.0],'
    'PARAMETER["Central_Meridian",0.0],PARAMETER["Standard_Parallel_1",0.0],PARAMETER["Auxiliary_Sphere_Type",0.0],'
    'UNIT["Meter",1.0]]'
)
"""What PROJ writes for it, kept since most harvests need no more of PROJ: to start it costs a tenth of a small run."""

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
        if not crs.is_web_mercator and resolve(crs) is None:
            stated = ", ".join(
                f"{name} {value}" for name, value in (("wkid", wkid), ("latestWkid", latest), ("wkt", wkt)) if value
            )
            raise SourceError(f"{where}: no known horizontal coordinate system ({stated[:200]})")
        return crs

    @classmethod
    def from_epsg(cls, number: int) -> Crs:
        """The CRS of an EPSG (or, above 32767, ESRI) number. Raises UsageError when there is none."""
        crs = cls(wkid=number)
        if not crs.is_web_mercator and resolve(crs) is None:
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
        parsed = parse(text) if re.match(r"[A-Za-z0-9_]+\s*[:\[]|\+|http|\{", text) else None
        if parsed is None:
            raise UsageError(
                f"not a known horizontal coordinate system: {text[:120]}", hint="Write EPSG:n, ESRI:n or the CRS's WKT."
            )
        for wkid in (authority_number(parsed), 4326):
            if wkid is not None and equal(parsed, resolve(cls(wkid=wkid))):
                return cls(wkid=wkid)
        return cls(wkt=text)

    @property
    def is_web_mercator(self) -> bool:
        """True for EPSG:3857 under any of its numbers, or as WKT alone."""
        if self.wkid is not None or self.latest_wkid is not None:
            return bool({self.wkid, self.latest_wkid} & WEB_MERCATOR_WKIDS)
        return self.wkt is not None and is_mercator_text(self.wkt)

    @property
    def is_geographic(self) -> bool:
        """True when coordinates are longitude and latitude."""
        return not self.is_web_mercator and bool(known(self).is_geographic)

    @property
    def half_world(self) -> tuple[float, float] | None:
        """The x of the antimeridian and the y where the map ends, north or south; None where x does not come round."""
        if self.is_web_mercator:
            return MERCATOR_HALF_WIDTH, MERCATOR_HALF_WIDTH
        return (180.0, 90.0) if self.is_geographic else None

    def unit_name(self) -> str:
        """The unit as the ArcGIS service document says it: ``esriMeters``, ``esriFeet``, ``esriDecimalDegrees`` ..."""
        if self.is_web_mercator:
            return "esriMeters"
        return ESRI_UNITS.get(known(self).axis_info[0].unit_name, "esriUnknownUnits")

    @property
    def metres_per_unit(self) -> float:
        """Metres in one map unit; for degrees, along the equator of the CRS's own ellipsoid (111319.49 on WGS 84)."""
        if self.is_web_mercator:
            return 1.0
        crs = known(self)
        factor = float(crs.axis_info[0].unit_conversion_factor)
        if not crs.is_geographic:
            return factor
        return factor * float(crs.ellipsoid.semi_major_metre if crs.ellipsoid else 6378137.0)

    @property
    def area_of_use(self) -> tuple[float, float, float, float] | None:
        """West, south, east, north in WGS 84 degrees (west > east crosses the antimeridian); None: not known."""
        if self.is_web_mercator:
            return (-180.0, -MERCATOR_MAX_LATITUDE, 180.0, MERCATOR_MAX_LATITUDE)
        area = known(self).area_of_use
        return None if area is None else (float(area.west), float(area.south), float(area.east), float(area.north))

    def same_as(self, other: Crs) -> bool:
        """True when both name the same CRS, whatever number they use; axis order does not matter here."""
        if self == other or (self.best_number is not None and self.best_number == other.best_number):
            return True
        if self.is_web_mercator or other.is_web_mercator:
            return self.is_web_mercator and other.is_web_mercator
        return equal(resolve(self), resolve(other))

    @property
    def best_number(self) -> int | None:
        """The number to look up: 3857 for web mercator, else latestWkid before wkid; None for WKT alone."""
        if self.is_web_mercator:
            return 3857
        return self.latest_wkid if self.latest_wkid is not None else self.wkid

    def esri_wkt(self) -> str:
        """WKT as Esri writes it into conf.xml (WKT 1, Esri's names), ending in AUTHORITY where a number is known."""
        if self.is_web_mercator:
            text = MERCATOR_ESRI_WKT
        else:
            text = write_wkt(self, "WKT1_ESRI") or self.wkt or write_wkt(self, "WKT1_GDAL")
        number = self.best_number
        if number is None or not text.endswith("]") or "AUTHORITY[" in text:
            return text
        name = "EPSG" if number <= LARGEST_EPSG else "ESRI"
        return f'{text[:-1]},AUTHORITY["{name}",{number}]]'

    def gdal_wkt(self) -> str:
        """WKT 1 in GDAL's dialect (GeoPackage, GDAL before 3); WKT 2 where WKT 1 cannot say it."""
        return write_wkt(self, "WKT1_GDAL") or self.wkt2()

    def wkt2(self) -> str:
        """WKT 2 (ISO 19162:2019)."""
        return write_wkt(self, "WKT2_2019") or self.wkt or ""

    @property
    def name(self) -> str:
        """The CRS's own name: ``WGS 84 / Pseudo-Mercator``."""
        return str(known(self).name)

    def spatial_reference(self) -> dict[str, int | str]:
        """The ArcGIS spatialReference: what was stated, with both numbers where web mercator's were stated in part."""
        if self.is_web_mercator:
            return {"wkid": 102100, "latestWkid": 3857}
        if self.best_number is None:
            return {"wkt": self.wkt or ""}
        wkid = self.wkid if self.wkid is not None else self.best_number
        return {"wkid": wkid, "latestWkid": self.best_number}

    def numbered(self) -> Crs:
        """The same CRS by EPSG's or Esri's number where PROJ knows its WKT as that very one, else itself."""
        if self.best_number is not None or self.wkt is None:
            return self
        found = parse(self.wkt)
        number = None if found is None else authority_number(found)
        twin = None if number is None else Crs(wkid=number)
        return twin if twin is not None and equal(resolve(twin), found) else self

    def __str__(self) -> str:
        number = self.best_number
        if number is not None:
            return f"EPSG:{number}" if number <= LARGEST_EPSG else twin(number)
        if self.wkt is None:
            return "unknown CRS"
        found = parse(self.wkt)
        return "unknown CRS" if found is None else (authority_text(found) or str(found.name))


WGS84 = Crs(wkid=4326)
WEB_MERCATOR = Crs(wkid=102100, latest_wkid=3857)


def local_equidistant(lon: float, lat: float) -> Crs:
    """An azimuthal equidistant CRS in metres on WGS 84 around one point: distances from that point are geodesic."""
    return Crs(wkt=f"+proj=aeqd +lat_0={lat!r} +lon_0={lon!r} +datum=WGS84 +units=m +no_defs +type=crs")


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
