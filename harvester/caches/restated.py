"""conf.xml, conf.cdi and root.json that are there already: what the tiles changed is stated anew, no other word.

A document that is word for word what would be written of what it says is ours, and is written anew. Any other is
somebody's: a person's, ArcGIS's. Of that no LOD, text or element goes; LODs and levels are added, its extent grows, and
its format becomes that of the tiles.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from harvester.caches import conf, root_json
from harvester.caches.counted import with_more_lods
from harvester.caches.description import Description
from harvester.caches.json_text import require_single, with_values
from harvester.caches.xml_patch import Path, escaped, with_contents, with_elements
from harvester.tiling.scheme import Box, Lod, TilingScheme

Object = MutableMapping[str, Any]

NEARLY = 1e-9
"""Part of an extent's size by which another may reach out of it and still lie in it: digits that documents leave out.
"""


def restate_conf(data: bytes, about: Description, where: str) -> bytes:
    """conf.xml of a cache that is ``about`` now. Raises CacheError."""
    old = conf.parse_conf(data, where)
    if conf.render_conf(old) == data:
        return conf.render_conf(about)
    changes: dict[Path, str] = {}
    scheme = with_more_lods(old.scheme, about.scheme)
    if len(scheme.lods) > len(old.scheme.lods):
        data = _with_lods(data, scheme, conf.parse_lods(data, where), where)
    if old.tile_format is not about.tile_format:
        changes["TileImageInfo", "CacheTileFormat"] = escaped(about.format_name)
        changes["TileImageInfo", "CompressionQuality"] = format(about.compression_quality, "g")
    return with_contents(data, changes, where)


def _with_lods(data: bytes, scheme: TilingScheme, there: Sequence[Lod], where: str) -> bytes:
    """conf.xml with the LODs of ``scheme`` that it lacks, from the coarsest to the finest; ``there``: its own in their
    order. What a person wrote into these and between them stays."""
    known = {lod.level for lod in there}
    added: dict[int, str] = {}
    for lod in scheme.lods:
        if lod.level not in known:
            behind = next((at for at, old in enumerate(there) if old.resolution < lod.resolution), len(there))
            added[behind] = added.get(behind, "") + conf.render_lods([lod])
    if b"typens" not in data:
        added = {behind: xml.replace(conf.LOD_TYPE, "") for behind, xml in added.items()}
    return with_elements(data, ("TileCacheInfo", "LODInfos", "LODInfo"), added, where)


def restate_cdi(data: bytes, about: Description, where: str) -> bytes:
    """conf.cdi of a cache that is ``about`` now, whose extent is known. Raises CacheError."""
    old = conf.parse_cdi(data, where)
    if conf.render_cdi(replace(about, extent=old)) == data:
        return conf.render_cdi(about)
    names = ("XMin", "YMin", "XMax", "YMax")
    both = grown(old, about.extent)
    changes: dict[Path, str] = {
        (name,): conf.number(new) for name, was, new in zip(names, old, both, strict=True) if was != new
    }
    return with_contents(data, changes, where)


def restate_root(
    data: bytes,
    about: Description,
    where: str,
    levels: Sequence[int],
    render: Callable[[Description, Sequence[int]], bytes],
) -> bytes:
    """root.json of a cache that is ``about`` now and holds ``levels``. ``render``: as it is written new. Raises
    CacheError."""
    old, _ = root_json.parse_root(data, where)
    root = root_json.load(data, where)
    stated = [at(root, name) for name in ("minLOD", "maxLOD")]
    if all(isinstance(level, int) for level in stated) and render(old, stated) == data:
        return render(about, levels)
    scheme = with_more_lods(old.scheme, about.scheme)
    by_level = scheme.by_level
    held = sorted((by_level[level] for level in {*levels, *stated} if level in by_level), key=lambda lod: lod.level)
    for names, lod in ((("minLOD", "minScale"), held[:1]), (("maxLOD", "maxScale"), held[-1:])):
        if lod and at(root, names[0]) not in (None, lod[0].level):
            put(root, names[0], lod[0].level)
            if at(root, names[1]) is not None:
                put(root, names[1], lod[0].scale)
    if len(scheme.lods) > len(old.scheme.lods):
        _add_lods(root, scheme.lods)
    if old.tile_format is not about.tile_format:
        image = at(root, "tileImageInfo")
        if isinstance(image, dict):
            put(image, "format", about.format_name)
            put(image, "compressionQuality", about.compression_quality)
    restate_texts(root, old, about)
    for name, value in (("name", about.name), ("serviceDescription", about.description)):
        if value and not at(root, name):
            put(root, name, value)
    restate_extents(root, old, about)
    return with_values(data, root, where)


_ROOT_MEMBERS = {
    "": {
        *("minlod", "maxlod", "minscale", "maxscale", "maxzoom", "name", "servicedescription", "copyrighttext"),
        *("tileinfo", "tileimageinfo", "fullextent", "initialextent"),
    },
    "tileinfo": {"lods"},
    "tileimageinfo": {"format", "compressionquality"},
    "fullextent": {"xmin", "ymin", "xmax", "ymax"},
    "initialextent": {"xmin", "ymin", "xmax", "ymax"},
}
"""Of root.json, what tiles that are added may change."""


def require_plain_root(data: bytes, where: str) -> None:
    """Before the first tile: raises CacheError for a root.json with one of these twice."""
    require_single(data, _ROOT_MEMBERS, where)


def _add_lods(root: Object, lods: Sequence[Any]) -> None:
    info = at(root, "tileInfo")
    theirs = {int(at(lod, "level")): lod for lod in at(info, "lods")}
    made = ({"level": lod.level, "resolution": lod.resolution, "scale": lod.scale} for lod in lods)
    put(info, "lods", [theirs.get(lod["level"], lod) for lod in made])
    if isinstance(at(root, "maxzoom"), int):
        put(root, "maxzoom", max(lod.level for lod in lods))


def restate_texts(document: Object, old: Description, about: Description) -> None:
    """``copyrightText``, where the tiles that came have another."""
    stated = str(at(document, "copyrightText") or "")
    if (words := attribution(stated, old, about)) != stated:
        put(document, "copyrightText", words)


def attribution(stated: str, old: Description, about: Description) -> str:
    """Who is to be named, where tiles of others came: those who were named before them too."""
    if not about.attribution or about.attribution == old.attribution or about.attribution in stated:
        return stated
    return about.attribution if stated in about.attribution else f"{stated}, {about.attribution}"


def restate_extents(document: Object, old: Description, about: Description) -> None:
    """``fullExtent``, and ``initialExtent`` where it was the same: else somebody chose a view."""
    full, first = at(document, "fullExtent"), at(document, "initialExtent")
    if not is_grown(old, about):
        return
    put(document, "fullExtent", grown_object(full, about.extent))
    if first == full:
        put(document, "initialExtent", grown_object(first, about.extent))


def is_grown(old: Description, about: Description) -> bool:
    """Do the tiles reach out of what the extent was?"""
    return bool(grown(old.extent, about.extent) != old.extent)


def grown_object(stated: Any, new: Box | None) -> Any:
    """A JSON extent with ``new`` in it; what is none stays as it is."""
    try:
        old = Box(*(float(at(stated, name)) for name in Box._fields))
    except (TypeError, ValueError):
        return stated
    both = grown(old, new)
    return stated if both == old else {**stated, **both._asdict()}


def grown(old: Box | None, new: Box | None) -> Any:
    """The box of both; ``old`` itself where ``new`` lies in it."""
    if old is None or new is None:
        return old or new
    slack = NEARLY * max(old.xmax - old.xmin, old.ymax - old.ymin)
    low = (was if is_ >= was - slack else is_ for was, is_ in zip(old[:2], new[:2], strict=True))
    high = (was if is_ <= was + slack else is_ for was, is_ in zip(old[2:], new[2:], strict=True))
    return Box(*low, *high)


# ---------------------------------------------------------------------------------------------- JSON objects


def at(document: Any, name: str) -> Any:
    """The value of a key, found without case; None where there is none."""
    key = _key(document, name)
    return None if key is None else document[key]


def put(document: Object, name: str, value: Any) -> None:
    """Set a key, spelled as it is there."""
    document[_key(document, name) or name] = value


def _key(document: Any, name: str) -> str | None:
    if not isinstance(document, dict):
        return None
    return next((key for key in document if key.lower() == name.lower()), None)
