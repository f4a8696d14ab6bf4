"""``harvester diff``: the tiles that differ, as a cache of their own."""

from __future__ import annotations

from pathlib import Path

import click

from harvester.cli.common import Common
from harvester.cli.convert import disk_of, finished
from harvester.cli.frame import say, show, show_json, verb
from harvester.wording import counted


@verb("diff", example="harvester diff january.mbtiles march.mbtiles -o january-to-march.mbtiles")
@click.argument("old", metavar="OLD", type=click.Path(path_type=Path, readable=False))
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path, readable=False))
@click.option(
    "-o", "--output", metavar="DELTA", required=True, help="What harvester apply takes; any format but pmtiles."
)
@click.option("--format", metavar="NAME", help="Its format, where the suffix doesn't say it.")
def command(common: Common, old: Path, new: Path, output: str, format: str | None) -> int:
    """Write the tiles in which NEW differs from OLD, and which are gone, as a cache that harvester apply brings OLD to
    NEW with. Exit 0 whether or not tiles differ. A delta that is there is replaced if it was made from the same OLD,
    else refused (exit 4)."""
    from harvester.cli.tables import size
    from harvester.delta.difference import diff

    found = finished(diff(old, new, output, format=format, disk=disk_of()))
    if common.json:
        show_json(found.to_dict())
    elif not common.quiet:
        if found.added or found.changed or found.deleted:
            show(
                f"{output}: {counted(found.added, 'tile')} added, {found.changed:,} changed ({size(found.size)}), "
                f"{found.deleted:,} deleted; {found.same:,} the same"
            )
        else:
            show(f"{output}: no tile differs; {found.same:,} the same")
    if not common.quiet:
        for notice in found.notices:
            say(f"note: {notice}")
    return 0
