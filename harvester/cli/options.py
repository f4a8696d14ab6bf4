"""The options that select tiles and steer a run, and the Job made of them and of a job file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from harvester.cli.common import Common, or_json
from harvester.errors import UsageError
from harvester.job import AoiFile, Job, Policy
from harvester.job_text import (
    parse_bbox,
    parse_bytes,
    parse_duration,
    parse_header,
    parse_lods,
    parse_scale,
    parse_scales,
    parse_shard,
)

F = TypeVar("F", bound=Callable[..., Any])

SELECTION = {
    "aoi": "--aoi", "aoi_layer": "--aoi-layer", "aoi_where": "--aoi-where", "bbox": "--bbox", "buffer": "--buffer",
    "lods": "--lods", "scales": "--scales", "min_scale": "--min-scale", "max_scale": "--max-scale",
    "min_zoom": "--min-zoom", "max_zoom": "--max-zoom",
}  # fmt: skip
"""Options that say which tiles; a job file has its own."""


def _stack(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


choosing_options = _stack(
    click.option(
        "--aoi",
        multiple=True,
        metavar="FILE[:LAYER]",
        help="Polygons: GeoJSON, Esri JSON, Shapefile, GeoPackage, KML, FlatGeobuf, WKT; any CRS; repeatable.",
    ),
    click.option("--aoi-layer", metavar="NAME", help="Layer of the AOI file."),
    click.option("--aoi-where", metavar="SQL", help="Only features for which this holds: \"state = 'CO'\"."),
    click.option("--bbox", metavar="W,S,E,N", help="Longitude/latitude box, WGS 84; W > E crosses the antimeridian."),
    click.option("--buffer", type=float, metavar="METRES", help="Grow the AOI, in metres on the ground."),
    click.option("--lods", "--levels", "lods", metavar="0-12,14", help="LODs by the service's level numbers."),
    click.option("--scales", metavar='"S1;S2"', help="LODs by scale denominator."),
    click.option("--min-scale", metavar="N", help="Largest denominator (zoomed out)."),
    click.option("--max-scale", metavar="N", help="Smallest denominator (zoomed in)."),
    click.option("--min-zoom", "--minzoom", "min_zoom", type=int, metavar="N", help="First level."),
    click.option("--max-zoom", "--maxzoom", "max_zoom", type=int, metavar="N", help="Last level."),
)
"""Which LODs, and where."""

selection_options = _stack(
    choosing_options,
    click.option("--no-extent", is_flag=True, default=None, help="The service's full extent does not bound the plan."),
    click.option("--shard", metavar="I/N", help="This part of the plan only; each shard has an output of its own."),
)

source_options = _stack(
    click.option("--header", multiple=True, metavar='"K: V"', help="Sent to the source's tile hosts only; repeatable."),
    click.option("--token-env", metavar="NAME", help="Environment variable that holds an ArcGIS token."),
    click.option("--username", metavar="NAME", help="Login that a token is generated from (with --password-env)."),
    click.option("--password-env", metavar="NAME", help="Environment variable that holds the password."),
    click.option("--ca-bundle", type=click.Path(path_type=Path), metavar="FILE", help="Certificates to trust (PEM)."),
    click.option("--proxy", metavar="URL", help="HTTP proxy; HTTPS_PROXY and NO_PROXY are honoured without it."),
    click.option(
        "--allow-host",
        multiple=True,
        metavar="HOST",
        help="Another host that documents may point to; as a tile server it gets the token and headers.",
    ),
    click.option("--contact", metavar="TEXT", help="Contact for the operators, in the User-Agent."),
    click.option("--timeout", metavar="S", help="Seconds for one request, in total.  [30]"),
)

limit_options = _stack(
    click.option("--concurrency", type=int, metavar="N", help="The most requests in flight.  [32]"),
    click.option("--rate", type=float, metavar="N", help="The most requests a second."),
    click.option("--retries", type=int, metavar="N", help="Tries after the first, for one tile's own faults.  [5]"),
    click.option("--give-up-after", metavar="D", help="No tile ended for that long: stop.  [15m]"),
    click.option("--max-tiles", type=int, metavar="N", help="Budget of tiles; also lifts the limit of 10,000,000."),
    click.option("--max-duration", metavar="D", help="Budget of time: 2h, 30m."),
    click.option("--max-bytes", metavar="SIZE", help="Budget of bytes: 10GB."),
    click.option(
        "--placeholder",
        multiple=True,
        metavar="HASH",
        help="A body (xxh3-128, as the report tells) that means no data.",
    ),
    click.option(
        "--tilemap", type=click.Choice(["auto", "off"]), default=None, help="off distrusts the service's tilemap."
    ),
)

output_options = _stack(
    click.option(
        "-o",
        "--output",
        type=str,
        metavar="PATH",
        help="The cache; its format by suffix (.mbtiles .gpkg .pmtiles .tpk .tpkx .vtpk), a folder is compactv2.",
    ),
    click.option("--format", metavar="NAME", help="The cache's format, where the suffix doesn't say it."),
    click.option(
        "--mode",
        type=click.Choice(["merge", "overwrite"]),
        default=None,
        help="merge keeps tiles that are there; overwrite replaces the cache once the new one is complete.",
    ),
    click.option("--dedup", is_flag=True, default=None, help="MBTiles: store identical tiles once."),
    click.option("--hash", is_flag=True, default=None, help="MBTiles: write agg_tiles_hash at the end."),
    click.option(
        "--report",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        callback=or_json,
        help="The report, as JSON; - is --json.",
    ),
)


def build_job(target: str, options: dict[str, Any]) -> Job:
    """The job of a job file with overriding options, or of a source with options. Raises UsageError."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if not str(given.get("output", "out")).strip():
        raise UsageError("-o is empty", hint="Name the cache; was a variable of the script not set?")
    if _is_job_file(target):
        clash = [text for name, text in SELECTION.items() if name in given]
        if clash:
            raise UsageError(
                f"{clash[0]} cannot go with a job file: {target} says which tiles",
                hint="Write it into a [[policy]] of the job file, or name the source instead of the file.",
            )
        job = Job.from_file(target)
    else:
        with _as_typed():
            job = Job(source=target, policies=(_policy(given),))
    with _as_typed():
        job = job.with_options(**_overrides(given))
    _keep_log_from([*job.files, *([job.report] if job.report is not None else [])])
    return job


