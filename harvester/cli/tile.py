"""``harvester tile``: one tile to stdout or a file, its headers and verdict on stderr."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harvester.cli.common import Common, or_stdout
from harvester.cli.frame import say, show_bytes, show_json, verb
from harvester.cli.options import build_job, source_options
from harvester.errors import AuthError, UsageError
from harvester.redact import redact_text
from harvester.tiling.tile import Tile

if TYPE_CHECKING:
    from harvester.edges import Answer, Request, Verdict
    from harvester.job import Job

SHOWN_HEADERS = (
    "content-type",
    "content-length",
    "etag",
    "last-modified",
    "cache-control",
    "blank-tile",
    "retry-after",
    "location",
)


@verb(
    "tile",
    example="harvester tile https://gis.example.org/arcgis/rest/services/Streets/MapServer 12/1546/856 > tile.png",
)
@click.argument("source", metavar="SOURCE")
@click.argument("address", metavar="LEVEL/ROW/COL")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    callback=or_stdout,
    help="Instead of stdout.",
)
@source_options
def command(common: Common, source: str, address: str, output: Path | None, **options: Any) -> int:
    """Fetch one tile of a source, or read one of a cache: bytes to stdout or a file, headers and verdict to stderr."""
    tile = parse_address(address)
    if "://" not in source and _is_cache(source):
        if output is not None:
            from harvester.output import require_elsewhere

            require_elsewhere(output, "-o", Path(source))
        body, document = _from_cache(Path(source), tile)
    else:
        body, document = _from_service(build_job(source, options), tile)
    if body is not None:
        if output is not None:
            from harvester.durable import Disk

            Disk().write_named(output.absolute(), body)
        elif not common.json:
            show_bytes(body)
    refused = document["verdict"] == "denied"
    if common.json and not refused:
        show_json(document)
    if not common.quiet:
        for name, value in document.pop("headers", {}).items():
            say(redact_text(f"{name}: {value}"))
        say(", ".join(f"{name} {value}" for name, value in document.items() if value not in (None, "")))
    if refused:
        raise AuthError(
            f"the source refused tile {tile} ({document['reason']})",
            hint="Check the credentials (--token-env, --username with --password-env) and that they may read it.",
        )
    return 0 if body is not None else 1


def parse_address(text: str) -> Tile:
    """``LEVEL/ROW/COL``. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,9})/(\d{1,12})/(\d{1,12})", text.strip(), re.ASCII)
    if found is None:
        raise UsageError(f"not a tile: {text!r:.60}", hint="Write LEVEL/ROW/COL (row before column): 12/1546/856.")
    return Tile(*(int(part) for part in found.groups()))


def _is_cache(path: str) -> bool:
    from harvester.caches.open import sniff

    return sniff(Path(path)) is not None


def _from_cache(path: Path, tile: Tile) -> tuple[bytes | None, dict[str, Any]]:
    from harvester.caches.open import open_cache

    with open_cache(path) as cache:
        body = cache.read(*tile)
    # Whether a tile that a cache lacks is absent, failed or pending is its ledger's to say: harvester why.
    return body, {"tile": str(tile), "verdict": "missing" if body is None else "whole", "bytes": len(body or b"")}


def _from_service(job: Job, tile: Tile) -> tuple[bytes | None, dict[str, Any]]:
    from harvester.assemble.sources import open_job_source, transport_for
    from harvester.edges import Outcome, what_came
    from harvester.loop import run_loop

    async def work() -> tuple[Request, Answer, Verdict]:
        opened = await open_job_source(job)
        try:
            if opened.is_web_map:
                raise UsageError(
                    f"{opened.source} is a web map", hint="Name one of its layers: harvester scales SOURCE lists them."
                )
            layer = opened.layers[0]
            if tile.level not in layer.source.info.scheme.by_level:
                levels = ", ".join(str(lod.level) for lod in layer.source.info.scheme.lods)
                raise UsageError(f"the service has no LOD {tile.level}", hint=f"Its LODs: {levels}.")
            asked = layer.source.request(tile, 0)
            todo = [asked]
            answers: list[Answer] = []
            transport = transport_for(job, layer)
            try:
                await transport.drain(
                    lambda: todo.pop() if todo else None, lambda request, answer: answers.append(answer)
                )
            finally:
                await transport.close()
            return asked, answers[0], layer.source.judge(asked, answers[0])
        finally:
            await opened.close()

    asked, answer, verdict = run_loop(work())
    headers = {name: answer.headers[name] for name in SHOWN_HEADERS if name in answer.headers}
    document = {
        "headers": headers,
        "tile": str(tile),
        "status": answer.status or None,
        "verdict": verdict.outcome.value,
        "reason": verdict.reason,
        "detail": what_came(asked, answer),
        "kind": verdict.kind,
        "bytes": len(answer.body),
        "seconds": round(answer.seconds, 3),
    }
    return (verdict.body if verdict.outcome is Outcome.WHOLE else None), document
