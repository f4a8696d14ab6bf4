"""Tile packages (.tpkx): a compact cache V2 in one zip archive, read in place, sealed from a work folder, unpacked.

Source: Esri/tile-package-spec 1.0 and packages that ExportMapServerCache wrote. All entries are stored:

    iteminfo.json                        what a portal shows; extent in degrees
    root.json                            tiling scheme, levels that hold tiles
    thumbnail.png                        200 x 133
    manifest.json                        our own: source, policies, hashes (harvester/manifest.py)
    tile/Lnn/RrrrrCcccc.bundle           by level, row, column
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harvester.caches import bundle_v2, compact, root_json, stored_zip
from harvester.caches.bundles import BundleReader
from harvester.caches.description import Description
from harvester.caches.kept import Kept
from harvester.caches.package_bundles import compacted
from harvester.caches.package_seal import NO_GUID, Progress, add_rest, degrees, guid_of, seal_archive
from harvester.caches.package_unpack import unpack_archive
from harvester.caches.restated import restate_root
from harvester.caches.restated_items import or_as_it_was, restate_iteminfo
from harvester.caches.stored_zip import StoredZip
from harvester.caches.thumbnail import thumbnail
from harvester.caches.zip_bundles import ZipBundles
from harvester.durable import Disk
from harvester.edges import Subject
from harvester.errors import CacheError

FORMAT = "tpkx"

_ITEMINFO, _THUMBNAIL, _TILE = "iteminfo.json", "thumbnail.png", "tile/"

_WGS84 = {"wkid": 4326, "latestWkid": 4326}


def open_reader(path: str | Path) -> BundleReader:
    """Open a .tpkx for reading. Raises CacheError where it is damaged, hostile or no tile package."""
    path, disk = Path(path), Disk()
    if path.is_dir():
        raise CacheError(f"{path} is a folder, no tile package", hint="Name a .tpkx file.", code="not_a_cache")
    bundles = ZipBundles(path, stored_zip.read_directory(path), disk, disk.open(path))
    try:
        about, folders = root_json.parse_root(bundles.document(compact.ROOT), f"{path}: root.json")
        compact.require_storage(about, f"{path}: root.json")
        bundles.place(folders)
    except BaseException:
        bundles.close()
        raise
    return BundleReader(compact.cache_info(about, FORMAT, bundles.manifest()), bundles)


# ---------------------------------------------------------------------------------------------- sealing


def seal(work: Path, part: Path, subject: Subject, *, disk: Disk, progress: Progress | None = None) -> None:
    """Make the package ``part`` of the compact cache in ``work``, durably; the caller renames it.

    Bundles are rewritten row-major without gaps and entries come in a fixed order with fixed times, so the same tiles
    make the same bytes, in whatever order they arrived. What a package that was taken apart had besides is in it again.
    Memory stays flat. Raises CacheError; then ``part`` is gone.
    """
    seal_archive(work, part, subject, _write_package, disk=disk, progress=progress)


def _write_package(
    archive: StoredZip, reader: BundleReader, about: Description, kept: Kept, progress: Progress, total: int
) -> None:
    import xxhash

    levels = reader.levels()
    named = levels or [about.scheme.lods[0].level]
    root, old, folder = root_json.render_root(about, bundles=root_json.PACKAGE_BUNDLES, levels=named), about, _TILE
    if (theirs := kept.document(compact.ROOT)) is not None:
        old, folders = root_json.parse_root(theirs, kept.where)
        folder = "".join(f"{name}/" for name in folders)
        root = restate_root(
            theirs,
            about,
            kept.where,
            named,
            lambda about, levels: root_json.render_root(about, bundles=root_json.PACKAGE_BUNDLES, levels=levels),
        )
    picture = kept.document(_THUMBNAIL) or thumbnail(reader, about.extent)
    item = kept.document(_ITEMINFO)

    def iteminfo(guid: str) -> bytes:
        if item is None:
            return render_iteminfo(about, guid)
        return or_as_it_was(lambda: restate_iteminfo(item, old, about, guid, render_iteminfo), item)

    for name, data in ((_ITEMINFO, iteminfo(NO_GUID)), (compact.ROOT, root), (_THUMBNAIL, picture)):
        kept.put(archive, name, data)
    add_rest(archive, reader, kept)
    digest = xxhash.xxh3_128(root)
    digest.update(picture)
    for level in levels:
        for key in reader.blocks(level):
            name = f"{folder}{bundle_v2.level_folder(level)}/{bundle_v2.bundle_name(key)}"
            digest.update(name.encode())
            size, chunks = compacted(reader, key)
            archive.begin(name, size)
            for chunk in chunks:
                archive.write(chunk)
                digest.update(chunk)
                progress(min(archive.size, total), total)
            archive.end()
    archive.fill(kept.name(_ITEMINFO), iteminfo(guid_of(digest.digest())))
    kept.close(archive)
    progress(total, total)


def render_iteminfo(about: Description, guid: str) -> bytes:
    """iteminfo.json; ``guid`` of 36 characters."""
    box = degrees(about)
    document: dict[str, Any] = {
        "creator": "harvester",
        "name": about.name,
        "guid": guid,
        "version": 1.0,
        "created": 0,
        "snippet": "",
        "description": about.description,
        "summary": "",
        "title": about.name,
        "tags": "",
        "type": "Compact Tile Package",
        "typeKeywords": ["Compact Tile Package", "Tile Package", "tpkx"],
        "thumbnail": "./thumbnail.png",
        "accessInformation": about.attribution,
        "extent": {**box._asdict(), "spatialReference": _WGS84},
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


# ---------------------------------------------------------------------------------------------- unpacking


def unpack(package: Path, work: Path, *, disk: Disk) -> None:
    """Make the compact cache folder ``work``, which must not be there, of a package; damaged tiles are left out.

    It appears by rename, so a folder of that name is whole. Raises CacheError.
    """
    picture = (_THUMBNAIL, lambda reader: thumbnail(reader, reader.info.extent))
    unpack_archive(package, work, open_reader, disk=disk, thumbnail=picture, root=compact.ROOT)
