"""What PROJ knows of a CRS: lookups by number and by text, sameness, names; kept, since each costs milliseconds."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from harvester.errors import UsageError

if TYPE_CHECKING:
    from pyproj import CRS as ProjCrs

    from harvester.crs.record import Crs

LARGEST_EPSG = 32767
"""Numbers above it are Esri's own (or Google's 900913): EPSG's registry keeps below, and Esri starts above."""

MAX_WKT_CHARS = 65_536
"""The longest WKT of a real CRS is a few thousand characters; parsing a hostile one takes time."""

TWIN_CONFIDENCE = 90
"""Percent at which PROJ's word that an Esri CRS is an EPSG one is taken: equal parameters, other names."""


@lru_cache(maxsize=256)
def parse(text: str) -> ProjCrs | None:
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
def resolve(crs: Crs) -> ProjCrs | None:
    """The first of latestWkid, wkid and WKT that PROJ knows."""
    if crs.is_web_mercator:
        return parse("EPSG:3857")
    for number in (crs.latest_wkid, crs.wkid):
        if number is None:
            continue
        names = ("EPSG", "ESRI") if number <= LARGEST_EPSG else ("ESRI", "EPSG")
        for name in names:
            found = parse(f"{name}:{number}")
            if found is not None:
                return found
    return None if crs.wkt is None else parse(crs.wkt)


def known(crs: Crs) -> ProjCrs:
    """The CRS as PROJ knows it. Raises UsageError when it does not."""
    found = resolve(crs)
    if found is None:
        raise UsageError(f"not a known horizontal coordinate system: {crs.best_number or (crs.wkt or '')[:120]}")
    return found


def equal(one: ProjCrs | None, other: ProjCrs | None) -> bool:
    """True when both are known and the same but for axis order."""
    return one is not None and other is not None and bool(one.equals(other, ignore_axis_order=True))


@lru_cache(maxsize=64)
def is_mercator_text(wkt: str) -> bool:
    """True for a WKT of EPSG:3857."""
    found, mercator = parse(wkt), parse("EPSG:3857")
    return "ercator" in wkt and equal(found, mercator)


def authority_number(crs: ProjCrs) -> int | None:
    """The EPSG or ESRI number of a CRS, or None."""
    found = crs.to_authority(min_confidence=TWIN_CONFIDENCE)
    if not found or found[0] not in ("EPSG", "ESRI") or not found[1].isdigit():
        return None
    return int(found[1])


def authority_text(crs: ProjCrs) -> str | None:
    """``EPSG:n`` where there is such a number, else ``ESRI:n`` or another authority, else None."""
    epsg = crs.to_epsg(min_confidence=TWIN_CONFIDENCE)
    if epsg is not None:
        return f"EPSG:{epsg}"
    found = crs.to_authority(min_confidence=TWIN_CONFIDENCE)
    return None if found is None else f"{found[0]}:{found[1]}"


@lru_cache(maxsize=64)
def twin(number: int) -> str:
    """The name of one of Esri's numbers: of its EPSG twin where PROJ knows one."""
    found = parse(f"ESRI:{number}") or parse(f"EPSG:{number}")
    return (found is not None and authority_text(found)) or f"ESRI:{number}"


@lru_cache(maxsize=64)
def write_wkt(crs: Crs, version: str) -> str:
    """WKT of one dialect; empty where the dialect has no words for the CRS. Raises UsageError when PROJ knows none.

    Kept by the record, not by pyproj's object: that one's hash is its WKT, and each thread's first takes 10 ms.
    """
    from pyproj.exceptions import CRSError

    found = known(crs)
    try:
        return found.to_wkt(version) or ""
    except CRSError:
        return ""
