"""Job, Policy, Limits, Auth: what a person asks for, frozen and validated; TOML in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_CONCURRENCY = 32
DEFAULT_RETRIES = 5
DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_GIVE_UP_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AoiFile:
    """One AOI file: path, layer (None: the only or first one), SQL ``where`` (None: all features)."""

    path: Path
    layer: str | None = None
    where: str | None = None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How hard a run may lean on the source, and when it ends by itself."""

    concurrency: int = DEFAULT_CONCURRENCY
    rate: float | None = None
    """Requests a second to the tile hosts, all kinds; None: as the servers bear."""
    retries: int = DEFAULT_RETRIES
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    max_tiles: int | None = None
    max_duration_seconds: float | None = None
    max_bytes: int | None = None
    give_up_after_seconds: float = DEFAULT_GIVE_UP_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Where credentials come from: names of environment variables, never the secrets themselves."""

    token_env: str | None = None
    username: str | None = None
    password_env: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that one run needs to know."""

    source: str = field(repr=False)
    """URL, web map file or template as typed; may hold ``token=``, so ``repr`` leaves it out."""
    output: Path | None = None
    format: str | None = None
    """None: by the output's suffix."""
    mode: str = "merge"
    dedup: bool = False
    hash: bool = False
    shard: tuple[int, int] | None = None
    """(I, N), I from 1."""
    report: Path | None = None
    policies: tuple[Policy, ...] = (Policy(),)
    limits: Limits = field(default_factory=Limits)
    auth: Auth = field(default_factory=Auth)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_bundle: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    allow_hosts: tuple[str, ...] = ()
    contact: str | None = None
    tilemap: bool = True
    """False distrusts the service's tilemap."""
    use_extent: bool = True
    """False: the service's fullExtent does not bound the plan."""
    placeholders: tuple[str, ...] = ()
    """xxh3-128 hex digests of bodies that mean "no data"."""

    @classmethod
    def from_file(cls, path: str | Path) -> Job:
        """Read a TOML job file; relative paths are relative to it. Raises UsageError with file, key and the nearest known key."""
        raise NotImplementedError
