"""``harvester apply``: bring OLD to NEW."""

from __future__ import annotations

from pathlib import Path

import click

from harvester.cli.common import Common
from harvester.cli.convert import BESIDE, disk_of, finished
from harvester.cli.frame import say, show, show_json, verb
from harvester.wording import counted

HALF = "OUT is half applied, neither OLD nor NEW; the same command completes it."


def how_it_stands(output: Path) -> str:
    """What a stop left: a cache half way between OLD and NEW, or one that was not touched."""
    from harvester.delta.application import half_applied

    return HALF if half_applied(output) else BESIDE


@verb("apply", example="harvester apply january-to-march.mbtiles streets.mbtiles")
@click.argument("delta", metavar="DELTA", type=click.Path(path_type=Path, readable=False))
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path, readable=False))
def command(common: Common, delta: Path, output: Path) -> int:
    """Bring OUT, which holds the tiles of OLD, to those of NEW. Killed half way, the same command completes it; any
    other cache is refused (exit 4)."""
    from harvester.delta.application import apply

    done = finished(apply(delta, output, disk=disk_of()), lambda: how_it_stands(output))
    if common.json:
        show_json(done.to_dict())
    elif not common.quiet:
        if done.was_there:
            show(f"{output} is already there: nothing was changed")
        else:
            before = f"; {done.already:,} were so already" if done.already else ""
            show(f"{output}: {counted(done.stored, 'tile')} stored, {done.deleted:,} deleted{before}")
    if not common.quiet:
        for notice in done.notices:
            say(f"note: {notice}")
    return 0