def chosen_part(options: dict[str, Any]) -> Policy | None:
    """What the options of ``choosing_options`` choose; None where none is given. Raises UsageError."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if not given:
        return None
    with _as_typed():
        policy = _policy(given)
    _keep_log_from([area.path for area in policy.aoi])
    return policy


def _keep_log_from(files: Iterable[Path]) -> None:
    """The log is written over none of these. Raises UsageError."""
    context = click.get_current_context(silent=True)
    common = context.find_object(Common) if context is not None else None
    if common is not None:
        common.keep_log_from_read(files)


def _is_job_file(target: str) -> bool:
    if not target.lower().endswith(".toml") or "://" in target:
        return False
    if not Path(target).is_file():
        raise UsageError(f"job file {target} does not exist", hint="Check the path.")
    return True


def _policy(given: dict[str, Any]) -> Policy:
    if "aoi" in given and "bbox" in given:
        raise UsageError("--bbox cannot go with --aoi", hint="Use one of the two.")
    for name in ("aoi_layer", "aoi_where"):
        if name in given and "aoi" not in given:
            raise UsageError(f"{SELECTION[name]} needs --aoi", hint="Name the AOI file: --aoi FILE")
    # A shell expands ~ by itself; cmd.exe doesn't, nor any shell inside quotes.
    at_home = ("~/", "~\\")
    typed = [str(Path(text).expanduser()) if text.startswith(at_home) else text for text in given.get("aoi", ())]
    files = [AoiFile.from_text(text) for text in typed]
    if "aoi_layer" in given or "aoi_where" in given:
        files = [
            replace(file, layer=given.get("aoi_layer", file.layer), where=given.get("aoi_where", file.where))
            for file in files
        ]
    return Policy(
        lods=_read(given, "lods", parse_lods),
        scales=_read(given, "scales", parse_scales),
        min_scale=_read(given, "min_scale", parse_scale),
        max_scale=_read(given, "max_scale", parse_scale),
        min_zoom=given.get("min_zoom"),
        max_zoom=given.get("max_zoom"),
        aoi=tuple(files),
        bbox=_read(given, "bbox", parse_bbox),
        buffer_metres=given.get("buffer"),
    )


FIELDS = {
    **SELECTION, "token_env": "--token-env", "password_env": "--password-env", "username": "--username",
    "max_tiles": "--max-tiles", "ca_bundle": "--ca-bundle", "concurrency": "--concurrency", "rate": "--rate",
    "retries": "--retries", "format": "--format", "mode": "--mode", "proxy": "--proxy", "contact": "--contact",
    "timeout": "--timeout", "max_duration": "--max-duration", "max_bytes": "--max-bytes", "report": "--report",
    "give_up_after": "--give-up-after", "placeholders": "--placeholder", "shard": "--shard", "output": "--output",
}  # fmt: skip
"""Keys of a job file and the options that mean the same."""

WORDS = frozenset({"buffer", "rate", "retries", "format", "mode", "timeout", "report", "shard", "output", "contact"})
"""Of these, the ones that are words of a sentence too: keys only where a message begins with them and a colon."""


def as_typed(text: str) -> str:
    """What an error says of a job's keys, said of the options: ``min_zoom 3`` becomes ``--min-zoom 3``."""
    keys = "|".join(key for key in FIELDS if key not in WORDS)
    pattern = rf"(?<![-\w./'\"])(?:({keys})(?![\w.'\"])|(?<!.)({'|'.join(WORDS)})(?=:))"
    told = re.sub(pattern, lambda found: FIELDS[found[0]], text)
    return re.sub(r'(--[a-z-]+) = "(\w+)"', r"\1 \2", told)


