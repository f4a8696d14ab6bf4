"""Items of a portal: their addresses, what the portal says of them, and which addresses in documents may be asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

from harvester.errors import SourceError, UsageError
from harvester.redact import redact_url
from harvester.sources.service_url import ServiceUrl, parse_typed_url
from harvester.transport.documents import Documents
from harvester.transport.origins import Origin, is_allowed, origin_of, same_site

if TYPE_CHECKING:
    from harvester.sources.asker import Asker

ITEM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

_ITEM_PATH = re.compile(r"(?i)^(.*?)/sharing(?:/rest)?/content/items/([^/]+)(?:/data)?/?$")

_PAGE_PATH = re.compile(r"(?i)^(.*?)/(?:home|apps)/.*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item of a portal: ``portal`` is the address that ``/sharing/rest`` comes after."""

    portal: ServiceUrl
    id: str

    def url(self, end: str = "") -> str:
        """The address of the item, or of its ``/data``."""
        return f"{self.portal}/sharing/rest/content/items/{self.id}{end}?f=json"


def item_in(source: str) -> Item | None:
    """The portal item that a typed address names (``item.html?id=``, ``?webmap=``, ``/content/items/ID``), or None.
    Raises UsageError for one that can't be an item's."""
    if "://" not in source:
        return None
    try:
        parts = urlsplit(source.strip())
    except ValueError:
        return None
    match, page = _ITEM_PATH.match(parts.path), _PAGE_PATH.match(parts.path)
    if match:
        root, name = match.group(1), match.group(2)
    elif page and "/rest/services/" not in parts.path:
        query = {key.lower(): value for key, value in parse_qsl(parts.query)}
        root, name = page.group(1), query.get("webmap") or query.get("id") or ""
    else:
        return None
    if not ITEM_ID.fullmatch(name):
        raise UsageError(f"{redact_url(source)} names no item", hint="An item's address ends in item.html?id=ID.")
    typed = parse_typed_url(source)
    return Item(portal=replace(typed, path=quote(root, safe="/%-._~")), id=name)


def distrust(address: str, typed: Origin | None, session: Documents) -> tuple[str, str] | None:
    """Why an address found in a document may not be asked, and what to do; None when it may.

    ``typed`` is where the document came from; None for a file, whose http(s) addresses are the person's own.
    """
    found = origin_of(address)
    if found is None:
        return f"{redact_url(address)[:200]} is no http(s) address", "Mend it in the web map."
    if typed is None or same_site(typed, found) or is_allowed(found, session.allow_hosts):
        return None
    return f"its service is on another host, {found}", f"Allow it if you trust it: --allow-host {found.place}"


async def portal_json(item: Item, end: str, asker: Asker) -> dict[str, Any]:
    """What a portal says of an item, or (``/data``) its content. Raises SourceError."""
    value, _, _ = await asker.get_json(item.portal, item.url(end))
    if not isinstance(value, dict):
        raise SourceError(f"{shown(item)} is no portal item")
    return value


def shown(item: Item) -> str:
    """The item's page, as a person would open it."""
    return f"{item.portal}/home/item.html?id={item.id}"
