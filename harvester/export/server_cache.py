"""arcpy.server.ExportMapServerCache over REST: its parameters in its order, as a harvest.

Parameters, values and defaults: Esri's tool reference, "Export Map Server Cache (Server)". Two things differ by nature:
tiles are copied whole, so that those at the rim of an area reach beyond it where Esri clips pixels; and a tile that is
in the target already is kept (MERGE) or replaced (OVERWRITE), never blended with the new one pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harvester.errors import HarvesterError, UnsupportedFormatError, UsageError
from harvester.events import Event, Notice
from harvester.export.arguments import (
    Extent,
    extent_geometry,
    is_default,
    read_area,
    read_extent,
    read_instances,
    read_scales,
    read_service,
    read_word,
    seems_degrees,
)
from harvester.export.own_words import CALL, own_words, told
from harvester.job import MAX_CONCURRENCY, Job, Policy
from harvester.wording import counted

if TYPE_CHECKING:
    from harvester.report import Report, WebMapReport

CACHE_TYPES = ("CACHE_DATASET", "TILE_PACKAGE")
COPYING = ("COPY_DATA", "DO_NOT_COPY")
STORAGE_FORMATS = ("COMPACT", "COMPACT_V2", "EXPLODED")
OVERWRITING = ("OVERWRITE", "MERGE")
SERVING = ("READY_TO_SERVE_FORMAT", "NON_READY_TO_SERVE_FORMAT")

DATASETS = {"COMPACT": "compact", "COMPACT_V2": "compactv2", "EXPLODED": "exploded"}
PACKAGES = {"COMPACT": "tpk", "COMPACT_V2": "tpkx"}

PARAMETERS = (
    "input_service", "target_cache_path", "export_cache_type", "copy_data_from_server", "storage_format_type", "scales",
    "num_of_caching_service_instances", "area_of_interest", "export_extent", "overwrite", "ready_to_serve_format",
)  # fmt: skip
"""Their names in their order, as arcpy has them; the last one only in its newest versions."""

MAP_NAME = "Layers"
"""The folder of a cache dataset inside the service's own, as ArcGIS Server names it."""

OWN = frozenset({"source", "output", "format", "mode"})
"""Fields of a Job that the tool's own parameters set."""


