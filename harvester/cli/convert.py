"""``harvester convert``: any cache to any other format that can hold it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import click

from harvester.cli.common import Common
from harvester.cli.counting import counting
from harvester.cli.frame import say, show, show_json, verb
from harvester.cli.options import choosing_options, chosen_part
from harvester.cli.run import stopping_on_signals
from harvester.wording import counted

T = TypeVar("T")

SHOWN = 10
"""Damaged tiles that a person reads before the rest is only counted."""


@verb("convert", example="harvester convert streets.tpkx streets.mbtiles --dedup")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path, readable=False))
@click.argument("output", metavar="OUT", type=str)
@click.option("--format", metavar="NAME", help="The new cache's format, where the suffix doesn't say it.")
@click.option(
    "--mode",
    type=click.Choice(["merge", "overwrite"]),
    default="merge",
    help="merge keeps tiles that OUT has already; overwrite replaces OUT once the new one is complete.",
)
@click.option("--dedup", is_flag=True, help="MBTiles: store identical tiles once.")
@click.option("--hash", is_flag=True, help="MBTiles: agg_tiles_hash; this verb always writes it.")
@choosing_options
def command(
    common: Common, source: Path, output: str, format: str | None, mode: str, dedup: bool, hash: bool, **part: Any
) -> int:
    """Write every tile of a cache, byte for byte, into a cache of another format that can hold it; or only those that
    a run with the same selection would plan."""
    from harvester.delta.join import convert

    chosen = chosen_part(part)
    left = how_it_stands(output, format, mode)
    with counting(quiet=common.quiet) as step:
        work = convert(
            source, output, format=format, overwrite=mode == "overwrite", dedup=dedup, disk=disk_of(), part=chosen,
            tell=teller(common), step=step,
        )  # fmt: skip
        summary = finished(work, lambda: left)
    return show_summary(common, summary)


BESIDE = "The same command begins again; no half cache was left."
ADDED = "The same command goes on; the tiles that were added stay in OUT, each of them whole."


def finished(work: Coroutine[Any, Any, T], left: Callable[[], str] = lambda: BESIDE) -> T:
    """Run a verb's work to its end; a signal stops it in order, and what was made beside the output goes.

    ``left`` says after a stop how things stand.
    """
    # Closed, whatever comes: a signal may come while modules are imported, when the work has not begun.
    with closing(work):
        from harvester.engine import StopSwitch
        from harvester.errors import StoppedError
        from harvester.loop import run_loop

        switch = StopSwitch()

        async def stoppable() -> T:
            with stopping_on_signals(switch, say):
                return await work

        try:
            return run_loop(stoppable())
        except asyncio.CancelledError:
            if switch.reason is None:
                raise
            raise StoppedError(switch.reason.message, hint=left(), exit_code=switch.reason.exit_code) from None


def how_it_stands(output: str, format: str | None, mode: str) -> str:
    """What a stop leaves of a copy that is about to begin."""
    from harvester.caches.open import FORMATS, format_for, is_empty_or_missing

    in_place = mode == "merge" and not is_empty_or_missing(Path(output))
    return ADDED if in_place and not FORMATS[format_for(output, format)].sealed else BESIDE


def disk_of() -> Any:
    """File operations; a crash test counts them and dies at the one that HARVESTER_CRASH_AT names."""
    import os

    from harvester.durable import Disk

    if "HARVESTER_CRASH_AT" in os.environ:
        from harvester.testing.crash import crashing_disk

        return crashing_disk()
    return Disk()


def teller(common: Common) -> Callable[[str], None]:
    """Tells a notice at once, unless nobody wants to hear any."""
    return lambda text: None if common.quiet else say(f"note: {text}")


def show_summary(common: Common, summary: Any) -> int:
    """Tell what a copy did; gives the exit code."""
    from harvester.cli.tables import size, table

    code: int = summary.exit_code
    if common.json:
        show_json(summary.to_dict())
    elif not common.quiet:
        rows = [[level, tiles, size(count)] for level, (tiles, count) in summary.lods.items()]
        show(table(["level", "tiles", "bytes"], rows))
        parts = [f"{counted(summary.tiles, 'tile')} written ({size(summary.size)})"]
        if summary.kept:
            parts.append(f"{summary.kept:,} were there already")
        if summary.dedup_saved is not None:
            parts.append(f"identical tiles stored once save {size(summary.dedup_saved)}")
        show(f"{summary.output}: {summary.format}, {'; '.join(parts)}")
        if len(summary.sources) > 1 and summary.collisions:
            differing = summary.collisions - summary.identical
            show(
                f"in several caches: {counted(summary.collisions, 'tile')}; {summary.identical:,} identical, "
                f"of {differing:,} the last cache's was taken"
            )
    if not common.quiet:
        for notice in summary.notices[summary.told :]:
            say(f"note: {notice}")
    for damage in summary.damages[:SHOWN]:
        say(f"damaged  {damage['source']} {damage['level']}/{damage['row']}/{damage['col']}: {damage['reason']}")
    if summary.damaged > SHOWN:
        say(f"... and {summary.damaged - SHOWN:,} more (--json lists up to 1,000)")
    if summary.damaged:
        lost = counted(summary.damaged, "damaged tile")
        say(f"INCOMPLETE: {lost} not copied; a run of the job that made the cache fetches them")
    return code
