"""``harvester scales``: the LODs of a service, or of each tiled layer of a web map."""

from __future__ import annotations

from typing import Any

import click

from harvester.cli.common import Common
from harvester.cli.frame import say, show, show_json, verb
from harvester.cli.options import build_job, source_options


@verb("scales", example="harvester scales https://gis.example.org/arcgis/rest/services/Streets/MapServer")
@click.argument("source", metavar="SOURCE")
@source_options
def command(common: Common, source: str, **options: Any) -> int:
    """List the LODs (scales) of a service; of each tiled layer, for a web map."""
    from harvester.assemble.sources import open_job_source
    from harvester.cli.tables import table
    from harvester.loop import run_loop
    from harvester.sources.describe import describe, describe_map

    job = build_job(source, options)

    async def work() -> tuple[str, bool, list[tuple[str, Any]], tuple[tuple[str, str], ...]]:
        opened = await open_job_source(job, may_be_empty=True)
        await opened.close()
        return (
            opened.source,
            opened.is_web_map,
            [(layer.name, layer.source.info) for layer in opened.layers],
            opened.left_out,
        )

    typed, is_web_map, layers, skipped = run_loop(work())
    if common.json:
        show_json(describe_map(typed, layers, skipped) if is_web_map else describe(layers[0][1]))
        return 0
    for name, info in layers:
        document = describe(info)
        tile = document["tile"]
        show(f"{name}  {document['crs']}  {tile['width']} x {tile['height']} px  {tile['format']}  ({info.source})")
        rows = [
            [lod["level"], lod["scale"], lod["resolution"], "-" if lod["zoom"] is None else str(lod["zoom"])]
            for lod in document["lods"]
        ]
        show(table(["LOD", "scale 1:", "resolution", "zoom"], rows))
        if info.min_lod is not None and info.max_lod is not None:
            show(f"tiles exist from LOD {info.min_lod} to {info.max_lod}")
        if info.attribution:
            show(f"attribution: {info.attribution}")
        show("")
        if not common.quiet:
            for notice in info.notices:
                say(f"note: {notice}")
    for name, reason in skipped:
        show(f"skipped  {name}: {reason}")
    return 0
