"""A compact cache folder made of a package, so that tiles can be added to it: it appears by rename, whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harvester.caches import bundle_v2, compact, conf, root_json
from harvester.caches.description import Description
from harvester.durable import Disk, disk_full
from harvester.errors import CacheError
from harvester.manifest import FILE
from harvester.tiling.tile import BlockKey


@contextmanager
def appearing(package: Path, work: Path, disk: Disk) -> Iterator[Path]:
    """The folder that is ``work`` at the end of the ``with`` block, under the name that it has until then: that of the
    half-made package, whose remains are cleared.

    Raises CacheError where anything but an empty cache is at ``work``.
    """
    part = package.with_name(package.name + ".part")
    disk.remove_tree(part) if part.is_dir() else disk.remove(part)
    if work.is_dir() and compact.is_empty(work):
        disk.remove_tree(work)
    if work.exists():
        raise CacheError(f"{work} is there already", hint="Move it away, then run the same command again.")
    yield part
    disk.replace(part, work)
    disk.sync_folder(work.absolute().parent)


def begin(part: Path, work: Path, needed: int, disk: Disk) -> None:
    """Make the folder. Raises CacheError where so many bytes have no place beside ``work``."""
    if needed > disk.free_bytes(work):
        raise disk_full(work, needed)
    disk.make_dirs(part / compact.ALL_LAYERS)


def write_level(part: Path, level: int, bundles: Iterable[tuple[BlockKey, Iterable[bytes]]], disk: Disk) -> None:
    """The folder of a level with its bundles, each by its bytes in pieces."""
    folder = part / compact.ALL_LAYERS / bundle_v2.level_folder(level)
    disk.make_dirs(folder)
    for key, pieces in bundles:
        descriptor, offset = disk.open(folder / bundle_v2.bundle_name(key), write=True, create=True, truncate=True), 0
        try:
            for piece in pieces:
                disk.pwrite(descriptor, piece, offset)
                offset += len(piece)
            disk.fsync(descriptor)
        finally:
            disk.close(descriptor)
    disk.sync_folder(folder)


def write_documents(part: Path, about: Description, levels: Sequence[int], manifest: str, disk: Disk) -> None:
    """What describes the cache; ``manifest`` as it is in the package, where it has one."""
    documents = [
        (compact.CONF, conf.render_conf(about)),
        (compact.ROOT, root_json.render_root(about, bundles=root_json.FOLDER_BUNDLES, levels=levels)),
    ]
    if about.extent is not None:
        documents.append((compact.CDI, conf.render_cdi(about)))
    if manifest:
        documents.append((FILE, manifest.encode()))
    for name, data in documents:
        disk.write_whole(part / name, data)
