"""AOI files to geometry in the tiling scheme's CRS: read, repaired or refused, buffered in ground metres, densified."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harvester.crs import MERCATOR_MAX_LATITUDE, WGS84, Crs, project_box
from harvester.errors import UsageError
from harvester.job import Policy

if TYPE_CHECKING:
    from harvester.aoi_layer import Feature, Layer

PIXELS = 0.08
"""Pixels of the finest LOD by which an edge may leave its true course; 0.1 is promised, the rest is for what lies
between the places where it is measured."""

MAX_NOTICES = 20
"""Notices of one AOI that are shown one by one; more are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """Where a policy applies, in the scheme's CRS: shapely Polygons or MultiPolygons, valid and not empty.

    ``geometry`` holds for every level, ``by_level`` for one level each (features with a ``level`` property).
    """

    geometry: Any | None
    by_level: Mapping[int, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    crs: Crs | None = None
    lonlat: tuple[float, float, float, float] | None = None
    """Its bounds as read, where all of it was stated in degrees."""


def load_area(policy: Policy, crs: Crs, finest_resolution: float) -> Area | None:
    """The area of a policy in ``crs``; None where the policy names none (the service's full extent).

    Edges are straight in the AOI's own CRS, densified until they deviate less than 0.1 pixel at ``finest_resolution``
    (map units per pixel). Raises UsageError by file, layer and feature for whatever can't be used.
    """
    if not policy.aoi and policy.geometry is None and policy.bbox is None:
        return None

    from harvester.aoi_shape import united

    work = _Work(crs=crs, tolerance=PIXELS * finest_resolution, metres=policy.buffer_metres or 0.0)
    work.chosen = any(file.where is not None for file in policy.aoi)
    if policy.bbox is not None:
        work.add_box(policy.bbox)
    for layer in _layers(policy):
        work.notices += layer.notices
        work.add_layer(layer)
    found = {level: united(parts) for level, parts in work.parts.items()}
    found = {level: geometry for level, geometry in found.items() if not geometry.is_empty}
    if not found:
        raise work.nothing()
    notices = list(dict.fromkeys(work.notices))
    if len(notices) > MAX_NOTICES:
        notices[MAX_NOTICES:] = [f"… and {len(notices) - MAX_NOTICES} more notices about the AOI"]
    return Area(
        geometry=found.get(None),
        by_level={level: geometry for level, geometry in found.items() if level is not None},
        notices=tuple(notices),
        crs=crs,
        lonlat=work.lonlat(),
    )


def looks_swapped(area: Area, extent: tuple[float, float, float, float]) -> bool:
    """True when an area that lies outside of ``extent`` (in the scheme's CRS) would lie inside, most of it at least,
    with latitude and longitude exchanged. Told by the degrees of its file: what a CRS makes of places far outside its
    domain has no way back."""
    if area.crs is None or area.lonlat is None:
        return False
    west, south, east, north = area.lonlat
    if max(abs(west), abs(east)) > 90.0:
        return False
    try:
        ours = project_box((west, south, east, north), WGS84, area.crs)
        mirror = project_box((south, west, north, east), WGS84, area.crs)
    except UsageError:
        return False
    size = (mirror[2] - mirror[0]) * (mirror[3] - mirror[1])
    return _common(ours, extent) <= 0 and _common(mirror, extent) > size / 2


def _common(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """The area of what two boxes share; 0 where they only touch."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0


# ---------------------------------------------------------------------------------------------- inside


class _Work:
    """One area in the making: parts in the scheme's CRS by level, and what was noticed on the way."""

    def __init__(self, *, crs: Crs, tolerance: float, metres: float) -> None:
        self.crs = crs
        self.tolerance = tolerance
        self.metres = metres
        self.parts: defaultdict[int | None, list[Any]] = defaultdict(list)
        self.notices: list[str] = []
        self.places: list[str] = []
        self.had_area = False
        self.chosen = False
        """A condition chose among the features."""
        self.features = 0
        self.bounds: list[tuple[float, float, float, float] | None] = []

    def lonlat(self) -> tuple[float, float, float, float] | None:
        """The bounds of everything that was read, where it was all in degrees."""
        found = [box for box in self.bounds if box is not None]
        if not found or len(found) < len(self.bounds):
            return None
        west, south, east, north = zip(*found, strict=True)
        return min(west), min(south), max(east), max(north)

    def add_box(self, box: tuple[float, float, float, float]) -> None:
        """A WGS 84 box, whose own edges are never taken the short way round."""
        import shapely

        from harvester.aoi_shape import folded

        west, south, east, north = box
        shape = shapely.box(west, south, east if west < east else east + 360.0, north)
        self.places.append("bbox")
        self._finish({None: [folded(shape, 360.0)]}, {}, WGS84, "bbox")

    def add_layer(self, layer: Layer) -> None:
        """Every feature of a layer: checked, repaired, unfolded, then brought into the scheme's CRS."""
        from harvester.aoi_shape import lines_of, polygons_of

        self.places.append(layer.name)
        crs = _settled_crs(layer, self.notices, self._stands)
        polygons: defaultdict[int | None, list[Any]] = defaultdict(list)
        lines: defaultdict[int | None, list[Any]] = defaultdict(list)
        missing = 0
        self.features += len(layer.features)
        for feature in layer.features:
            if feature.geometry is None or feature.geometry.is_empty:
                missing += 1
                continue
            level = self._level(feature)
            if self._stands(feature, crs):
                self._keep(feature, level)
                continue
            for part in polygons_of(feature.geometry):
                polygons[level].append(self._usable(part, crs, feature.where))
            found = lines_of(feature.geometry)
            if found and self.metres <= 0:
                raise UsageError(
                    f"{feature.where}: lines and points enclose nothing",
                    hint="Add a buffer: --buffer METRES (job file: buffer = METRES).",
                )
            lines[level] += found
        if missing:
            are = "1 feature has" if missing == 1 else f"{missing} features have"
            self.notices.append(f"{layer.name}: {are} no geometry and cover nothing")
        restricted = sorted(level for level in {*polygons, *lines} if level is not None)
        if restricted:
            shown = ", ".join(map(str, restricted[:20]))
            self.notices.append(f"{layer.name}: the property level restricts features to LOD {shown}")
        self._finish(polygons, lines, crs, layer.name)

    def _stands(self, feature: Feature, crs: Crs) -> bool:
        """Is this a part of the scheme's own grid, which may reach beyond the antimeridian and the poles?"""
        return not feature.wrap and self.metres <= 0 and crs.same_as(self.crs)

    def _keep(self, feature: Feature, level: int | None) -> None:

        from harvester.aoi_shape import polygons_of, repaired, united

        parts = [repaired(part, feature.where, self.notices) for part in polygons_of(feature.geometry)]
        self.parts[level].append(united(parts))
        self.bounds.append(None)
        self.had_area = True

    def _level(self, feature: Feature) -> int | None:
        value = feature.level
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            self.notices.append(f"{feature.where}: its level {value!r:.40} is no level number and restricts nothing")
            return None
        return int(value)

    def _usable(self, polygon: Any, crs: Crs, where: str) -> Any:
        from harvester.aoi_shape import repaired, unfolded

        if crs.is_geographic:
            return unfolded(polygon, where, self.notices)
        return repaired(polygon, where, self.notices)

    def _finish(
        self, polygons: Mapping[int | None, list[Any]], lines: Mapping[int | None, list[Any]], crs: Crs, where: str
    ) -> None:

        from harvester.aoi_project import project_polygons
        from harvester.aoi_shape import united

        for level in {**polygons, **lines}:
            shape = united(polygons.get(level, []))
            if not shape.is_empty:
                self.bounds.append(shape.bounds if crs.is_geographic else None)
            self.had_area = self.had_area or not shape.is_empty or bool(lines.get(level))
            if self.metres:
                shape = self._buffered(shape, lines.get(level, []), crs, where)
                self.parts[level].append(project_polygons(shape, WGS84, self.crs, self.tolerance, where, self.notices))
            else:
                self.parts[level].append(project_polygons(shape, crs, self.crs, self.tolerance, where, self.notices))

    def _buffered(self, shape: Any, lines: list[Any], crs: Crs, where: str) -> Any:
        """Ground metres need WGS 84: there and, later, on to the scheme's CRS."""
        from harvester.aoi_bend import NoWayError
        from harvester.aoi_buffer import METRES_PER_DEGREE, buffered
        from harvester.aoi_project import project_line, project_polygons

        # Web mercator stretches latitudes: a degree is four times as long on the map at 75 degrees north.
        degrees = self.tolerance * self.crs.metres_per_unit / METRES_PER_DEGREE / 4
        try:
            runs = [project_line(line, crs, WGS84, degrees) for line in lines]
        except NoWayError as error:
            raise UsageError(f"{where}: some coordinates lie outside of what {crs} can show") from error
        return buffered(
            project_polygons(shape, crs, WGS84, degrees, where, self.notices), runs, self.metres, degrees, where
        )

    def nothing(self) -> UsageError:
        """Why no area is left."""
        where = ", ".join(self.places)
        if not self.had_area and not self.features and self.chosen:
            return UsageError(
                f"{where}: no feature of it meets the condition",
                hint="Check the field's name and its values: --aoi-where, in a job file aoi_where.",
            )
        if not self.had_area and not self.features:
            return UsageError(
                f"{where}: no feature in it, so no polygon with an area",
                hint="Choose another file; an empty one from harvester holes says that no tile is missing.",
            )
        if not self.had_area:
            said = "; ".join(dict.fromkeys(self.notices))[:400]
            return UsageError(
                f"{where}: no polygon with an area{f' ({said})' if said else ''}",
                hint="Give polygons, or lines and points with --buffer METRES.",
            )
        limit = f" (latitudes up to {MERCATOR_MAX_LATITUDE:.4f})" if self.crs.is_web_mercator else ""
        return UsageError(
            f"{where}: lies wholly outside of what {self.crs} can show{limit}", hint="Check the AOI's CRS."
        )


def _layers(policy: Policy) -> list[Layer]:
    layers = []
    if policy.aoi:
        from harvester.aoi_files import read_file

        layers = [read_file(file) for file in policy.aoi]
    if policy.geometry is not None:
        from harvester.aoi_python import layer_of

        layers.append(layer_of(policy.geometry))
    return layers


def _settled_crs(layer: Layer, notices: list[str], stands: Callable[[Feature, Crs], bool]) -> Crs:
    """The CRS of a layer; without one longitude and latitude, where the numbers allow it. What ``stands`` on the grid
    may lie beyond the numbers of degrees."""
    import shapely

    from harvester.aoi_shape import check_degrees

    crs = layer.crs if layer.crs is not None else WGS84
    if crs.is_geographic:
        for feature in layer.features:
            if feature.geometry is not None and not stands(feature, crs):
                coordinates = shapely.get_coordinates(feature.geometry)
                check_degrees(coordinates, feature.where)
    if layer.crs is None and layer.features:
        notices.append(f"{layer.name}: no CRS is stated; its numbers are taken as longitude and latitude (WGS 84)")
    return crs
