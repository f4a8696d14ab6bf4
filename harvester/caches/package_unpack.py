"""A package of any layout made a compact cache folder again, so that tiles can be added to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harvester.caches import work_folder
from harvester.caches.bundles import BundleReader
from harvester.caches.description import Description, format_word
from harvester.caches.kept import keep
from harvester.caches.package_bundles import compacted
from harvester.caches.restated import require_plain_root
from harvester.caches.stored_zip import Entry
from harvester.caches.zip_bundles import ZipBundles
from harvester.durable import Disk
from harvester.errors import CacheError
from harvester.manifest import KEY


def unpack_archive(
    package: Path,
    work: Path,
    open_reader: Callable[[Path], BundleReader],
    *,
    disk: Disk,
    thumbnail: tuple[str, Callable[[BundleReader], bytes]],
    more: Callable[[BundleReader, Path], None] = lambda reader, part: None,
    elsewhere: Callable[[Entry], bool] = lambda entry: False,
    root: str = "",
) -> None:
    """``unpack`` for packages of any layout. ``thumbnail``: its name, and how it is made of the tiles. ``more`` writes
    what else the folder is to hold, before it is named, and where it puts those members that are ``elsewhere``.
    ``root``: the name of its root.json, if it has any."""
    with work_folder.appearing(package, work, disk) as part, open_reader(package) as reader:
        for damage in reader.unknown():
            message = f"{package} cannot be added to: {damage.where}: {damage.what}"
            raise CacheError(message, hint="Take them out of it, or choose another output.", code="damaged")
        if root:
            assert isinstance(reader.bundles, ZipBundles)
            require_plain_root(reader.bundles.document(root), f"{package}: {root}")
        needed = 2 * package.stat().st_size  # the package is made anew beside what is unpacked
        work_folder.begin(part, work, needed, disk)
        levels = reader.levels()
        for level in levels:
            bundles = ((key, compacted(reader, key)[1]) for key in reader.blocks(level))
            work_folder.write_level(part, level, bundles, disk)
        work_folder.write_documents(part, _description(reader), levels, reader.info.details.get(KEY, ""), disk)
        more(reader, part)
        keep_members(reader, part, thumbnail, elsewhere, disk)


def keep_members(
    reader: BundleReader,
    part: Path,
    thumbnail: tuple[str, Callable[[BundleReader], bytes]],
    elsewhere: Callable[[Entry], bool],
    disk: Disk,
) -> None:
    """Everything but the tiles; a picture that was made of them is made anew."""
    bundles, (picture, made) = reader.bundles, thumbnail
    assert isinstance(bundles, ZipBundles)

    def unlike(entry: Entry) -> bool:
        is_ours = entry.name.lower() == picture and bundles.document(picture) == made(reader)
        return is_ours or elsewhere(entry)

    keep(bundles, part, disk, unlike)


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
