"""Vector tile packages (.vtpk): a compact cache V2 of vector tiles with style, sprites and fonts, in one zip archive.

Source: Esri's REST reference on vector tile services, whose resources a package holds under ``p12/`` (a description of
the layout itself isn't published; packages that ArcGIS Pro writes have these entries). All entries are stored:

    esriinfo/item.pkinfo, esriinfo/iteminfo.xml, esriinfo/thumbnail/thumbnail.png
    p12/root.json                        the service document: tiling scheme, levels that hold tiles
    p12/metadata.json                    vector_layers: layers and fields
    p12/resources/styles/root.json       the style, addresses relative to itself
    p12/resources/sprites/, p12/resources/fonts/FONT/FIRST-LAST.pbf
    p12/resources/info/root.json         the list of these
    p12/tilemap/root.json                which tiles there are, where the grid is a quadtree
    manifest.json                        our own: source, policies, hashes (harvester/manifest.py)
    p12/tile/Lnn/RrrrrCcccc.bundle       tiles in gzip; by level, row, column
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from harvester.caches import bundle_v2, compact, stored_zip, tpk_documents, vtpk_documents
from harvester.caches.bundles import BundleReader
from harvester.caches.description import Description
from harvester.caches.package_bundles import compacted
from harvester.caches.package_seal import NO_GUID, Progress, add_manifest, degrees, guid_of, seal_archive
from harvester.caches.package_unpack import unpack_archive
from harvester.caches.stored_zip import StoredZip
from harvester.caches.thumbnail import thumbnail
from harvester.caches.tpk_documents import VECTOR_TILES
from harvester.caches.vector_layers import layers_for, parse_layers, parse_object
from harvester.caches.vtpk_index import render_index
from harvester.caches.vtpk_resources import PREFIX, STYLE, Resources, resources_in
from harvester.caches.zip_bundles import ZipBundles
from harvester.durable import Disk
from harvester.edges import CacheInfo, CacheReader, Subject
from harvester.errors import CacheError
from harvester.tiling.scheme import TilingScheme

FORMAT = "vtpk"

ROOT, METADATA = "p12/root.json", "p12/metadata.json"
_PKINFO, _ITEMINFO = "esriinfo/item.pkinfo", "esriinfo/iteminfo.xml"


class VtpkReader(BundleReader):
    """A CacheReader over a package, and its resources."""

    def __init__(self, info: CacheInfo, archive: ZipBundles) -> None:
        super().__init__(info, archive)
        self.archive = archive

    def save_resources(self, into: Resources) -> int:
        """Keep style, sprites and fonts; gives their number. Raises CacheError."""
        count = 0
        for name, data in resources_in(self.archive):
            into.put(name, data)
            count += 1
        return count


def open_reader(path: str | Path) -> VtpkReader:
    """Open a .vtpk for reading. Raises CacheError where it is damaged, hostile or no vector tile package."""
    path, disk = Path(path), Disk()
    if path.is_dir():
        raise CacheError(f"{path} is a folder, no tile package", hint="Name a .vtpk file.", code="not_a_cache")
    entries = stored_zip.read_directory(path)
    archive = ZipBundles(path, entries, disk, disk.open(path))
    try:
        about = vtpk_documents.parse_root(archive.document(ROOT), f"{path}: {ROOT}")
        names = {entry.name.lower() for entry in entries}
        metadata = parse_object(archive.document(METADATA).decode("utf-8", "replace")) if METADATA in names else {}
        archive.place(("p12", "tile"))
    except BaseException:
        archive.close()
        raise
    info = compact.cache_info(replace(about, name=about.name or path.stem), FORMAT, archive.manifest())
    resources = [name[len(PREFIX) :] for name in names if name.startswith(PREFIX)]
    details = {
        **info.details,
        "style": "yes" if STYLE in resources else "no",
        "sprites": str(sum(name.startswith("sprites/") for name in resources)),
        "fonts": str(len({name.split("/")[1] for name in resources if name.startswith("fonts/")})),
    }
    return VtpkReader(
        replace(info, vector_layers=parse_layers(metadata.get("vector_layers")), details=details), archive
    )


# ---------------------------------------------------------------------------------------------- sealing


def seal(work: Path, part: Path, subject: Subject, *, disk: Disk, progress: Progress | None = None) -> None:
    """Make the package ``part`` of the compact cache in ``work`` and its ``resources/``, durably; the caller renames
    it.

    Entries come in a fixed order with fixed times, bundles row-major without gaps: the same tiles and resources make
    the same bytes. Memory stays flat but for the tile index. Raises CacheError; then ``part`` is gone.
    """
    resources = Resources(work, disk)

    def write(
        archive: StoredZip, reader: BundleReader, about: Description, progress: Callable[[int, int], None], total: int
    ) -> None:
        _write_package(archive, reader, about, subject, resources, lambda done: progress(min(done, total), total))

    seal_archive(work, part, subject, write, disk=disk, progress=progress)


def _write_package(
    archive: StoredZip,
    reader: BundleReader,
    about: Description,
    subject: Subject,
    resources: Resources,
    progress: Callable[[int], None],
) -> None:
    import xxhash

    about = replace(about, scheme=_whole_scheme(about, subject))
    levels = list(reader.levels()) or [about.scheme.lods[0].level]
    layers = layers_for(subject.info.vector_layers, reader)
    index = render_index(reader, about.scheme)
    box, names = degrees(about), resources.names()
    digest = xxhash.xxh3_128()

    def add(name: str, data: bytes) -> None:
        archive.add(name, data)
        digest.update(name.encode())
        digest.update(data)

    add(_PKINFO, tpk_documents.render_pkinfo(about, NO_GUID, VECTOR_TILES))
    add(_ITEMINFO, tpk_documents.render_iteminfo(about, NO_GUID, box, VECTOR_TILES))
    add("esriinfo/thumbnail/thumbnail.png", thumbnail(reader, None))
    add(ROOT, vtpk_documents.render_root(about, levels=levels, indexed=index is not None))
    add(METADATA, vtpk_documents.render_metadata(layers))
    if STYLE not in names:
        add(PREFIX + STYLE, vtpk_documents.plain_style(about.name, layers))
    for name in names:
        add(PREFIX + name, resources.read(name))
    add(f"{PREFIX}info/root.json", vtpk_documents.render_resources(names))
    if index is not None:
        add("p12/tilemap/root.json", index)
    add_manifest(archive, reader)
    for level in reader.levels():
        for key in reader.blocks(level):
            name = f"p12/tile/{bundle_v2.level_folder(level)}/{bundle_v2.bundle_name(key)}"
            digest.update(name.encode())
            size, chunks = compacted(reader, key)
            archive.begin(name, size)
            for chunk in chunks:
                archive.write(chunk)
                digest.update(chunk)
                progress(archive.size)
            archive.end()
    guid = guid_of(digest.digest())
    archive.fill(_PKINFO, tpk_documents.render_pkinfo(about, guid, VECTOR_TILES))
    archive.fill(_ITEMINFO, tpk_documents.render_iteminfo(about, guid, box, VECTOR_TILES))
    archive.close()
    progress(archive.size)


def _whole_scheme(about: Description, subject: Subject) -> TilingScheme:
    """All LODs of the source, where the work folder lists a part: apps draw the deepest tiles at the scales below."""
    whole = subject.info.scheme
    same = about.scheme.mismatch(whole) is None and about.scheme.by_level.keys() <= whole.by_level.keys()
    return whole if same else about.scheme


# ---------------------------------------------------------------------------------------------- unpacking


def unpack(package: Path, work: Path, *, disk: Disk) -> None:
    """Make the compact cache folder ``work``, which must not be there, of a package, with its resources; damaged tiles
    are left out.

    It appears by rename, so a folder of that name is whole. Raises CacheError.
    """

    def more(reader: BundleReader, part: Path) -> None:
        if isinstance(reader, VtpkReader):
            reader.save_resources(Resources(part, disk))

    unpack_archive(package, work, open_reader, disk=disk, more=more)


def carry_resources(readers: Iterable[CacheReader], work: Path, *, disk: Disk) -> int:
    """Take style, sprites and fonts over from the first of these caches that has any; gives their number. What is in
    ``work`` already stays."""
    resources = Resources(work, disk)
    for reader in readers if not resources.names() else ():
        count = reader.save_resources(resources) if isinstance(reader, VtpkReader) else 0
        if count:
            return count
    return 0
