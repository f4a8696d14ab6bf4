"""What a person typed as a source, opened: a service, a portal item or a web map."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from harvester.errors import SourceError, UsageError
from harvester.redact import redact_url
from harvester.sources.arcgis import ArcGisSource
from harvester.sources.asker import Asker, Options
from harvester.sources.service import Opened, OpenedLayer, open_service
from harvester.sources.service_url import ServiceUrl, parse_typed_url
from harvester.transport.documents import Documents
from harvester.wording import counted

__all__ = ["Opened", "OpenedLayer", "Options", "open_services", "open_source", "parse_typed"]

_DRIVE = re.compile(r"[A-Za-z]:[\\/](?!/)")
"""A path of Windows, such as a connection of ArcGIS (``C:/x/server.ags/Streets.MapServer``); no host is so short."""

MAP_WORDS = ("/sharing/", "/home/", "/apps/")
"""What an address of a portal item has in it; without any of these, what reads web maps isn't even imported."""


async def open_services(source: str, session: Documents, options: Options | None = None) -> Opened:
    """Open a service, a portal item or a web map. Raises SourceError (AuthError for credentials); UsageError where
    ``source`` can be none of these."""
    asker = Asker.of(session, options)
    if "://" not in source or any(word in source.lower() for word in MAP_WORDS):
        from harvester.sources import typed_path, webmap
        from harvester.sources.portal_item import item_in

        if typed_path.is_path(source):
            await asyncio.to_thread(typed_path.require_no_other, Path(source))
        if webmap.is_file(source):
            return await webmap.open_file(Path(source), asker)
        item = item_in(source)
        if item is not None:
            return await webmap.open_item(item, asker)
    opened = await open_service(parse_typed(source), asker)
    return Opened(source=opened.info.source, layers=(OpenedLayer(name=opened.info.name, source=opened),))


async def open_source(source: str, session: Documents, options: Options | None = None) -> ArcGisSource:
    """Open one tiled service. Raises SourceError; also for a web map of several layers, naming them."""
    opened = await open_services(source, session, options)
    if len(opened.layers) == 1:
        return opened.layers[0].source
    if not opened.layers:
        raise SourceError(
            f"{opened.source} has no tiled layer", hint="; ".join(": ".join(pair) for pair in opened.skipped)
        )
    names = ", ".join(f"{layer.name} ({layer.source.info.source})" for layer in opened.layers)
    raise SourceError(
        f"{opened.source} is a web map of {counted(len(opened.layers), 'tiled layer')}",
        hint=f"Name one of them: {names}",
    )


def parse_typed(source: str) -> ServiceUrl:
    """The address of a service. For what looks like something else an error says what it looks like: UsageError where
    no address and no file could be meant, SourceError for a file that is not there."""
    text = source.strip()
    if "{z}" in text.lower() or "{level}" in text.lower():
        raise UsageError(
            f"{redact_url(text)} is a tile template, which can't be harvested yet",
            hint="Give the address of an ArcGIS service: …/MapServer, …/ImageServer or …/VectorTileServer.",
        )
    if "://" not in text and text.lower().endswith((".json", ".mapx", ".aprx", ".lyrx")):
        raise SourceError(
            f"{text} is not there", hint="Give the path of a web map's JSON file, or the address of a service."
        )
    if (text and not any(mark in text for mark in "/.:\\")) or _DRIVE.match(text):
        raise UsageError(
            f"{redact_url(text)} is neither a file here nor an address",
            hint="Name a job file (JOB.toml), the JSON file of a web map, or the address of a service "
            "(https://HOST/arcgis/rest/services/NAME/MapServer).",
        )
    from harvester.sources.typed_path import require_no_file_meant

    require_no_file_meant(text)
    return parse_typed_url(text)
