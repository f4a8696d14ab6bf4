"""Tile packages of the first kind (.tpk): a compact cache V1 in one zip archive, read in place, sealed, unpacked.

Source: packages that ArcGIS 10.3 wrote. All entries are stored, in this order:

    esriinfo/item.pkinfo, esriinfo/iteminfo.xml, esriinfo/thumbnail/thumbnail.png (200 x 133)
    servicedescriptions/mapserver/mapserver.json
    v101/<map>/conf.cdi, conf.properties, conf.xml
    manifest.json                        our own: source, policies, hashes (harvester/manifest.py)
    v101/<map>/_alllayers/Lnn/RrrrrCcccc.bundle, then its .bundlx; by level, row, column

ArcGIS adds two map layers (v101/<map>.lyr, v103/<map>.lyr) in a format of its own. They hold the symbols of the layers,
no tiles; packages sealed here have none. The map's name may hold blanks: the cache is where conf.xml is.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harvester.caches import bundle_v1, bundle_v2, compact, conf, stored_zip, tpk_documents
from harvester.caches.bundle_v1 import DATA_START, HEADER_SIZE, INDEX_FILE_SIZE
from harvester.caches.bundles import BundleReader
from harvester.caches.compact import ALL_LAYERS, COMPACT_V1
from harvester.caches.compact_v1 import PairReader
from harvester.caches.description import Description
from harvester.caches.package_bundles import records, sound_records
from harvester.caches.package_seal import NO_GUID, Progress, add_manifest, degrees, guid_of, seal_archive
from harvester.caches.package_unpack import unpack_archive
from harvester.caches.records import Span
from harvester.caches.stored_zip import Entry, StoredZip
from harvester.caches.thumbnail import thumbnail
from harvester.caches.zip_bundles import ZipBundles
from harvester.durable import Disk
from harvester.edges import Subject
from harvester.errors import CacheError
from harvester.tiling.tile import BlockKey

FORMAT = "tpk"

MAP_NAME = "Layers"
"""What ArcMap calls a map that nobody named."""

_PKINFO, _ITEMINFO = "esriinfo/item.pkinfo", "esriinfo/iteminfo.xml"

MAX_INDEXES = 64
"""Indexes of 82 KB kept: as many as a reader of folders keeps files open."""


class _ZipPair:
    """A pair of entries."""

    def __init__(self, archive: PairsInZip, key: BlockKey, span: Span) -> None:
        self.where = span.where
        self._archive = archive
        self._key = key
        self._span = span

    def size(self) -> int:
        return self._span.size()

    def read(self, size: int, offset: int) -> bytes:
        return self._span.read(size, offset)

    def entries(self, size: int, offset: int) -> bytes:
        return self._archive.index_of(self._key)[offset : offset + size]


class PairsInZip(ZipBundles):
    """The pairs of a package."""

    def __init__(self, path: Path, entries: Sequence[Entry], disk: Disk, descriptor: int) -> None:
        super().__init__(path, entries, disk, descriptor)
        self._twins: dict[BlockKey, Entry] = {}
        self._indexes: OrderedDict[BlockKey, bytes] = OrderedDict()
        self._guard = threading.Lock()

    def place(self, folders: Sequence[str]) -> None:
        """Find the pairs below ``folders``."""
        super().place(folders)
        prefix = "".join(f"{folder}/" for folder in folders).lower()
        for entry in self.all:
            below = entry.name[len(prefix) :].split("/")
            if entry.name.lower().startswith(prefix) and len(below) == 2 and below[1].lower().endswith(".bundlx"):
                level = bundle_v2.parse_level_folder(below[0])
                name = below[1][: -len("x")] + "e"
                key = None if level is None else bundle_v2.parse_bundle_name(level, name)
                if key is not None:
                    self._twins[key] = entry

    def open(self, key: BlockKey) -> _ZipPair | None:
        """A block's bundle; None where there is none."""
        span = super().open(key)
        return None if span is None else _ZipPair(self, key, span)

    def index_of(self, key: BlockKey) -> bytes:
        """A block's whole .bundlx; nothing where there is none."""
        with self._guard:
            found = self._indexes.get(key)
            if found is None:
                entry = self._twins.get(key)
                fits = entry is not None and entry.size <= INDEX_FILE_SIZE
                found = b"".join(self.content(entry)) if entry is not None and fits else b""
                self._indexes[key] = found
                if len(self._indexes) > MAX_INDEXES:
                    self._indexes.popitem(last=False)
            self._indexes.move_to_end(key)
            return found


