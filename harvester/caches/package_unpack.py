"""A package of any layout made a compact cache folder again, so that tiles can be added to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from harvester.caches import bundle_v2, compact, conf, root_json
from harvester.caches.bundles import BundleReader
from harvester.caches.description import Description, format_word
from harvester.caches.package_bundles import compacted
from harvester.durable import Disk, disk_full
from harvester.errors import CacheError
from harvester.manifest import FILE, KEY


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
