"""What end-to-end tests claim again and again: what a cache holds, how a run without fixtures is started, what a folder
holds after it."""

from __future__ import annotations

import io
import zipfile
import zlib
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import harvester
from harvester.caches.open import is_empty_or_missing
from harvester.cli.frame import run
from harvester.cli.main import VERBS
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite
from harvester.tiling.tile import Tile
from tests.e2e.conftest import Result

SMALL = ("--lods", "0-3")
"""The world on the Google grid: 85 tiles."""

TILES = 85

HASTY = ("--timeout", "20", "--retries", "1", "--json", "-q")
"""One document on stdout, one more try; more time for a request than the busiest machine takes for a good one."""

STALLS = ("--timeout", "4")
"""After ``HASTY``, where a silent server has to be waited for."""

PATIENT = ("--timeout", "20", "--retries", "0")
"""After ``HASTY``: no fault but the scripted ones, and no tries for them."""


def held(path: Path) -> dict[Tile, bytes]:
    """Every tile that can be read under the final name; nothing where there is no cache yet."""
    if is_empty_or_missing(path):
        return {}
    with harvester.open_cache(path) as cache:
        return {
            tile: body for level in cache.levels() for key in cache.blocks(level) for tile, body in cache.tiles(key)
        }


def poisoned(path: Path, site: ArcGisSite) -> set[Tile]:
    """Tiles of a cache that are not what the service's whole answer holds."""
    return {tile for tile, body in held(path).items() if body != site.body(tile)}


def failures(report: Any) -> dict[str, str]:
    """Failed tiles of a report, by address, with the reason."""
    return {f"{one['level']}/{one['row']}/{one['col']}": one["reason"] for one in report["failures"]}


def sums_hold(report: Any) -> bool:
    """``planned = stored + unchanged + absent + failed + pending``, in all and in each LOD."""
    return all(
        row["planned"] == row["stored"] + row["unchanged"] + row["absent"] + row["failed"] + row["pending"]
        for row in (report, *report["lods"])
    )


def command(*arguments: object) -> Result:
    """The command line in this process, for fixtures that live longer than one test."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run([str(argument) for argument in arguments], VERBS)
    return Result(code, out.getvalue(), err.getvalue())


def script(*rules: Rule, **settings: Any) -> Script:
    """A script of these rules."""
    return Script(rules=rules, **settings)


def files(folder: Path) -> set[str]:
    """Names in a folder."""
    return {path.name for path in folder.iterdir()}


def everything_in(folder: Path) -> bytes:
    """All bytes of all files below a folder, packages unpacked, SQLite's as they stand (none of it is compressed)."""
    parts: list[bytes] = []
    for path in sorted(folder.rglob("*")):
        parts.append(path.name.encode())
        if not path.is_file():
            continue
        data = path.read_bytes()
        parts.append(data)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as package:
                parts += [package.read(name) for name in package.namelist()]
    return b"\n".join(parts) + b"".join(map(_inflated, parts))


def _inflated(data: bytes) -> bytes:
    """What zlib streams inside hold (compressed columns of the ledger)."""
    found = b""
    start = 0
    while (at := data.find(b"\x78", start)) >= 0 and len(found) < 1 << 24:
        start = at + 1
        if data[at + 1 : at + 2] in (b"\x01", b"\x5e", b"\x9c", b"\xda"):
            with suppress(zlib.error):
                found += zlib.decompressobj().decompress(data[at:], 1 << 20)
    return found
