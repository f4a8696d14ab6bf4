# ruff: noqa: T201  (a script talks on stdout)
"""Caches every tiled layer of a web map: reads its scales, chooses them by policy, exports it as a tile package.

    python cache_my_maps.py WEBMAP TARGET --policy 591657528:1155581 --policy 577791:4513:project.geojson

WEBMAP is a web map (JSON file or portal item) or the address of one service. A policy is COARSEST:FINEST[:AREA]: the
scales between two denominators, inside an area (a feature class or an AOI file; without one, everywhere). The packages
are TARGET/<layer>/<service>.tpk; the same command again fetches only what is missing. Vector tile layers
are named and left out: ``harvester run`` exports them as .vtpk.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import harvester

TOLERANCE = 1e-3
"""Scales are the same within 0.1 %: 577790.554289 is often written 577791."""


VECTOR = "arcgis-vector"
"""The kind of a service whose tiles are no pictures."""


class Policy(NamedTuple):
    """The scales from the coarsest to the finest (denominators), inside an area; None: everywhere."""

    coarsest: float
    finest: float
    area: str | None


def read_policy(text: str) -> Policy:
    """COARSEST:FINEST[:AREA]."""
    parts = text.split(":", 2)
    try:
        coarsest, finest = (float(part) for part in parts[:2])
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not COARSEST:FINEST[:AREA]") from None
    return Policy(max(coarsest, finest), min(coarsest, finest), parts[2] if len(parts) > 2 else None)


def layers_of(source: str, token_env: str | None) -> list[dict[str, Any]]:
    """The tiled layers of a web map, or the one service, as ``harvester scales --json`` describes them."""
    command = [sys.executable, "-m", "harvester", "scales", source, "--json"]
    if token_env is not None:
        command += ["--token-env", token_env]
    found = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    if found.returncode != 0:
        raise SystemExit(found.returncode)  # harvester has said why, on stderr
    document = json.loads(found.stdout)
    for skipped in document.get("skipped", ()):
        print(f"skipped {skipped['name']}: {skipped['reason']}")
    layers: list[dict[str, Any]] = document.get("layers", [document])
    for layer in layers:
        if layer["kind"] == VECTOR:
            print(
                f"skipped {layer['name']}: vector tiles go into no .tpk; harvester run {layer['source']} -o FILE.vtpk"
            )
    return [layer for layer in layers if layer["kind"] != VECTOR]


def scales_for(layer: dict[str, Any], policy: Policy) -> list[float]:
    """The layer's own scales that a policy asks for."""
    return [
        lod["scale"]
        for lod in layer["lods"]
        if policy.finest * (1 - TOLERANCE) <= lod["scale"] <= policy.coarsest * (1 + TOLERANCE)
    ]


def folders_for(layers: list[dict[str, Any]]) -> list[str]:
    """A folder name for each layer, no two of them the same on any file system."""
    names: list[str] = []
    for layer in layers:
        name = plain = re.sub(r"[^\w -]+", "_", layer["name"]).strip() or "layer"
        number = 1
        while name.casefold() in {other.casefold() for other in names}:
            number += 1
            name = f"{plain}-{number}"
        names.append(name)
    return names


def main(arguments: list[str] | None = None) -> int:
    """Export every layer; gives the highest of the exit codes. A policy that no layer has a scale for is refused before
    anything is fetched."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("webmap")
    parser.add_argument("target", type=Path)
    parser.add_argument("--policy", type=read_policy, action="append", required=True, metavar="COARSEST:FINEST[:AREA]")
    parser.add_argument("--storage-format-type", choices=["COMPACT", "COMPACT_V2"], default="COMPACT")
    parser.add_argument("--instances", type=int, default=-1, help="at most so many requests in flight")
    parser.add_argument("--token-env", metavar="NAME", help="environment variable that holds a token")
    options = parser.parse_args(arguments)
    worst = 0
    layers = layers_of(options.webmap, options.token_env)
    if not layers:
        print("error: there is no layer of pictures to export", file=sys.stderr)
        return 3
    for policy in options.policy:
        if not any(scales_for(layer, policy) for layer in layers):
            shown = f"{policy.coarsest:.10g}:{policy.finest:.10g}"
            print(f"error: no layer has a scale in {shown}; harvester scales lists them", file=sys.stderr)
            return 2
    for layer, folder in zip(layers, folders_for(layers), strict=True):
        if not any(scales_for(layer, policy) for policy in options.policy):
            print(f"skipped {layer['name']}: none of its scales is in a policy")
        for policy in options.policy:
            scales = scales_for(layer, policy)
            if not scales:
                continue
            print(f"{layer['name']}: {len(scales)} scales in {policy.area or 'its full extent'}")
            try:
                package = harvester.export_map_server_cache(
                    layer["source"],
                    options.target / folder,
                    "TILE_PACKAGE",
                    "COPY_DATA",
                    options.storage_format_type,
                    scales,
                    options.instances,
                    policy.area,
                    "",
                    "MERGE",
                    token_env=options.token_env,
                )
            except harvester.HarvesterError as error:
                print(f"{layer['name']}: {error.message}\n{error.hint}", file=sys.stderr)
                worst = max(worst, error.exit_code)
            else:
                print(f"{layer['name']}: {package}")
    return worst


if __name__ == "__main__":
    sys.exit(main())
