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

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from harvester.caches import bundle_v2, compact, stored_zip, vtpk_documents
from harvester.caches.bundles import BundleReader
from harvester.caches.description import Description
from harvester.caches.kept import Kept
from harvester.caches.layer_survey import layers_for
from harvester.caches.package_bundles import compacted
from harvester.caches.package_seal import NO_GUID, Progress, add_rest, guid_of, seal_archive
from harvester.caches.package_unpack import unpack_archive
from harvester.caches.restated import restate_root
from harvester.caches.restated_items import ITEMINFO, PKINFO, ItemDocuments, restate_metadata, restate_resources
from harvester.caches.stored_zip import Entry, StoredZip
from harvester.caches.thumbnail import thumbnail
from harvester.caches.tpk_documents import VECTOR_TILES
from harvester.caches.vector_layers import parse_layers, parse_object
from harvester.caches.vtpk_index import render_index
from harvester.caches.vtpk_resources import PREFIX, STYLE, Resources, resources_in
from harvester.caches.zip_bundles import ZipBundles
from harvester.durable import Disk
from harvester.edges import CacheInfo, CacheReader, Subject, VectorLayer
from harvester.errors import CacheError
from harvester.tiling.scheme import TilingScheme

FORMAT = "vtpk"

ROOT, METADATA = "p12/root.json", "p12/metadata.json"
_THUMBNAIL = "esriinfo/thumbnail/thumbnail.png"
_LIST, _INDEX = f"{PREFIX}info/root.json", "p12/tilemap/root.json"


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
    directory = stored_zip.read_directory(path)
    archive = ZipBundles(path, directory, disk, disk.open(path))
    try:
        about = vtpk_documents.parse_root(archive.document(ROOT), f"{path}: {ROOT}")
        names = {entry.name.lower() for entry in directory.files}
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


def seal(work: Path, part: Path, subject: Subject, *, disk: Disk, progress: Progress | None = None) -> tuple[str, ...]:
    """Make the package ``part`` of the compact cache in ``work`` and its ``resources/``, durably; the caller renames
    it.

    Entries come in a fixed order with fixed times, bundles row-major without gaps: the same tiles and resources make
    the same bytes. What a package that was taken apart had besides is in it again. Memory stays flat but for the tile
    index. Gives what a person should hear of the tiles. Raises CacheError; then ``part`` is gone.
    """
    resources = Resources(work, disk)
    notices: list[str] = []

    def write(
        archive: StoredZip,
        reader: BundleReader,
        about: Description,
        kept: Kept,
        progress: Callable[[int, int], None],
        total: int,
    ) -> None:
        tell: Callable[[int], None] = lambda done: progress(min(done, total), total)  # noqa: E731
        listed = layers_for(subject.info.vector_layers, reader)
        notices[:] = listed.notices
        _write_package(archive, reader, about, subject, kept, resources, listed.layers, tell)

    seal_archive(work, part, subject, write, disk=disk, progress=progress)
    return tuple(notices)


def _write_package(
    archive: StoredZip,
    reader: BundleReader,
    about: Description,
    subject: Subject,
    kept: Kept,
    resources: Resources,
    layers: Sequence[VectorLayer],
    progress: Callable[[int], None],
) -> None:
    import xxhash

    about = replace(about, scheme=_whole_scheme(about, subject))
    levels = list(reader.levels()) or [about.scheme.lods[0].level]
    index = render_index(reader, about.scheme)
    names = resources.names()
    documents = _Documents(about, kept)
    digest = xxhash.xxh3_128()

    def add(name: str, data: bytes) -> None:
        kept.put(archive, name, data)
        digest.update(name.encode())
        digest.update(data)

    add(PKINFO, documents.pkinfo(NO_GUID))
    add(ITEMINFO, documents.iteminfo(NO_GUID))
    add(_THUMBNAIL, kept.document(_THUMBNAIL) or thumbnail(reader, None))
    add(ROOT, documents.root(levels, indexed=index is not None))
    add(METADATA, documents.metadata(layers))
    if STYLE not in names:
        add(PREFIX + STYLE, vtpk_documents.plain_style(about.name, layers))
    for name in names:
        add(PREFIX + name, resources.read(name))
    add(_LIST, documents.resources(names))
    kept.stated(_INDEX)
    if index is not None:
        add(_INDEX, index)
    add_rest(archive, reader, kept)
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
    archive.fill(kept.name(PKINFO), documents.pkinfo(guid))
    archive.fill(kept.name(ITEMINFO), documents.iteminfo(guid))
    kept.close(archive)
    progress(archive.size)


class _Documents(ItemDocuments):
    """The documents of a package that is ``about`` now, and was what ``kept`` says."""

    def __init__(self, about: Description, kept: Kept) -> None:
        root = kept.document(ROOT)
        old = about if root is None else vtpk_documents.parse_root(root, kept.where)
        super().__init__(about, old, kept, VECTOR_TILES)

    def root(self, levels: Sequence[int], *, indexed: bool) -> bytes:
        """p12/root.json."""
        about, where = self.about, self.kept.where

        def render(about: Description, levels: Sequence[int]) -> bytes:
            return vtpk_documents.render_root(about, levels=levels, indexed=indexed)

        return self.stated(
            ROOT, lambda: render(about, levels), lambda there: restate_root(there, about, where, levels, render)
        )

    def metadata(self, layers: Sequence[VectorLayer]) -> bytes:
        """p12/metadata.json."""
        return self.stated(
            METADATA, lambda: vtpk_documents.render_metadata(layers), lambda there: restate_metadata(there, layers)
        )

    def resources(self, names: Sequence[str]) -> bytes:
        """p12/resources/info/root.json."""
        return self.stated(
            _LIST, lambda: vtpk_documents.render_resources(names), lambda there: restate_resources(there, names)
        )


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

    def is_resource(entry: Entry) -> bool:
        return entry.name.lower().startswith(PREFIX) and Resources.may_hold(entry)

    picture = (_THUMBNAIL, lambda reader: thumbnail(reader, None))
    unpack_archive(
        package, work, open_reader, disk=disk, thumbnail=picture, more=more, elsewhere=is_resource, root=ROOT
    )


def carry_resources(readers: Iterable[CacheReader], work: Path, *, disk: Disk) -> int:
    """Take style, sprites and fonts over from the first of these caches that has any; gives their number. What is in
    ``work`` already stays."""
    resources = Resources(work, disk)
    for reader in readers if not resources.names() else ():
        count = reader.save_resources(resources) if isinstance(reader, VtpkReader) else 0
        if count:
            return count
    return 0
