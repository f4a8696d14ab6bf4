"""``harvester merge``: join caches of one tiling scheme."""

from __future__ import annotations

from pathlib import Path

import click

from harvester.cli.common import Common
from harvester.cli.convert import disk_of, finished, how_it_stands, show_summary, teller
from harvester.cli.counting import counting
from harvester.cli.frame import verb


@verb("merge", example="harvester merge state.mbtiles project.tpkx -o all.tpkx")
@click.argument("sources", metavar="A B ...", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option("-o", "--output", metavar="OUT", required=True, help="The joined cache; one that is there is added to.")
@click.option("--format", metavar="NAME", help="Its format, where the suffix doesn't say it.")
@click.option(
    "--mode",
    type=click.Choice(["merge", "overwrite"]),
    default="merge",
    help="merge adds to an OUT that is there; overwrite replaces it once the new one is complete.",
)
@click.option("--dedup", is_flag=True, help="MBTiles: store identical tiles once.")
@click.option("--hash", is_flag=True, help="MBTiles: agg_tiles_hash; this verb always writes it.")
def command(
    common: Common, sources: tuple[Path, ...], output: str, format: str | None, mode: str, dedup: bool, hash: bool
) -> int:
    """Join caches of one tiling scheme. Where several have a tile, the last one named counts; OUT's own counts
    least."""
    from harvester.delta.join import merge

    left = how_it_stands(output, format, mode)
    with counting(quiet=common.quiet) as step:
        work = merge(
            sources, output, format=format, overwrite=mode == "overwrite", dedup=dedup, disk=disk_of(),
            tell=teller(common), step=step,
        )  # fmt: skip
        summary = finished(work, lambda: left)
    return show_summary(common, summary)
