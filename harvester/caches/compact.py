"""A compact cache V2 as a folder: where its documents and bundles lie, and its reader.

    DIR/conf.xml, DIR/conf.cdi   names in either case
    DIR/root.json                alone in an unpacked tile package, whose tileBundlesPath says where the bundles are
    DIR/_alllayers/Lnn/RrrrrCcccc.bundle

Servers put one folder (often ``Layers``) between; whoever reads finds it where it is the only one. What is written to
or replaced is the folder itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from harvester.caches import conf, description, root_json
from harvester.caches.bundle_folder import FolderBundles
from harvester.caches.bundles import BundleReader
from harvester.caches.description import Description
from harvester.caches.vector_layers import without_layers
from harvester.durable import Disk
from harvester.edges import CacheInfo, TileFormat
from harvester.errors import CacheError, UnsupportedFormatError
from harvester.manifest import FILE, KEY

FORMAT = "compactv2"
ALL_LAYERS = "_alllayers"
CONF, CDI, ROOT = "conf.xml", "conf.cdi", "root.json"

TILES = "tiles.json"
"""What describes a folder of z/x/y files."""

LEFTOVERS = frozenset({*(f"{name}.part" for name in (CONF, CDI, ROOT, TILES, FILE)), CDI, ROOT, FILE})
"""What a kill before the first bundle leaves: conf.xml comes last; without it and without a tile there is no cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """One way in which a cache folder stores its tiles, as conf.xml states it."""

    format: str
    """The format's name."""
    title: str
    word: str
    packet_size: int = description.PACKET_SIZE


COMPACT_V2 = Storage(format=FORMAT, title="a compact cache V2", word=description.COMPACT_V2)
COMPACT_V1 = Storage(format="compact", title="a compact cache V1", word=description.COMPACT_V1)
EXPLODED = Storage(format="exploded", title="an exploded cache", word=description.EXPLODED, packet_size=0)

MAX_DOCUMENT_BYTES = 1 << 24
"""Real documents have kilobytes, with the legends of a hundred layers a megabyte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the parts of a cache folder lie; the documents under the names that they have there."""

    folder: Path
    conf: Path | None
    cdi: Path | None
    root: Path | None


def locate(path: Path) -> Layout | None:
    """The parts of a cache folder at ``path``, or one folder down; None where there is none.

    ``path`` may be one of the documents. Raises CacheError where several caches lie one folder down.
    """
    if path.is_file():
        return _layout(path.parent) if path.name.lower() in (CONF, ROOT) else None
    if not path.is_dir():
        return None
    if found := _layout(path):
        return found
    below = [layout for folder in _folders(path) if (layout := _layout(folder))]
    if len(below) > 1:
        names = ", ".join(layout.folder.name for layout in below)
        raise CacheError(f"{path} holds several caches ({names})", hint="Name one of them.", code="ambiguous")
    return below[0] if below else None


def locate_here(path: Path) -> Layout | None:
    """The parts of the cache folder that ``path`` itself is: what may be written to. None where it is none."""
    return _layout(path) if path.is_dir() else None


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(folder for folder in path.iterdir() if folder.is_dir())
    except OSError as cause:
        raise CacheError(f"cannot list {path}: {cause.strerror}", hint="Check that it can be read.") from cause


def _layout(folder: Path) -> Layout | None:
    try:
        files = {entry.name.lower(): entry for entry in sorted(folder.iterdir(), reverse=True)}
    except OSError as cause:
        raise CacheError(f"cannot list {folder}: {cause.strerror}", hint="Check that it can be read.") from cause
    if CONF not in files and ROOT not in files:
        return None
    return Layout(folder=folder, conf=files.get(CONF), cdi=files.get(CDI), root=files.get(ROOT))


def is_cache_folder(folder: Path) -> bool:
    """Does a folder say, by one of its documents, that it is a cache? Nothing is listed."""
    found = [folder / name for name in (CONF, ROOT, TILES) if (folder / name).is_file()]
    try:
        return bool(found) and not any(is_foreign(path) for path in found)
    except CacheError:
        return False


def is_empty(path: Path) -> bool:
    """True for a folder with nothing in it but what a kill at the very start of a run leaves."""
    entries = list(path.iterdir())
    return all(
        (entry.name in LEFTOVERS and _may_be_left(entry))
        or (entry.name == ALL_LAYERS and entry.is_dir() and not any(entry.iterdir()))
        for entry in entries
    )


def _may_be_left(entry: Path) -> bool:
    if not entry.is_file() or entry.is_symlink():
        return False
    return may_be_half(read_document(entry, Disk())[:1]) if entry.suffix == ".part" else not is_foreign(entry)


def may_be_half(head: bytes) -> bool:
    """May a half-written document begin so: not at all, as JSON or XML, or with zeros after a power cut?"""
    return head[:1] in (b"", b"{", b"<", b"\0")


_KEYS = {FILE: KEY, ROOT: "tileInfo", TILES: "tiles"}
"""What each JSON document of a cache has: web sites have a manifest.json, and much has a root.json."""