def open_reader(path: str | Path) -> PairReader:
    """Open a .tpk for reading. Raises CacheError where it is damaged, hostile or no tile package."""
    path, disk = Path(path), Disk()
    if path.is_dir():
        raise CacheError(f"{path} is a folder, no tile package", hint="Name a .tpk file.", code="not_a_cache")
    entries = stored_zip.read_directory(path)
    names = [entry.name for entry in entries if entry.name.lower().endswith("/" + compact.CONF)]
    if not names:
        raise CacheError(f"{path} is no tile package: it has no conf.xml", hint="Name a .tpk file.", code="not_a_cache")
    name = min(names, key=lambda name: (name.count("/"), name))
    pairs = PairsInZip(path, entries, disk, disk.open(path))
    try:
        about = _describe(pairs, name, {entry.name.lower() for entry in entries})
        pairs.place((*name.split("/")[:-1], ALL_LAYERS))
    except BaseException:
        pairs.close()
        raise
    return PairReader(compact.cache_info(about, FORMAT, pairs.manifest()), pairs)


def _describe(pairs: PairsInZip, conf_name: str, names: set[str]) -> Description:
    where = f"{pairs.path}: {conf_name}"
    about = conf.parse_conf(pairs.document(conf_name.lower()), where)
    compact.require_storage(about, where, COMPACT_V1)
    cdi = conf_name[: -len(compact.CONF)].lower() + compact.CDI
    extent = conf.parse_cdi(pairs.document(cdi), f"{pairs.path}: {cdi}") if cdi in names else None
    about = replace(about, extent=extent, name=pairs.path.stem)
    if _ITEMINFO in names:
        about = tpk_documents.with_item(about, pairs.document(_ITEMINFO), f"{pairs.path}: {_ITEMINFO}")
    return about


# ---------------------------------------------------------------------------------------------- sealing


def seal(work: Path, part: Path, subject: Subject, *, disk: Disk, progress: Progress | None = None) -> None:
    """Make the package ``part`` of the compact cache V2 in ``work``, durably; the caller renames it.

    Bundles are rewritten as V1, row-major without gaps as ArcGIS exports them; entries come in a fixed order with fixed
    times, so the same tiles make the same bytes. Memory stays flat. Raises CacheError; then ``part`` is gone.
    """
    larger = DATA_START + INDEX_FILE_SIZE - bundle_v2.DATA_START
    seal_archive(work, part, subject, _write_package, disk=disk, progress=progress, bytes_a_bundle=larger)


def _write_package(
    archive: StoredZip, reader: BundleReader, about: Description, progress: Progress, total: int
) -> None:
    import xxhash

    about = replace(about, storage_format=COMPACT_V1.word)
    box, root = degrees(about), f"v101/{MAP_NAME}"
    picture = thumbnail(reader, about.extent)
    documents = [
        (_PKINFO, tpk_documents.render_pkinfo(about, NO_GUID)),
        (_ITEMINFO, tpk_documents.render_iteminfo(about, NO_GUID, box)),
        ("esriinfo/thumbnail/thumbnail.png", picture),
        ("servicedescriptions/mapserver/mapserver.json", tpk_documents.render_mapserver(about, MAP_NAME, box)),
        *([(f"{root}/{compact.CDI}", conf.render_cdi(about))] if about.extent is not None else []),
        (f"{root}/conf.properties", tpk_documents.render_properties()),
        (f"{root}/{compact.CONF}", conf.render_conf(about)),
    ]
    digest = xxhash.xxh3_128()
    for name, data in documents:
        archive.add(name, data)
        digest.update(data)
    add_manifest(archive, reader)
    for level in reader.levels():
        for key in reader.blocks(level):
            name = f"{root}/{ALL_LAYERS}/{bundle_v2.level_folder(level)}/{bundle_v2.bundle_name(key)}"
            digest.update(name.encode())
            span, offsets, sizes = sound_records(reader, key)
            packed, file_size = bundle_v1.layout(sizes)
            tiles = int((sizes > 0).sum())
            header = bundle_v1.header_of(key, largest=int(sizes.max()), tiles=tiles, file_size=file_size)
            archive.begin(name, file_size)
            for chunk in records(span, header.pack() + bytes(DATA_START - HEADER_SIZE), offsets, sizes):
                archive.write(chunk)
                digest.update(chunk)
                progress(min(archive.size, total), total)
            archive.end()
            archive.add(name[: -len("e")] + "x", bundle_v1.pack_index(packed))
    guid = guid_of(digest.digest())
    archive.fill(_PKINFO, tpk_documents.render_pkinfo(about, guid))
    archive.fill(_ITEMINFO, tpk_documents.render_iteminfo(about, guid, box))
    archive.close()
    progress(total, total)


def unpack(package: Path, work: Path, *, disk: Disk) -> None:
    """Make the compact cache V2 folder ``work``, which must not be there, of a package; damaged tiles are left out.

    It appears by rename, so a folder of that name is whole. Raises CacheError.
    """
    unpack_archive(package, work, open_reader, disk=disk)
