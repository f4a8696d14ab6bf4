"""The fault server on the command line: ``python -m harvester.testing.lab --script faults.toml`` prints its URL."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tomllib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from harvester.errors import HarvesterError, UsageError
from harvester.testing import script as script_module
from harvester.testing.acts import ACTS
from harvester.testing.kinds import require_kinds
from harvester.testing.schemes import GRIDS
from harvester.testing.script import Script
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.testing.tickets import TicketOffice

MAX_SECONDS = 600.0
"""A forgotten server ends by itself."""

SITE_KEYS = (
    *("kind", "name", "format", "variant", "padding", "blank", "tilemap", "etags", "min_lod", "max_lod", "version"),
    *("copyright", "tile_servers"),
)
OFFICE_KEYS = (
    *("tokens", "username", "password", "refusal", "lifetime_seconds", "uses", "stand_ins", "stand_ins_stay"),
    *("open_document", "federated", "portal", "portal_tokens"),
)
"""Keys of the ``[service]`` table: fields of ArcGisSite and of TicketOffice (the service is then a secured one)."""

SERVICE_KEYS = ("grid", "absent_share", *SITE_KEYS, *OFFICE_KEYS)

_SERVICE_HELP = f"""
The service itself is one more table:

    [service]
    grid = "rio"                 # {", ".join(GRIDS)}
    format = "PNG"               # JPEG, MIXED
    tilemap = "on"               # off on short single invalid adjusted moved 422 error html
    absent_share = 0.1           # of all tiles, drawn by their addresses
    tokens = ["secret"]          # or username and password: then the service is secured
    refusal = "json"             # status html unauthorised
    uses = 50                    # a token that was sold ends after so many tiles ...
    stand_ins = 6                # ... and gets one and the same picture for so many more before it is refused
    federated = true             # the server takes tokens of its own only: its portal exchanges them

Other keys: {", ".join(SERVICE_KEYS)}.
"""


def site_from_toml(text: str) -> ArcGisSite:
    """The ``[service]`` table of a script as a site. Raises UsageError by key."""
    table: Mapping[str, Any] = tomllib.loads(text).get("service", {})
    annotations = {item.name: str(item.type) for cls in (ArcGisSite, TicketOffice) for item in fields(cls)}
    kinds = {"grid": "str", "absent_share": "float", **{key: annotations[key] for key in (*SITE_KEYS, *OFFICE_KEYS)}}
    require_kinds(table, kinds, "service", SERVICE_KEYS)
    grid = table.get("grid", "web-mercator")
    if grid not in GRIDS:
        raise UsageError(f"service: grid = {grid!r} is not known", hint=f"Known: {', '.join(GRIDS)}")
    values = {key: table[key] for key in SITE_KEYS if key in table}
    office: dict[str, Any] = {
        key: set(table[key]) if kinds[key] == "set[str]" else table[key] for key in OFFICE_KEYS if key in table
    }
    if "tile_servers" in values:
        values["tile_servers"] = tuple(values["tile_servers"])
    share = float(table.get("absent_share", 0.0))
    try:
        site = ArcGisSite(grid=GRIDS[grid], office=TicketOffice(**office) if office else None, **values)
    except ValueError as error:
        raise UsageError(f"service: {error}", hint="See --help.") from error
    if share:
        site.absent = lambda tile: zlib.crc32(str(tile).encode()) < share * 2**32
    return site


def _parser() -> argparse.ArgumentParser:
    acts = "\n".join(f"  {name:<18} {' '.join((act.__doc__ or '').split())}" for name, act in ACTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m harvester.testing.lab",
        description="A tile service on 127.0.0.1 that fails as its script says.",
        epilog=f"{script_module.__doc__}\nActs:\n{acts}\n{_SERVICE_HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--script", type=Path, help="TOML script; without one, nothing fails")
    parser.add_argument("--port", type=int, default=0, help="0: any free port (default)")
    parser.add_argument("--seed", type=int, help="instead of the script's")
    parser.add_argument("--max-seconds", type=float, default=MAX_SECONDS, help="ends by itself (default %(default)g)")
    parser.add_argument("--log", action="store_true", help="print each request and its answer to stderr at the end")
    return parser


async def _serve(service: FaultyService, seconds: float) -> None:
    async with service:
        sys.stdout.write(service.url + "\n")
        sys.stdout.flush()
        await asyncio.sleep(seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the time is up or Ctrl-C; gives the exit code."""
    options = _parser().parse_args(arguments)
    try:
        text = options.script.read_text("utf-8") if options.script else ""
        script = Script.from_toml(text)
        if options.seed is not None:
            script = Script(rules=script.rules, seed=options.seed, capacity=script.capacity, latency=script.latency)
        service = FaultyService(site_from_toml(text), script, port=options.port)
    except OSError as error:
        sys.stderr.write(f"{options.script}: {error.strerror}\n")
        return 2
    except UnicodeDecodeError as error:
        sys.stderr.write(f"{options.script}: not UTF-8: byte {error.start:,} is {error.object[error.start]:#04x}\n")
        sys.stderr.write("Save it as UTF-8.\n")
        return 2
    except HarvesterError as error:
        where = f"{options.script}: " if options.script else ""
        sys.stderr.write(f"{where}{error.message}\n{error.hint}\n")
        return error.exit_code
    try:
        asyncio.run(_serve(service, options.max_seconds))
    except KeyboardInterrupt:
        pass
    finally:
        if options.log:
            for asked in service.log:
                sys.stderr.write(f"{asked.serial} {asked.kind} {asked.tile or asked.path} -> {asked.answer}\n")
    return 0
