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
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harvester.caches import bundle_v2, compact, conf, root_json, stored_zip
from harvester.caches.bundles import BundleReader
from harvester.caches.description import Description, format_word
from harvester.caches.records import RUN_BYTES, Span, read_runs
from harvester.caches.stored_zip import StoredZip
from harvester.caches.thumbnail import thumbnail
from harvester.caches.zip_bundles import ZipBundles
from harvester.crs import project_box
from harvester.durable import Disk, disk_full
from harvester.edges import Subject
from harvester.errors import CacheError, HarvesterError
from harvester.manifest import FILE, KEY
from harvester.tiling.scheme import Box
from harvester.tiling.tile import BLOCK_TILES, BlockKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = "tpkx"

NO_GUID = "00000000-0000-0000-0000-000000000000"
_WGS84 = {"wkid": 4326, "latestWkid": 4326}

Progress = Callable[[int, int], None]
"""Bytes done and bytes in total."""


def open_reader(path: str | Path) -> BundleReader:
    """Open a .tpkx for reading. Raises CacheError where it is damaged, hostile or no tile package."""
    path, disk = Path(path), Disk()
    if path.is_dir():
        raise CacheError(f"{path} is a folder, no tile package", hint="Name a .tpkx file.", code="not_a_cache")
    entries = stored_zip.read_directory(path)
    bundles = ZipBundles(path, entries, disk, disk.open(path))
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
    make the same bytes, in whatever order they arrived. Memory stays flat. Raises CacheError; then ``part`` is gone.
    """
    seal_archive(work, part, subject, _write_package, disk=disk, progress=progress)


Write = Callable[[StoredZip, BundleReader, Description, Progress, int], None]
"""Writes all entries of an archive: from which bundles, described how, telling of bytes done of a total."""


def seal_archive(
    work: Path,
    part: Path,
    subject: Subject,
    write: Write,
    *,
    disk: Disk,
    progress: Progress | None = None,
    bytes_a_bundle: int = 0,
) -> None:
    """``seal`` for packages of any layout. ``bytes_a_bundle``: how much larger a bundle is there than in ``work``."""
    layout = compact.locate(work)
    if layout is None:
        raise CacheError(f"{work} is no compact cache", hint="Run the same command again.", code="not_a_cache")
    about, folder = compact.describe(layout, disk)
    about = _named(about, subject)
    total = sum(file.stat().st_size + bytes_a_bundle for file in folder.rglob("*.bundle"))
    available = disk.free_bytes(part)
    if total > available:
        raise disk_full(part, total)
    descriptor = disk.open(part, write=True, create=True, truncate=True)
    try:
        with compact.open_reader(layout.folder) as reader:
            archive = StoredZip(disk, descriptor, time=stored_zip.entry_time())
            write(archive, reader, about, progress or (lambda done, total: None), total)
        disk.fsync(descriptor)
    except BaseException:
        disk.close(descriptor)
        disk.remove(part)
        raise
    disk.close(descriptor)


def _named(about: Description, subject: Subject) -> Description:
    """The work folder's description; what the source says of itself decides its texts."""
    info = subject.info
    return replace(
        about,
        name=info.name or about.name,
        description=info.description or about.description,
        attribution=info.attribution or about.attribution,
    )


def _write_package(
    archive: StoredZip, reader: BundleReader, about: Description, progress: Progress, total: int
) -> None:
    import xxhash

    levels = reader.levels()
    root = root_json.render_root(
        about, bundles=root_json.PACKAGE_BUNDLES, levels=levels or [about.scheme.lods[0].level]
    )
    picture = thumbnail(reader, about.extent)
    archive.add("iteminfo.json", render_iteminfo(about, NO_GUID))
    archive.add("root.json", root)
    archive.add("thumbnail.png", picture)
    add_manifest(archive, reader)
    digest = xxhash.xxh3_128(root)
    digest.update(picture)
    for level in levels:
        for key in reader.blocks(level):
            name = f"tile/{bundle_v2.level_folder(level)}/{bundle_v2.bundle_name(key)}"
            digest.update(name.encode())
            size, chunks = compacted(reader, key)
            archive.begin(name, size)
            for chunk in chunks:
                archive.write(chunk)
                digest.update(chunk)
                progress(min(archive.size, total), total)
            archive.end()
    archive.fill("iteminfo.json", render_iteminfo(about, guid_of(digest.digest())))
    archive.close()
    progress(total, total)


def add_manifest(archive: StoredZip, reader: BundleReader) -> None:
    """The work folder's manifest, whose tiles are the package's."""
    if text := reader.info.details.get(KEY):
        archive.add(FILE, text.encode())


def guid_of(digest: bytes) -> str:
    """An item's identifier from the content alone, so that the same tiles are the same item; 36 characters."""
    return str(uuid.UUID(bytes=digest, version=5)).upper()


