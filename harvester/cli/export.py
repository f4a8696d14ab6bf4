"""``harvester export``: Esri's ExportMapServerCache, parameter for parameter."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from harvester.cli.common import Common
from harvester.cli.frame import show, show_json, verb
from harvester.cli.options import build_job, limit_options, source_options
from harvester.errors import StoppedError


@verb(
    "export",
    example=(
        "harvester export https://gis.example.org/arcgis/rest/services/Streets/MapServer packages \\\n"
        "    --export-cache-type TILE_PACKAGE --storage-format-type COMPACT_V2 --scales 72223.819286;36111.909643 \\\n"
        "    --area-of-interest project.gdb/boundary"
    ).replace("72223.819286;36111.909643", '"72223.819286;36111.909643"'),
    opens_late=True,
)
@click.argument("input_service", metavar="SERVICE")
@click.argument("target_cache_path", metavar="TARGET")
@click.option("--export-cache-type", metavar="TYPE", help="CACHE_DATASET or TILE_PACKAGE.  [CACHE_DATASET]")
@click.option(
    "--copy-data-from-server",
    metavar="HOW",
    help="COPY_DATA or DO_NOT_COPY: tiles come through this machine either way.",
)
@click.option(
    "--storage-format-type",
    metavar="FORMAT",
    help="COMPACT (a package is a .tpk), COMPACT_V2 (.tpkx) or EXPLODED (no package).  [COMPACT]",
)
@click.option("--scales", metavar='"S1;S2"', help="Scale denominators; without them, all LODs.")
@click.option(
    "--num-of-caching-service-instances", metavar="N", help="At most N requests in flight; -1 leaves it open.  [-1]"
)
@click.option("--area-of-interest", metavar="AREA", help="A feature class, an AOI file, or a FeatureSet as JSON.")
@click.option(
    "--export-extent",
    metavar='"XMIN YMIN XMAX YMAX"',
    help="In the service's CRS; or a layer, whose extent counts. An area of interest takes its place.",
)
@click.option(
    "--overwrite",
    metavar="HOW",
    help="MERGE keeps tiles that are there; OVERWRITE replaces the cache once the new one is complete.  [MERGE]",
)
@click.option(
    "--ready-to-serve-format",
    metavar="HOW",
    help="NON_READY_TO_SERVE_FORMAT; a package of COMPACT_V2 is READY_TO_SERVE_FORMAT always.",
)
@limit_options
@source_options
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The report, as JSON.")
@click.option(
    "--progress",
    type=click.Choice(["bar", "json", "none"]),
    default=None,
    help="bar on a terminal; json: a line a second on stderr, notices and summary too.",
)
def command(common: Common, progress: str | None, **options: Any) -> int:
    """Export a service's tiles into TARGET as a tile package or a cache dataset; the same command again resumes.

    Tiles are copied whole: they are neither clipped at the area's edge nor blended with those in TARGET.
    """
    from harvester.cli.progress import reporter
    from harvester.cli.run import shown, stopping_on_signals
    from harvester.engine import StopSwitch
    from harvester.events import Notice
    from harvester.export.own_words import COMMAND, own_words
    from harvester.export.server_cache import PARAMETERS, ServerExport
    from harvester.loop import run_loop

    from harvester.assemble.run import harvest_job  # isort: skip

    export = ServerExport.read(**{name: options.pop(name) for name in PARAMETERS})
    if options["concurrency"] is None:
        options["concurrency"] = export.concurrency
    base = build_job(export.service, options)
    switch = StopSwitch()
    with reporter(progress, quiet=common.quiet, json=common.json) as emit:
        for text in export.notices:
            emit(Notice(text=text))

        async def work() -> Any:
            with stopping_on_signals(switch, lambda text: emit(Notice(text=text))):
                job = await export.job_for(base, lambda text: emit(Notice(text=text)))
                common.keep_log_from_read(job.files)
                return await harvest_job(job, emit=emit, switch=switch, command=shown(common.arguments))

        try:
            with own_words(COMMAND):
                report = run_loop(work())
        except asyncio.CancelledError:
            if switch.reason is None:
                raise
            raise StoppedError(
                switch.reason.message, hint="Nothing was fetched yet.", exit_code=switch.reason.exit_code
            ) from None
    if common.json:
        show_json(report.to_dict())
    elif report.exit_code == 0:
        show(report.output)
    code: int = report.exit_code
    return code
