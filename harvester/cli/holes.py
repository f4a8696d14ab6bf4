"""``harvester holes``: failed and pending tiles as polygons, usable as the next AOI."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click

from harvester.cli.common import Common, or_stdout
from harvester.cli.frame import say, show, show_json, verb
from harvester.wording import counted


@verb(
    "holes",
    example=(
        "harvester holes streets.mbtiles -o holes.geojson\nharvester run SOURCE --aoi holes.geojson -o streets.mbtiles"
    ),
)
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path, readable=False))
@click.option(
    "-o",
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="HOLES.geojson",
    callback=or_stdout,
    help="The file to write; stdout without it.",
)
def command(common: Common, output: Path, target: Path | None) -> int:
    """Write failed and pending tiles as GeoJSON polygons with a level, usable as the next AOI.

    Of a plan beyond all measure, run with --max-tiles, the ledger lists what the budget came to: the rest has no
    polygon and is counted as "unlisted"."""
    from harvester.audited import Audited
    from harvester.durable import Disk
    from harvester.errors import CacheError
    from harvester.holes import holes
    from harvester.output import require_elsewhere

    if target is not None:
        require_elsewhere(target, "-o", output)
    with Audited(output) as audited:
        if audited.unlisted:
            hint = "The same harvester run lists it first; then its holes are known."
            raise CacheError(audited.unlisted, hint=hint, code="unlisted")
        reasons: dict[int, Counter[str]] = {}
        if audited.ledger is not None:
            for failure in audited.ledger.failures():
                reasons.setdefault(failure.tile.level, Counter())[failure.reason] += 1
        collection = holes(audited.blocks(), audited.scheme, {level: _reasons(seen) for level, seen in reasons.items()})
        unlisted = {} if audited.ledger is None else audited.ledger.meta("unlisted") or {}
        unproven = audited.unproven
    tiles = dict.fromkeys(("failed", "pending"), 0)
    for feature in collection["features"]:
        tiles[feature["properties"]["state"]] += feature["properties"]["tiles"]
    if unlisted:
        collection["unlisted"] = unlisted
    text = json.dumps(collection)
    if target is not None:
        Disk().write_named(target.absolute(), text.encode())
    if common.json:
        show_json(
            {
                "output": str(output), "file": None if target is None else str(target), **tiles,
                "unlisted": sum(unlisted.values()),
            }
        )  # fmt: skip
    elif target is None:
        show(text)
    if not common.quiet:
        where = f" -> {target}" if target is not None else ""
        say(f"{tiles['failed']:,} failed and {counted(tiles['pending'], 'pending tile')}{where}")
        if unlisted:
            say(
                f"note: without {counted(sum(unlisted.values()), 'more pending tile')} the ledger does not list yet "
                f"(LOD {', '.join(unlisted)}): the same harvester run goes on with them, these polygons don't"
            )
        if unproven:
            say(f"note: {unproven}; the same harvester run asks, these polygons don't name them")
    return 0


def _reasons(seen: Counter[str]) -> str:
    """The one reason of all tiles of a LOD, or each with its number, the commonest first."""
    if len(seen) == 1:
        return next(iter(seen))
    return ", ".join(f"{reason} ({number})" for reason, number in seen.most_common())