def compacted(reader: BundleReader, key: BlockKey) -> tuple[int, Iterator[bytes]]:
    """A block's bundle row-major without gaps: its size in bytes, and its bytes in chunks."""
    span, offsets, sizes = sound_records(reader, key)
    packed, file_size = bundle_v2.layout(sizes)
    header = bundle_v2.Header(largest=int(sizes.max()), file_size=file_size)
    head = header.pack() + bundle_v2.pack_index(packed)
    return file_size, records(span, head, offsets, sizes)


def sound_records(reader: BundleReader, key: BlockKey) -> tuple[Span, NDArray[np.int64], NDArray[np.int64]]:
    """A block's bundle, and where in it each tile lies and its size: shape (16384,), 0 where there is none."""
    span = reader.bundles.open(key)
    index = reader.index(span) if span is not None else None
    if span is None or index is None:
        raise CacheError(f"the bundle of the block {key} is gone or damaged", hint="Run the same command again.")
    sizes = np.zeros(BLOCK_TILES, dtype=np.int64)
    numbers = reader.sound(span, index)
    sizes[numbers] = bundle_v2.sizes(index)[numbers]
    return span, bundle_v2.offsets(index), sizes


def records(span: Span, head: bytes, offsets: NDArray[np.int64], sizes: NDArray[np.int64]) -> Iterator[bytes]:
    """``head``, then the tiles row-major. Records that lie in order are copied by the megabyte, size words and all;
    scattered ones are gathered."""
    held = np.flatnonzero(sizes)
    waiting, length = [head], len(head)
    for _, _, data, whole in read_runs(span, offsets[held], sizes[held]):
        if not whole.all():
            raise CacheError(f"{span.where} changed while it was read", hint="Run the same command again.")
        waiting.append(data)
        length += len(data)
        if length >= RUN_BYTES:
            yield b"".join(waiting)
            waiting, length = [], 0
    if waiting:
        yield b"".join(waiting)


def degrees(about: Description) -> Box:
    """The extent in degrees; the world where it can't be projected."""
    box = Box(-180.0, -90.0, 180.0, 90.0)
    if about.extent is not None:
        try:
            found = project_box(about.extent, about.scheme.crs, "EPSG:4326")
        except HarvesterError:
            found = box
        if all(np.isfinite(found)):
            box = Box(*(float(value) for value in found))
    return box


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
    unpack_archive(package, work, open_reader, disk=disk)


def unpack_archive(
    package: Path,
    work: Path,
    open_reader: Callable[[Path], BundleReader],
    *,
    disk: Disk,
    more: Callable[[BundleReader, Path], None] = lambda reader, part: None,
) -> None:
    """``unpack`` for packages of any layout. ``more`` writes what else the folder is to hold, before it is named."""
    part = package.with_name(package.name + ".part")
    disk.remove_tree(part) if part.is_dir() else disk.remove(part)
    if work.is_dir() and compact.is_empty(work):
        disk.remove_tree(work)
    if work.exists():
        raise CacheError(f"{work} is there already", hint="Move it away, then run the same command again.")
    with open_reader(package) as reader:
        needed = 2 * package.stat().st_size  # the package is made anew beside what is unpacked
        if needed > disk.free_bytes(work):
            raise disk_full(work, needed)
        disk.make_dirs(part / compact.ALL_LAYERS)
        levels = reader.levels()
        for level in levels:
            folder = part / compact.ALL_LAYERS / bundle_v2.level_folder(level)
            disk.make_dirs(folder)
            for key in reader.blocks(level):
                _write_bundle(disk, folder / bundle_v2.bundle_name(key), compacted(reader, key)[1])
            disk.sync_folder(folder)
        about = _description(reader)
        documents = [
            (compact.CONF, conf.render_conf(about)),
            (compact.ROOT, root_json.render_root(about, bundles=root_json.FOLDER_BUNDLES, levels=levels)),
        ]
        if about.extent is not None:
            documents.append((compact.CDI, conf.render_cdi(about)))
        if text := reader.info.details.get(KEY):
            documents.append((FILE, text.encode()))
        for name, data in documents:
            disk.write_whole(part / name, data)
        more(reader, part)
    disk.replace(part, work)
    disk.sync_folder(work.parent)


def _write_bundle(disk: Disk, path: Path, chunks: Iterable[bytes]) -> None:
    descriptor, offset = disk.open(path, write=True, create=True, truncate=True), 0
    try:
        for chunk in chunks:
            disk.pwrite(descriptor, chunk, offset)
            offset += len(chunk)
        disk.fsync(descriptor)
    finally:
        disk.close(descriptor)


def _description(reader: BundleReader) -> Description:
    info = reader.info
    return Description(
        scheme=info.scheme,
        format_name=info.details["tileFormat"] or format_word(info.tile_format, ""),
        compression_quality=float(info.details["compressionQuality"]),
        extent=info.extent,
        name=info.name,
        description=info.details["description"],
        attribution=info.attribution,
    )