def is_foreign(path: Path) -> bool:
    """Is what lies under the name of one of a cache's documents that of something else? What is damaged is nobody's."""
    if not path.is_file():
        return path.exists()
    name = path.name.lower()
    data = read_document(path, Disk())
    if name == CONF:
        return b"<" in data and b"CacheInfo" not in data
    if name not in _KEYS:
        return False
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return not (isinstance(document, dict) and _KEYS[name] in document)


def describe(layout: Layout, disk: Disk, storage: Storage = COMPACT_V2) -> tuple[Description, Path]:
    """What the cache says of itself, and the folder of its level folders.

    conf.xml decides, root.json adds its texts. Raises CacheError where they can't be read, UnsupportedFormatError where
    the cache is of another storage format.
    """
    about: Description | None = None
    folders: tuple[str, ...] = (ALL_LAYERS,)
    if layout.root is not None:
        about, folders = root_json.parse_root(read_document(layout.root, disk), str(layout.root))
    if layout.conf is not None:
        stated = conf.parse_conf(read_document(layout.conf, disk), str(layout.conf))
        extent = conf.parse_cdi(read_document(layout.cdi, disk), str(layout.cdi)) if layout.cdi is not None else None
        if about is not None:
            stated = replace(stated, name=about.name, description=about.description, attribution=about.attribution)
            extent = extent or about.extent
        about, folders = replace(stated, extent=extent), _conf_folders(layout.folder, folders)
    if about is None:
        raise CacheError(f"{layout.folder} has neither conf.xml nor root.json", hint="Name the folder of a cache.")
    require_storage(about, str(layout.conf or layout.root), storage)
    return replace(about, name=about.name or layout.folder.name), layout.folder.joinpath(*folders)


def _conf_folders(folder: Path, stated: tuple[str, ...]) -> tuple[str, ...]:
    """conf.xml implies ``_alllayers``, in whatever case; where there is none, root.json's folder."""
    names = [entry.name for entry in folder.iterdir() if entry.name.lower() == ALL_LAYERS and entry.is_dir()]
    if names:
        return (ALL_LAYERS if ALL_LAYERS in names else names[0],)
    return stated if folder.joinpath(*stated).is_dir() else (ALL_LAYERS,)


def require_storage(about: Description, where: str, storage: Storage = COMPACT_V2) -> None:
    """Raise UnsupportedFormatError unless the cache is stored in this way."""
    if about.storage_format != storage.word or about.packet_size != storage.packet_size:
        stored = f"{about.storage_format or 'no storage format'}, packet size {about.packet_size}"
        raise UnsupportedFormatError(
            f"{where} is not {storage.title} ({stored})",
            hint=f"It must be {storage.word} with packet size {storage.packet_size}.",
        )


def read_document(path: Path, disk: Disk) -> bytes:
    """The bytes of conf.xml, conf.cdi or root.json. Raises CacheError."""
    descriptor = disk.open(path)
    try:
        if disk.size(descriptor) > MAX_DOCUMENT_BYTES:
            raise CacheError(
                f"{path} is larger than {MAX_DOCUMENT_BYTES:,} bytes", hint="It is no document of a cache."
            )
        return disk.read(descriptor, MAX_DOCUMENT_BYTES, 0)
    finally:
        disk.close(descriptor)


def read_manifest(layout: Layout, disk: Disk) -> str | None:
    """The text of the cache's manifest; None where there is none."""
    path = layout.folder / FILE
    return read_document(path, disk).decode(errors="replace") if path.is_file() else None


def cache_info(about: Description, name: str, manifest: str | None = None) -> CacheInfo:
    """A description as every reader gives it. ``name``: the format's; ``manifest``: its text."""
    manifest, layers = without_layers(manifest or "")
    return CacheInfo(
        format=name,
        scheme=about.scheme,
        tile_format=about.tile_format,
        name=about.name,
        attribution=about.attribution,
        extent=about.extent,
        details={
            "storageFormat": about.storage_format,
            "packetSize": str(about.packet_size),
            "tileFormat": about.format_name,
            "compressionQuality": format(about.compression_quality, "g"),
            "description": about.description,
            **({KEY: manifest} if manifest else {}),
        },
        vector_layers=layers if about.tile_format is TileFormat.PBF else (),
    )


def open_reader(path: str | Path) -> BundleReader:
    """Open a compact cache V2 by its folder, the folder above it, or its conf.xml. Raises CacheError."""
    path, disk = Path(path), Disk()
    layout = locate(path)
    if layout is None:
        what = "is not there" if not path.exists() else "is no compact cache: it has neither conf.xml nor root.json"
        raise CacheError(f"{path} {what}", hint="Name the folder that holds conf.xml.", code="not_a_cache")
    about, folder = describe(layout, disk)
    return BundleReader(cache_info(about, FORMAT, read_manifest(layout, disk)), FolderBundles(folder, disk))
