"""Tile packages of the first kind (.tpk): a compact cache V1 in one zip archive, read in place, sealed, unpacked.

Source: packages that ArcGIS 10.3 wrote. All entries are stored, in this order:

    esriinfo/item.pkinfo, esriinfo/iteminfo.xml, esriinfo/thumbnail/thumbnail.png (200 x 133)
    servicedescriptions/mapserver/mapserver.json
    v101/<map>/conf.cdi, conf.properties, conf.xml
    manifest.json                        our own: source, policies, hashes (harvester/manifest.py)
    v101/<map>/_alllayers/Lnn/RrrrrCcccc.bundle, then its .bundlx; by level, row, column

ArcGIS adds two map layers (v101/<map>.lyr, v103/<map>.lyr) in a format of its own. They hold the symbols of the layers,
no tiles; packages made here have none, and where one is added to, they stay. The map's name may hold blanks: the cache
is where conf.xml is.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from harvester.caches import bundle_v1, bundle_v2, compact, conf, stored_zip, tpk_documents
from harvester.caches.bundle_v1 import DATA_START, HEADER_SIZE, INDEX_FILE_SIZE
from harvester.caches.bundles import BundleReader
from harvester.caches.compact import ALL_LAYERS, COMPACT_V1
from harvester.caches.compact_v1 import PairReader
from harvester.caches.description import Description
from harvester.caches.kept import Kept
from harvester.caches.package_bundles import records, sound_records
from harvester.caches.package_seal import NO_GUID, Progress, add_rest, degrees, guid_of, seal_archive
from harvester.caches.package_unpack import unpack_archive
from harvester.caches.records import Span
from harvester.caches.restated import restate_cdi, restate_conf
from harvester.caches.restated_items import ITEMINFO, PKINFO, ItemDocuments, restate_mapserver
from harvester.caches.stored_zip import Directory, Entry, StoredZip
from harvester.caches.thumbnail import thumbnail
from harvester.caches.tpk_documents import TILES
from harvester.caches.zip_bundles import ZipBundles
from harvester.durable import Disk
from harvester.edges import Subject
from harvester.errors import CacheError
from harvester.tiling.tile import BlockKey

FORMAT = "tpk"

MAP_NAME = "Layers"
"""What ArcMap calls a map that nobody named."""

_THUMBNAIL, _MAPSERVER = "esriinfo/thumbnail/thumbnail.png", "servicedescriptions/mapserver/mapserver.json"

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

    def __init__(self, path: Path, directory: Directory, disk: Disk, descriptor: int) -> None:
        super().__init__(path, directory, disk, descriptor)
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
    directory = stored_zip.read_directory(path)
    name = _conf_name(entry.name for entry in directory.files)
    if name is None:
        raise CacheError(f"{path} is no tile package: it has no conf.xml", hint="Name a .tpk file.", code="not_a_cache")
    pairs = PairsInZip(path, directory, disk, disk.open(path))
    try:
        about = _describe(pairs.document, name, {entry.name.lower() for entry in directory.files}, path)
        pairs.place((*name.split("/")[:-1], ALL_LAYERS))
    except BaseException:
        pairs.close()
        raise
    return PairReader(compact.cache_info(about, FORMAT, pairs.manifest()), pairs)


def _conf_name(names: Iterable[str]) -> str | None:
    """Where the cache is, whatever its map is called."""
    found = [name for name in names if name.lower().endswith("/" + compact.CONF)]
    return min(found, key=lambda name: (name.count("/"), name), default=None)


def _describe(document: Callable[[str], bytes], conf_name: str, names: set[str], path: Path) -> Description:
    where = f"{path}: {conf_name}"
    about = conf.parse_conf(document(conf_name.lower()), where)
    compact.require_storage(about, where, COMPACT_V1)
    cdi = conf_name[: -len(compact.CONF)].lower() + compact.CDI
    extent = conf.parse_cdi(document(cdi), f"{path}: {cdi}") if cdi in names else None
    about = replace(about, extent=extent, name=path.stem)
    if ITEMINFO in names:
        about = tpk_documents.with_item(about, document(ITEMINFO), f"{path}: {ITEMINFO}")
    return about


# ---------------------------------------------------------------------------------------------- sealing


def seal(work: Path, part: Path, subject: Subject, *, disk: Disk, progress: Progress | None = None) -> None:
    """Make the package ``part`` of the compact cache V2 in ``work``, durably; the caller renames it.

    Bundles are rewritten as V1, row-major without gaps as ArcGIS exports them; entries come in a fixed order with fixed
    times, so the same tiles make the same bytes. What a package that was taken apart had besides is in it again. Memory
    stays flat. Raises CacheError; then ``part`` is gone.
    """
    larger = DATA_START + INDEX_FILE_SIZE - bundle_v2.DATA_START
    seal_archive(work, part, subject, _write_package, disk=disk, progress=progress, bytes_a_bundle=larger)


def _write_package(
    archive: StoredZip, reader: BundleReader, about: Description, kept: Kept, progress: Progress, total: int
) -> None:
    import xxhash

    about = replace(about, storage_format=COMPACT_V1.word)
    root = _root(kept)
    documents = _Documents(about, kept, root)
    picture = kept.document(_THUMBNAIL) or thumbnail(reader, about.extent)
    properties = f"{root}/conf.properties"
    contents = [
        (PKINFO, documents.pkinfo(NO_GUID)),
        (ITEMINFO, documents.iteminfo(NO_GUID)),
        (_THUMBNAIL, picture),
        (_MAPSERVER, documents.mapserver()),
        *([(f"{root}/{compact.CDI}", documents.cdi())] if about.extent is not None else []),
        (properties, kept.document(properties) or tpk_documents.render_properties()),
        (f"{root}/{compact.CONF}", documents.conf()),
    ]
    digest = xxhash.xxh3_128()
    for name, data in contents:
        kept.put(archive, name, data)
        digest.update(data)
    add_rest(archive, reader, kept)
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
    archive.fill(kept.name(PKINFO), documents.pkinfo(guid))
    archive.fill(kept.name(ITEMINFO), documents.iteminfo(guid))
    kept.close(archive)
    progress(total, total)


def _root(kept: Kept) -> str:
    """The folder of the cache: that of the package which was added to, else ours."""
    there = _conf_name(entry.name for entry in kept.entries)
    return there[: -len("/" + compact.CONF)] if there is not None else f"v101/{MAP_NAME}"


class _Documents(ItemDocuments):
    """The documents of a package that is ``about`` now, and was what ``kept`` says."""

    def __init__(self, about: Description, kept: Kept, root: str) -> None:
        self._root = root
        conf_name, old = f"{root}/{compact.CONF}", about
        if kept.document(conf_name) is not None:
            old = _describe(lambda name: kept.document(name) or b"", conf_name, kept.names, Path(about.name or FORMAT))
        super().__init__(about, old, kept, TILES)

    def mapserver(self) -> bytes:
        """mapserver.json."""
        old, about = self.old, self.about
        map_name = self._root.rpartition("/")[2]

        def render(about: Description) -> bytes:
            return tpk_documents.render_mapserver(about, map_name, degrees(about))

        return self.stated(
            _MAPSERVER, lambda: render(about), lambda there: restate_mapserver(there, old, about, render)
        )

    def cdi(self) -> bytes:
        """conf.cdi."""
        name, about = f"{self._root}/{compact.CDI}", self.about
        return self.stated(name, lambda: conf.render_cdi(about), lambda there: restate_cdi(there, about, name))

    def conf(self) -> bytes:
        """conf.xml."""
        name, about = f"{self._root}/{compact.CONF}", self.about
        return self.stated(name, lambda: conf.render_conf(about), lambda there: restate_conf(there, about, name))


def unpack(package: Path, work: Path, *, disk: Disk) -> None:
    """Make the compact cache V2 folder ``work``, which must not be there, of a package; damaged tiles are left out.

    It appears by rename, so a folder of that name is whole. Raises CacheError.
    """
    picture = (_THUMBNAIL, lambda reader: thumbnail(reader, reader.info.extent))
    unpack_archive(package, work, open_reader, disk=disk, thumbnail=picture)
