"""Points and boxes from one CRS to another: east first, nothing raises, poles and the antimeridian looked after."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from harvester.crs.lookup import known
from harvester.crs.record import MERCATOR_HALF_WIDTH, MERCATOR_MAX_LATITUDE, Crs
from harvester.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pyproj import Transformer

    Floats = NDArray[np.float64]

    Projector = Callable[[Floats, Floats], tuple[Floats, Floats]]
    """x and y (east and north, or longitude and latitude) to x and y; what cannot be projected is ``inf``."""

Bounds = TypeVar("Bounds", bound=tuple[float, float, float, float])
"""xmin, ymin, xmax, ymax: a plain tuple or any NamedTuple of the four."""

SAMPLES_PER_EDGE = 100
REFINEMENTS = 4
"""A box's projected edge bends; its extreme is searched by sampling, then by sampling again around the best, each time
50 times finer: to 1e-7 of the edge, and the error of the extreme is the square of that."""


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


def _as_crs(value: Crs | str) -> Crs:
    return value if isinstance(value, Crs) else Crs.from_user(value)


@lru_cache(maxsize=64)
def _transformer(source: Crs, target: Crs) -> Transformer:
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    try:
        return Transformer.from_crs(known(source), known(target), always_xy=True)
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
    degrees = source.is_geographic and known(source).axis_info[0].unit_name == "degree"

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
