"""A web map's vector tile layer by its style: the style says where the service is, and is what the package gets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harvester.errors import SourceError
from harvester.redact import redact_url
from harvester.sources.auth import Credentials
from harvester.sources.map_layers import MapLayer
from harvester.sources.portal_item import Item, distrust
from harvester.sources.service import open_service
from harvester.sources.service_url import parse_service_url
from harvester.sources.vector import VectorSource
from harvester.sources.vector_style import services_of
from harvester.transport.origins import same_site
from harvester.transport.refusals import DeniedError

if TYPE_CHECKING:
    from harvester.sources.arcgis import ArcGisSource
    from harvester.sources.asker import Asker


async def open_styled(layer: MapLayer, item: Item | None, asker: Asker) -> VectorSource | str:
    """The service that a layer's ``styleUrl`` draws, or the reason why it isn't taken. Raises SourceError."""
    home = item.portal.origin if item is not None else None
    reason = distrust(layer.style_url, home, asker.session)
    if reason is not None:
        return f"{reason[0]}: {reason[1]}"
    url = parse_service_url(layer.style_url)
    typed = item is not None and same_site(item.portal.origin, url.origin)
    url = replace(url, token=item.portal.token if item is not None and typed else None, basic=None)
    address = layer.style_url.partition("#")[0]
    address += "&f=json" if "?" in address else "?f=json"
    try:
        style, at = await asker.get_json_as(url, address, Credentials())
    except DeniedError:
        style, at, _ = await asker.get_json(url, address)
    services = [found for found in services_of(style, at) if "/vectortileserver" in found.lower()]
    if not services:
        return "its style draws no vector tile service"
    reason = distrust(services[0], home, asker.session)
    if reason is not None:
        return f"{reason[0]}: {reason[1]}"
    found = parse_service_url(services[0])
    here = item is not None and same_site(item.portal.origin, found.origin)
    found = replace(found, token=item.portal.token if item is not None and here else None, basic=None)
    source = await open_service(found, asker, anonymous_first=not here)
    if not isinstance(source, VectorSource):
        raise SourceError(f"{redact_url(services[0])} is no vector tile service", hint="Mend the style's sources.")
    source.style, source.style_url = style, at
    if len(services) > 1:
        more = ", ".join(redact_url(service) for service in services[1:])
        source.info = replace(
            source.info, notices=(*source.info.notices, f"its style also draws {more}, which is not taken")
        )
    return source


async def take_item_style(source: ArcGisSource, item: Item, asker: Asker) -> None:
    """Take the style that a portal's item of a vector tile service has of its own, if it has one that draws it."""
    if not isinstance(source, VectorSource):
        return
    try:
        style, at, _ = await asker.get_json(item.portal, item.url("/resources/styles/root.json"))
    except SourceError:
        return  # most items have none: the service's own counts
    if str(source.url).lower() in {found.partition("?")[0].rstrip("/").lower() for found in services_of(style, at)}:
        source.style, source.style_url = style, at
