"""Features of an area as they are read, and their coordinates: strict about numbers, lenient about rings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import shapely

from harvester.crs import Crs
from harvester.errors import UsageError


class Feature(NamedTuple):
    """One feature as read: ``geometry`` None where there is none, ``where`` for messages, ``level`` of its property.

    ``wrap`` False: what lies beyond the antimeridian stands where it is on a grid that reaches there.
    """

    geometry: Any | None
    where: str
    level: Any = None
    wrap: bool = True


class Layer(NamedTuple):
    """Features of one file or layer. ``crs`` None: not stated."""

    name: str
    crs: Crs | None
    features: list[Feature]
    notices: list[str]


def level_of(properties: object) -> Any:
    """The value of a feature's ``level`` property, in any case of letters; None where it has none."""
    if not isinstance(properties, Mapping):
        return None
    for key, value in properties.items():
        if isinstance(key, str) and key.lower() == "level":
            return value
    return None


def positions(data: object, where: str) -> Any:
    """A list of positions to an array (n, 2); further dimensions are left out. Raises UsageError."""
    if not isinstance(data, list):
        raise UsageError(f"{where}: a list of positions was expected, not {type(data).__name__}")
    if any(not isinstance(item, list) or len(item) < 2 for item in data):
        raise UsageError(f"{where}: a position is a list of at least two numbers")
    if any(isinstance(value, bool) or not isinstance(value, int | float) for item in data for value in item[:2]):
        raise UsageError(f"{where}: a position holds something that is not a number")
    try:
        found = np.array([item[:2] for item in data], dtype=float).reshape(-1, 2)
    except OverflowError as error:
        raise UsageError(f"{where}: a coordinate is too large for any coordinate system") from error
    check_finite(found, where)
    return found


def check_finite(coordinates: Any, where: str) -> None:
    """Raise UsageError when a coordinate is NaN or infinite: such a polygon would still seem to intersect things."""
    if not np.isfinite(coordinates).all():
        raise UsageError(
            f"{where}: a coordinate is not finite (NaN or infinity)", hint="Repair the feature, or leave it out."
        )


def ring(data: object, where: str, notices: list[str]) -> Any | None:
    """A closed ring's coordinates (n >= 4), or None with a notice when it has no three different points."""
    found = positions(data, where)
    if len(found) and not np.array_equal(found[0], found[-1]):
        found = np.vstack([found, found[:1]])
    if len(found) < 4 or len(np.unique(found, axis=0)) < 3:
        notices.append(f"{where}: a ring of fewer than three different points encloses nothing and is left out")
        return None
    return found


def line(data: object, where: str, notices: list[str]) -> Any:
    """A line of at least two points; empty, with a notice, otherwise."""
    found = positions(data, where)
    if len(found) < 2:
        notices.append(f"{where}: a line of fewer than two points is left out")
        return shapely.GeometryCollection()
    return shapely.LineString(found)
