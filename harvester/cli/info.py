"""``harvester info``: what a cache holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harvester.cli.common import Common
from harvester.cli.frame import say, show, show_json, verb
from harvester.wording import counted

STAMP = "harvester_stamp"
"""The row in which an MBTiles keeps its own state; no news to a person."""

LISTED = ("json", "vector_layers")
"""Where formats keep the layers of vector tiles, which are told in words."""


@verb("info", example="harvester info streets.tpkx")
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path, readable=False))
def command(common: Common, output: Path) -> int:
    """Show what a cache holds: format, tiling scheme, tiles per LOD (in its own levels and the source's),
    attribution."""
    from harvester.audited import Audited

    with Audited(output) as audited:
        document = describe_cache(output, audited)
        layers = audited.reader.info.vector_layers if audited.reader is not None else ()
        unmade = audited.unmade
    if unmade and not common.quiet:
        say(f"note: {unmade}; this is its work folder")
    if common.json:
        show_json(document)
        return 0
    from harvester.cli.tables import size, table

    tile = document["tile"]
    show(
        f"{document['path']}: {document['format']}, {document['crs']}, "
        f"{tile['width']} x {tile['height']} px {tile['format']}"
    )
    rows = [
        [lod["level"], "-" if lod["source_level"] is None else str(lod["source_level"]),
         "-" if lod["zoom"] is None else str(lod["zoom"]), lod["scale"], lod["tiles"], lod["hash"] or "-"]
        for lod in document["lods"]
    ]  # fmt: skip
    show(table(["level", "source's", "zoom", "scale 1:", "tiles", "hash"], rows))
    show(f"{counted(document['tiles'], 'tile')}, {size(document['bytes'])}")
    for name in ("name", "source", "attribution"):
        if document[name]:
            show(f"{name}: {document[name]}")
    for policy in document["policies"]:
        show(f"policy: {policy}")
    if layers:
        from harvester.caches.vector_layers import in_words

        show(f"layers: {in_words(layers)}")
    for name, value in document["details"].items():
        if value and name not in ("name", "attribution"):
            show(f"{name}: {value}")
    return 0


def describe_cache(output: Path, audited: Any) -> dict[str, Any]:
    """What ``info --json`` says."""
    from harvester.caches.counted import manifest_of
    from harvester.caches.placed import place_levels
    from harvester.caches.vector_layers import render_layers
    from harvester.manifest import KEY

    reader, ledger = audited.reader, audited.ledger
    if reader is None:
        from harvester.errors import CacheError

        raise CacheError(
            f"{output} holds no tile yet", hint="Its ledger is there: harvester verify, holes.", code="missing"
        )
    info = reader.info
    hidden = {STAMP, KEY, *(LISTED if info.vector_layers else ())}
    placed = audited.placed
    manifest = manifest_of(reader)
    held = {lod.level: lod for lod in manifest.lods} if manifest is not None else {}
    # A copy has no ledger; its manifest knows the source's own numbers as well.
    stated = manifest.scheme if manifest is not None else None
    ours = {} if stated is None else {at.level: level for level, at in place_levels(stated, info.scheme).items()}
    lods = []
    for level in reader.levels():
        lod = info.scheme.by_level.get(level)
        google = info.scheme.google(level) if lod is not None else None
        lods.append(
            {
                "level": level,
                "source_level": placed.level_here(level) if ledger is not None else ours.get(level),
                "zoom": google.zoom if google is not None else None,
                "scale": lod.scale if lod is not None else None,
                "resolution": lod.resolution if lod is not None else None,
                "tiles": sum(int(reader.present(key).sum()) for key in reader.blocks(level)),
                "hash": held[level].hash if level in held else None,
            }
        )
    return {
        "path": str(output),
        "format": info.format,
        "name": info.name,
        "source": (ledger.meta("source") if ledger is not None else None) or (manifest.source if manifest else None),
        "crs": str(info.scheme.crs),
        "tile": {"width": info.scheme.tile_width, "height": info.scheme.tile_height, "format": info.tile_format.value},
        "origin": [info.scheme.origin_x, info.scheme.origin_y],
        "extent": list(info.extent) if info.extent is not None else None,
        "attribution": info.attribution,
        "tiles": sum(lod["tiles"] for lod in lods),
        "bytes": _bytes_of(output),
        "lods": lods,
        "policies": list(manifest.policies) if manifest is not None else [],
        "vector_layers": render_layers(info.vector_layers),
        "details": {name: value for name, value in info.details.items() if name not in hidden},
    }


def _bytes_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0