class IncompleteExportError(HarvesterError):
    """The export ended before its last tile; ``report`` says what is missing. The same call goes on with just that."""

    code = "incomplete"

    def __init__(self, report: Report) -> None:
        counts = report.counts
        missing = f"{counted(counts.failed, 'tile')} failed, {counts.pending:,} pending: {report.output}"
        if report.stop is None:
            super().__init__(missing, hint="The same call again fetches what is missing.")
        else:
            why = told(report.stop.message, CALL)
            message = f"{why}: {report.output}" if counts.failed == counts.pending == 0 else f"{why}; {missing}"
            super().__init__(message, hint=told(report.stop.hint, CALL), code=report.stop.code)
        self.report = report
        self.exit_code = report.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerExport:
    """The parameters, read and found to fit together; ``job_for`` makes the Job once the service is known."""

    service: str
    target: Path
    format: str
    mode: str
    policy: Policy
    extent: Extent | None
    concurrency: int | None
    notices: tuple[str, ...]

    @classmethod
    def read(
        cls,
        input_service: object,
        target_cache_path: object,
        export_cache_type: object = None,
        copy_data_from_server: object = None,
        storage_format_type: object = None,
        scales: object = None,
        num_of_caching_service_instances: object = None,
        area_of_interest: object = None,
        export_extent: object = None,
        overwrite: object = None,
        ready_to_serve_format: object = None,
    ) -> ServerExport:
        """Read arcpy's arguments. Raises UsageError that begins with the parameter's name."""
        service = read_service(input_service)
        if is_default(target_cache_path):
            raise UsageError("target_cache_path: nothing is named", hint="Name the folder for the cache.")
        target = Path(str(target_cache_path))
        if target.is_file():
            raise UsageError(f"target_cache_path: {target} is a file", hint="Name the folder for the cache.")
        cache_type = read_word("export_cache_type", export_cache_type, CACHE_TYPES, "CACHE_DATASET")
        storage = read_word("storage_format_type", storage_format_type, STORAGE_FORMATS, "COMPACT")
        if cache_type == "TILE_PACKAGE" and storage not in PACKAGES:
            raise UsageError(
                f"storage_format_type: {storage} cannot be packed into a tile package",
                hint="COMPACT gives a .tpk, COMPACT_V2 a .tpkx; CACHE_DATASET takes EXPLODED.",
            )
        notices: list[str] = []
        copying = read_word("copy_data_from_server", copy_data_from_server, COPYING, "DO_NOT_COPY", switch="COPY_DATA")
        if copying == "DO_NOT_COPY" and not is_default(copy_data_from_server):
            notices.append("DO_NOT_COPY: tiles are copied through this machine all the same; the server writes nothing")
        serving = read_word("ready_to_serve_format", ready_to_serve_format, SERVING, SERVING[1], switch=SERVING[0])
        if serving == SERVING[0]:
            notices += _ready_to_serve(cache_type, storage)
        mode = read_word("overwrite", overwrite, OVERWRITING, "MERGE", switch="OVERWRITE").lower()
        instances = read_instances(num_of_caching_service_instances)
        extent = read_extent(export_extent)
        policy = read_area(area_of_interest, read_scales(scales))
        if extent is not None and (policy.aoi or policy.geometry is not None):
            notices.append("export_extent is ignored: the area of interest takes its place")
            extent = None
        return cls(
            service=service,
            target=target,
            format=(PACKAGES if cache_type == "TILE_PACKAGE" else DATASETS)[storage],
            mode=mode,
            policy=policy,
            extent=extent,
            concurrency=None if instances is None else min(instances, MAX_CONCURRENCY),
            notices=tuple(notices),
        )

    def output(self, name: str) -> Path:
        """Where the cache of a service called ``name`` goes: a package, or the folder of a cache dataset."""
        from harvester.durable import safe_name

        if self.format in PACKAGES.values():
            return self.target / f"{safe_name(name)}.{self.format}"
        return self.target / safe_name(name) / MAP_NAME

    async def job_for(self, base: Job, tell: Callable[[str], None]) -> Job:
        """The job, after a look at the service: its name, and the CRS that the extent is in. ``base`` has the service
        as its source, and limits, credentials and the like; ``tell`` takes notices. Raises UsageError,
        UnsupportedFormatError, SourceError, AuthError."""
        from harvester.assemble.sources import open_job_source
        from harvester.caches.recognising import sniff_here
        from harvester.durable import safe_name
        from harvester.edges import TileFormat

        opened = await open_job_source(base, may_be_empty=True)
        await opened.close()
        if opened.is_web_map:
            raise UsageError(
                f"input_service: {opened.source} is a web map, not a service",
                hint=f'Export its layers one by one, or harvest them all: harvester run "{opened.source}" -o FOLDER',
            )
        info = opened.layers[0].source.info
        if info.tile_format is TileFormat.PBF:
            raise UnsupportedFormatError(
                f"input_service: {opened.source} is a vector tile service; an export holds pictures",
                hint="Harvest it as a vector tile package: "
                f"harvester run {opened.source} -o {safe_name(info.name)}.vtpk",
            )
        policy = self.policy
        if self.extent is not None:
            policy = replace(policy, geometry=self._extent_in(info.scheme.crs))
            if self.extent.reference is None and not info.scheme.crs.is_geographic and seems_degrees(self.extent.box):
                shown = " ".join(f"{number:.10g}" for number in self.extent.box)
                tell(
                    f"export_extent: {shown} is taken in the service's CRS ({info.scheme.crs}); if these are degrees, "
                    f'say so: "{shown} EPSG:4326"'
                )
        output = self.output(info.name)
        if self.mode == "overwrite" and sniff_here(output) is not None:
            tell(
                f"OVERWRITE: {output} is replaced as a whole, with its tiles of other scales and outside of the area; "
                "MERGE keeps them"
            )
        return replace(base, output=output, format=self.format, mode=self.mode, policies=(policy,))

    def _extent_in(self, service: Any) -> dict[str, Any]:
        from harvester.crs import Crs

        assert self.extent is not None
        reference = self.extent.reference
        try:
            if reference is None:
                crs = service
            elif isinstance(reference, str):
                crs = Crs.from_user(reference)
            else:
                crs = Crs.from_service(reference, "spatialReference")
        except HarvesterError as error:
            raise UsageError(f"export_extent: {error.message}", hint=error.hint or "Leave its CRS out.") from error
        return extent_geometry(self.extent.box, crs.spatial_reference(), degrees=crs.is_geographic)