@contextmanager
def _as_typed() -> Iterator[None]:
    """Errors about a job's fields speak of the options that were typed."""
    try:
        yield
    except UsageError as error:
        raise UsageError(as_typed(error.message), hint=as_typed(error.hint), code=error.code) from error


def _read(given: dict[str, Any], name: str, parse: Callable[[str], Any]) -> Any:
    """The value of an option given as text, None where it isn't given; its errors begin with the option's name."""
    if name not in given:
        return None
    try:
        return parse(given[name])
    except UsageError as error:
        raise UsageError(f"--{name.replace('_', '-')}: {error.message}", hint=error.hint, code=error.code) from error


PARSED: dict[str, tuple[str, Callable[[str], Any]]] = {
    "shard": ("shard", parse_shard),
    "timeout": ("timeout_seconds", parse_duration),
    "give_up_after": ("give_up_after_seconds", parse_duration),
    "max_duration": ("max_duration_seconds", parse_duration),
    "max_bytes": ("max_bytes", parse_bytes),
}
"""Options given as text: the job's field and what reads it."""

PLAIN = (
    "output", "format", "mode", "dedup", "hash", "report", "ca_bundle", "proxy", "contact", "token_env", "username",
    "password_env", "concurrency", "rate", "retries", "max_tiles",
)  # fmt: skip
"""Options that are a job's field as they are."""


def _overrides(given: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {name: given[name] for name in PLAIN if name in given}
    if "format" in given:
        changes["format"] = given["format"].strip().lower()
    for name, (field, parse) in PARSED.items():
        if name in given:
            changes[field] = _read(given, name, parse)
    if "allow_host" in given:
        changes["allow_hosts"] = given["allow_host"]
    if "placeholder" in given:
        changes["placeholders"] = given["placeholder"]
    if "header" in given:
        changes["headers"] = dict(parse_header(text) for text in given["header"])
    if "tilemap" in given:
        changes["tilemap"] = given["tilemap"] == "auto"
    if "no_extent" in given:
        changes["use_extent"] = False
    return changes
