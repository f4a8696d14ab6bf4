"""AOI files to geometry in the tiling scheme's CRS: read, repaired or refused, buffered in ground metres, densified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harvester.crs import Crs
from harvester.job import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """Where a policy applies, in the scheme's CRS: shapely Polygons or MultiPolygons, valid and not empty.

    ``geometry`` holds for every level, ``by_level`` for one level each (features with a ``level`` property).
    """

    geometry: Any | None
    by_level: Mapping[int, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def load_area(policy: Policy, crs: Crs, finest_resolution: float) -> Area | None:
    """The area of a policy in ``crs``; None where the policy names none (the service's full extent).

    Edges are straight in the AOI's own CRS, densified until they deviate less than 0.1 pixel at ``finest_resolution``
    (map units per pixel). Raises UsageError by file, layer and feature for whatever can't be used.
    """
    raise NotImplementedError
