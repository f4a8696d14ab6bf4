"""The documents of a package that is added to: ours are written anew, of others' only what the tiles changed.

A package's description changes in its extent, its attribution and, where its identifier was made of the content, in
that. Whatever else its documents say, a person or ArcGIS wrote: titles, tags, summaries, layers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from harvester.caches import conf, root_json, tpk_documents, vtpk_documents
from harvester.caches.description import Description
from harvester.caches.json_text import with_values
from harvester.caches.kept import Kept
from harvester.caches.package_seal import degrees
from harvester.caches.restated import (
    at,
    attribution,
    grown,
    grown_object,
    is_grown,
    put,
    restate_extents,
    restate_texts,
)
from harvester.caches.tpk_documents import Kind
from harvester.caches.vector_layers import joined_layers, parse_layers
from harvester.caches.xml_patch import Path, escaped, with_contents
from harvester.edges import VectorLayer
from harvester.errors import CacheError

PKINFO, ITEMINFO = "esriinfo/item.pkinfo", "esriinfo/iteminfo.xml"

_OF_CONTENT = re.compile(r"\{?[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-5[0-9A-Fa-f]{3}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\}?")
"""Identifiers made of a hash (version 5), as ours are; ArcGIS makes them at random."""


def _guid(old: str, new: str) -> str:
    """The identifier that a package has from now on."""
    return new if _OF_CONTENT.fullmatch(old.strip()) else old


def restate_iteminfo(
    data: bytes, old: Description, about: Description, guid: str, render: Callable[[Description, str], bytes]
) -> bytes:
    """iteminfo.json. Raises CacheError where it is no JSON object."""
    where = "iteminfo.json"
    item = root_json.load(data, where)
    own = at(item, "guid")
    if isinstance(own, str) and render(old, own) == data:
        return render(about, _guid(own, guid))
    if isinstance(own, str):
        put(item, "guid", _guid(own, guid))
    stated = str(at(item, "accessInformation") or "")
    if (words := attribution(stated, old, about)) != stated:
        put(item, "accessInformation", words)
    if is_grown(old, about):
        put(item, "extent", grown_object(at(item, "extent"), degrees(about)))
    return with_values(data, item, where)


def restate_item_xml(
    data: bytes, old: Description, about: Description, guid: str, render: Callable[[Description, str], bytes]
) -> bytes:
    """iteminfo.xml. Raises CacheError where it is no plain XML."""
    where = "iteminfo.xml"
    texts = conf.parse_texts(data, where, ("guid", "accessinformation"))
    own = _guid(texts["guid"], guid)
    if texts["guid"] and render(old, texts["guid"]) == data:
        return render(about, own)
    changes: dict[Path, str] = {("guid",): escaped(own)} if own != texts["guid"] else {}
    if (words := attribution(texts["accessinformation"], old, about)) != texts["accessinformation"]:
        changes["accessinformation",] = escaped(words)
    if is_grown(old, about):
        box = grown(degrees(old), degrees(about))._asdict()
        changes |= {("extent", name): format(value, ".15g") for name, value in box.items()}
    return with_contents(data, changes, where)


def restate_pkinfo(
    data: bytes, old: Description, about: Description, guid: str, render: Callable[[Description, str], bytes]
) -> bytes:
    """item.pkinfo. Raises CacheError where it is no plain XML."""
    where = "item.pkinfo"
    stated = conf.parse_texts(data, where, ("ID",))["ID"]
    own = _guid(stated, guid)
    if stated and render(old, stated) == data:
        return render(about, own)
    return with_contents(data, {("ID",): escaped(own)} if own != stated else {}, where)


def restate_mapserver(
    data: bytes, old: Description, about: Description, render: Callable[[Description], bytes]
) -> bytes:
    """mapserver.json. Raises CacheError where it is no JSON object."""
    where = "mapserver.json"
    if render(old) == data:
        return render(about)
    document = root_json.load(data, where)
    contents, info = at(document, "contents"), at(document, "resourceInfo")
    if isinstance(contents, dict):
        restate_texts(contents, old, about)
        restate_extents(contents, old, about)
    if isinstance(info, dict) and is_grown(old, about):
        put(info, "geoFullExtent", grown_object(at(info, "geoFullExtent"), degrees(about)))
    return with_values(data, document, where)


def restate_metadata(data: bytes, layers: Iterable[VectorLayer]) -> bytes:
    """metadata.json of vector tiles with these layers. Raises CacheError where it is no JSON object."""
    where = "metadata.json"
    document = root_json.load(data, where)
    stated = at(document, "vector_layers")
    if vtpk_documents.render_metadata(parse_layers(stated)) == data:
        return vtpk_documents.render_metadata(layers)
    rendered = root_json.load(vtpk_documents.render_metadata(layers), where)
    put(document, "vector_layers", joined_layers(stated, rendered["vector_layers"]))
    return with_values(data, document, where)


def restate_resources(data: bytes, names: Iterable[str]) -> bytes:
    """resources/info/root.json: the list of resources. Raises CacheError."""
    where = "resources/info/root.json"
    document = root_json.load(data, where)
    listed = at(document, "resourceInfo")
    ours = vtpk_documents.render_resources(names)
    if not isinstance(listed, list) or vtpk_documents.dump({"resourceInfo": listed}) == data:
        return ours
    new = [name for name in root_json.load(ours, where)["resourceInfo"] if name not in listed]
    put(document, "resourceInfo", [*listed, *new])
    return with_values(data, document, where)


def or_as_it_was(restated: Callable[[], bytes], data: bytes) -> bytes:
    """A document restated; one that can't be understood stays as it is."""
    try:
        return restated()
    except CacheError:
        return data


class ItemDocuments:
    """The documents in XML that say what a package is: ``about`` now, and ``old`` before it was added to."""

    def __init__(self, about: Description, old: Description, kept: Kept, kind: Kind) -> None:
        self.about, self.old, self.kept = about, old, kept
        self._kind = kind

    def stated(self, name: str, new: Callable[[], bytes], restated: Callable[[bytes], bytes]) -> bytes:
        """A document as the package has it from now on."""
        there = self.kept.document(name)
        return new() if there is None else or_as_it_was(lambda: restated(there), there)

    def pkinfo(self, guid: str) -> bytes:
        """item.pkinfo."""

        def render(about: Description, guid: str) -> bytes:
            return tpk_documents.render_pkinfo(about, guid, self._kind)

        return self.stated(
            PKINFO,
            lambda: render(self.about, guid),
            lambda there: restate_pkinfo(there, self.old, self.about, guid, render),
        )

    def iteminfo(self, guid: str) -> bytes:
        """iteminfo.xml."""

        def render(about: Description, guid: str) -> bytes:
            return tpk_documents.render_iteminfo(about, guid, degrees(about), self._kind)

        return self.stated(
            ITEMINFO,
            lambda: render(self.about, guid),
            lambda there: restate_item_xml(there, self.old, self.about, guid, render),
        )
