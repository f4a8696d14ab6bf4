"""``harvester verify``: is every planned tile there and sound?"""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from harvester.cli.common import Common
from harvester.cli.frame import say, show, show_json, verb

SHOWN = 10
"""Damages that a person reads before the rest is only counted."""


REPLACE = "Replace it: harvester run ... --mode overwrite; or restore it from a copy."


@verb("verify", example="harvester verify streets.mbtiles --deep")
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path, readable=False))
@click.option("--deep", is_flag=True, help="Decode every tile.")
def command(common: Common, output: Path, deep: bool) -> int:
    """Check a cache against its ledger: every planned tile there (exit 1 if not), every byte sound (exit 4 if not)."""
    from harvester.audit import verify
    from harvester.caches.belongings import is_replaceable
    from harvester.errors import CacheError

    try:
        finding = verify(output, deep=deep)
    except CacheError as error:
        if common.json and error.code not in ("missing", "locked"):
            # A cache that can't even be opened is a finding too.
            show_json(
                {
                    "output": str(output), "complete": False, "sound": False, "planned": 0, "present": 0, "absent": 0,
                    "missing": 0, "damaged": 1, "damages": [{"where": str(output), "what": error.message}],
                }
            )  # fmt: skip
            say(f"error: {error.message}")
            if error.hint:
                say(error.hint)
            return 4
        raise
    if common.json:
        show_json(finding.to_dict())
    else:
        state = "whole" if finding.exit_code == 0 else "DAMAGED" if not finding.sound else "INCOMPLETE"
        show(
            f"{state}: {finding.planned:,} planned, {finding.present:,} present, {finding.absent:,} absent, "
            f"{finding.missing:,} missing, {finding.damaged:,} damaged"
        )
    if not common.quiet:
        for notice in finding.notices:
            say(f"note: {notice}")
        for damage in finding.damages[:SHOWN]:
            say(f"damaged  {damage.where}: {damage.what}")
        more = finding.damaged_tiles + finding.other_damages - SHOWN
        if more > 0:
            say(f"... and {more:,} more (--json lists up to 1,000)")
        if finding.applying:
            again = shlex.join(["harvester", "apply", finding.applying, finding.output])  # a stranger wrote the name
            say(f"an apply was interrupted: run `{again}` again")
        elif not finding.sound:
            replaced = is_replaceable(Path(finding.output))
            say(REPLACE if replaced else "Restore it from a copy; it holds more than a cache, and is not replaced.")
        elif finding.unlisted:
            say(f"{finding.unlisted}; the same harvester run lists it first")
        elif finding.unproven:
            say(f"{finding.unproven}; the same harvester run asks for some, and for all where one is there")
        elif finding.unmade:
            say(f"{finding.unmade}; the same harvester run makes it without fetching a tile")
        elif not finding.complete:
            say("The same harvester run goes on with what is missing; harvester holes shows where it is.")
    return finding.exit_code
