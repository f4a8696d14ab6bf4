"""One rule of a job: these LODs inside this AOI; frozen, validated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from harvester.errors import UsageError
from harvester.job_text import (
    check_bbox,
    check_level_range,
    check_scale,
)
from harvester.wording import plain_number

MAX_ZOOM = 1000
MAX_BUFFER_METRES = 5_000_000.0
"""An eighth of the way round the world: beyond it "grow the AOI" is a unit mistaken."""

SCALE_TOLERANCE = 1e-3
"""Scales are matched within 0.1 %, so a range is backwards only beyond that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AoiFile:
    """One AOI file: path, layer (None: the only or first one), SQL ``where`` (None: all features)."""

    path: Path
    layer: str | None = None
    where: str | None = None

    @classmethod
    def from_text(cls, text: str, base: Path | None = None) -> AoiFile:
        """Read ``FILE[:LAYER]``; the text after the last colon is a layer only if the part before it exists as a file.

        Relative paths are relative to ``base`` (None: the current folder).
        """
        whole = Path(text) if base is None else base / text
        head, colon, layer = text.rpartition(":")
        if colon and head and not whole.exists():
            file = Path(head) if base is None else base / head
            if file.exists():
                return cls(path=file, layer=layer or None)
        return cls(path=whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One rule: these LODs inside this AOI. At most one kind of LOD selection is set; none means all LODs; no AOI means
    the service's full extent."""

    lods: tuple[tuple[int, int], ...] | None = None
    """Inclusive ranges of the service's level numbers; a single level is (n, n)."""
    scales: tuple[float, ...] | None = None
    min_scale: float | None = None
    """The larger denominator: zoomed out."""
    max_scale: float | None = None
    min_zoom: int | None = None
    max_zoom: int | None = None
    aoi: tuple[AoiFile, ...] = ()
    geometry: object | None = None
    """A shapely geometry, GeoJSON-like mapping or ``__geo_interface__`` object in WGS 84, from Python only."""
    bbox: tuple[float, float, float, float] | None = None
    """W, S, E, N in WGS 84 degrees; W > E crosses the antimeridian."""
    buffer_metres: float | None = None

    def __post_init__(self) -> None:
        kinds = {
            "lods": self.lods is not None,
            "scales": self.scales is not None,
            "min_scale, max_scale": self.min_scale is not None or self.max_scale is not None,
            "min_zoom, max_zoom": self.min_zoom is not None or self.max_zoom is not None,
        }
        chosen = [name for name, is_set in kinds.items() if is_set]
        if len(chosen) > 1:
            raise UsageError(
                f"{' and '.join(chosen)} select LODs in two ways", hint="Keep one; further policies take further rules."
            )
        areas = {"aoi": bool(self.aoi), "geometry": self.geometry is not None, "bbox": self.bbox is not None}
        placed = [name for name, is_set in areas.items() if is_set]
        if len(placed) > 1:
            raise UsageError(f"{' and '.join(placed)} both say where", hint="Keep one; further policies take others.")
        self._check_lods()
        self._check_scales()
        if self.bbox is not None:
            check_bbox(self.bbox)
        if self.buffer_metres is not None:
            if not math.isfinite(self.buffer_metres) or abs(self.buffer_metres) > MAX_BUFFER_METRES:
                raise UsageError(
                    f"buffer: {self.buffer_metres!r} metres is out of range",
                    hint=f"Give metres on the ground, up to {MAX_BUFFER_METRES:,.0f}.",
                )
            if self.buffer_metres < 0:
                raise UsageError(
                    f"buffer: {self.buffer_metres:g} metres would shrink the AOI; a buffer only grows it",
                    hint="Give metres above 0, or shrink the polygons themselves before.",
                )
            if self.buffer_metres != 0 and not placed:
                raise UsageError("buffer: there is no AOI to grow", hint="Add aoi or bbox, or leave the buffer out.")

    def _check_lods(self) -> None:
        if self.lods is not None:
            if not self.lods:
                raise UsageError("lods: an empty list selects nothing", hint="Leave it out for all LODs.")
            for first, last in self.lods:
                check_level_range(first, last)
        for name, zoom in (("min_zoom", self.min_zoom), ("max_zoom", self.max_zoom)):
            if zoom is not None and not 0 <= zoom <= MAX_ZOOM:
                raise UsageError(
                    f"{name}: {zoom} is out of range 0-{MAX_ZOOM}",
                    hint="Give a level number of the service: harvester scales SOURCE lists them.",
                )
        if self.min_zoom is not None and self.max_zoom is not None and self.min_zoom > self.max_zoom:
            raise UsageError(
                f"min_zoom {self.min_zoom} is above max_zoom {self.max_zoom}",
                hint=f"Did you mean min_zoom {self.max_zoom}, max_zoom {self.min_zoom}?",
            )

    def _check_scales(self) -> None:
        if self.scales is not None and not self.scales:
            raise UsageError("scales: an empty list selects nothing", hint="Leave it out for all LODs.")
        for scale in (*(self.scales or ()), self.min_scale, self.max_scale):
            if scale is not None:
                check_scale(scale)
        if self.min_scale is None or self.max_scale is None:
            return
        if self.min_scale < self.max_scale * (1 - SCALE_TOLERANCE):
            raise UsageError(
                f"min_scale {plain_number(self.min_scale)} is below max_scale {plain_number(self.max_scale)}: "
                "min_scale is the larger denominator, zoomed out",
                hint=f"Did you mean min_scale {plain_number(self.max_scale)}, "
                f"max_scale {plain_number(self.min_scale)}?",
            )