def _ready_to_serve(cache_type: str, storage: str) -> tuple[str, ...]:
    """Notices. Raises UsageError: the only form of the open tile package specification that is written is a .tpkx."""
    if cache_type == "TILE_PACKAGE" and storage == "COMPACT_V2":
        return ("READY_TO_SERVE_FORMAT: a .tpkx is always in that format",)
    raise UsageError(
        "ready_to_serve_format: READY_TO_SERVE_FORMAT as a folder cannot be written",
        hint="TILE_PACKAGE as export_cache_type with storage_format_type COMPACT_V2 gives the same content as a .tpkx, "
        "a zip archive by the open tile package specification: unpack it where a folder is wanted. "
        "A CACHE_DATASET of COMPACT_V2 has its tiling scheme as conf.xml and as root.json.",
    )


def export_map_server_cache(
    input_service: str,
    target_cache_path: Any,
    export_cache_type: str | None = "CACHE_DATASET",
    copy_data_from_server: str | bool | None = "DO_NOT_COPY",
    storage_format_type: str | None = "COMPACT",
    scales: Any = None,
    num_of_caching_service_instances: int | str | None = -1,
    area_of_interest: Any = None,
    export_extent: Any = None,
    overwrite: str | bool | None = "MERGE",
    ready_to_serve_format: str | bool | None = "NON_READY_TO_SERVE_FORMAT",
    *,
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> str:
    """Export a service's tiles as arcpy.server.ExportMapServerCache does; gives the path of what was written.

    Values in any case of letters; None, ``#`` and "" mean the default, as in arcpy.

    ``input_service``: the service's address (``https://…/MapServer``); connection files are refused.
    ``target_cache_path``: the folder to write into, made where it is missing: ``<target>/<service>.tpk`` (TILE_PACKAGE,
    COMPACT), ``.tpkx`` (COMPACT_V2), or ``<target>/<service>/Layers/`` (CACHE_DATASET). EXPLODED cannot be packed.
    ``copy_data_from_server``: tiles always come through this machine; both values do the same.
    ``scales``: denominators, as "4000;2000" or a list; without them, all LODs.
    ``num_of_caching_service_instances``: at most so many requests in flight; -1: harvester's own choice.
    ``area_of_interest``: a feature class or AOI file, a FeatureSet (object, JSON text, mapping), or a
    geometry (shapely's and ``__geo_interface__`` in WGS 84).
    ``export_extent``: "xmin ymin xmax ymax" in the service's CRS, or a feature class or AOI file, whose extent counts;
    ignored where there is an area of interest.
    ``overwrite``: MERGE keeps tiles that are there already; OVERWRITE replaces the whole cache once the new one is
    complete. Pixels are neither clipped at the area's edge nor blended: tiles are copied whole.
    ``ready_to_serve_format`` (the newest versions of the tool have it): NON_READY_TO_SERVE_FORMAT; a cache by the open
    tile package specification is what TILE_PACKAGE with COMPACT_V2 gives, and as a folder READY_TO_SERVE_FORMAT is
    refused, with this remedy.

    ``options`` are those of ``Job.with_options`` (``token_env``, ``headers``, ``rate``, ``max_tiles`` ...);
    ``on_event`` gets each Event. Raises IncompleteExportError, which carries the report, when tiles are missing at the
    end, and other HarvesterErrors for what ends it earlier.
    """
    from harvester.api import blocking

    export = ServerExport.read(
        input_service, target_cache_path, export_cache_type, copy_data_from_server, storage_format_type, scales,
        num_of_caching_service_instances, area_of_interest, export_extent, overwrite, ready_to_serve_format,
    )  # fmt: skip
    emit = on_event or (lambda event: None)
    if taken := OWN & options.keys():
        raise TypeError(f"not an option of an export: {', '.join(sorted(taken))}")
    base = Job(source=export.service).with_options(**{"concurrency": export.concurrency, **options})

    async def work() -> Report | WebMapReport:
        from harvester.assemble.run import harvest_job

        for text in export.notices:
            emit(Notice(text=text))
        job = await export.job_for(base, lambda text: emit(Notice(text=text)))
        try:
            return await harvest_job(job, emit=emit)
        except UsageError as error:
            if error.code != "plan_too_large":
                raise
            hint = "If that is meant, allow it: max_tiles=N, as a keyword."
            raise UsageError(error.message, hint=hint, code=error.code) from error

    with own_words(CALL):
        report: Any = blocking(work())
    if report.exit_code != 0:
        raise IncompleteExportError(report)
    return str(report.output)
