"""Zip archives whose entries are stored, not compressed: written with sizes known beforehand, read in place.

Source: PKWARE APPNOTE 6.3. All numbers little-endian; ZIP64 fields are used only where a number needs them.

Local header:   u32 0x04034b50, u16 version needed, flags, method, time, date, u32 CRC-32, size, size,
                u16 name, extra length
Central entry:  u32 0x02014b50, u16 made by, needed, flags, method, time, date, u32 CRC-32, size, size,
                u16 name, extra, comment length, disk, internal attributes, u32 external attributes, offset
End:            u32 0x06054b50, u16 disk, disk, entries, entries, u32 directory size, offset, u16 comment length
ZIP64 extra:    u16 0x0001, length, then u64 size, size, offset, those only whose u32 is 0xffffffff
ZIP64 end:      u32 0x06064b50, u64 44, u16 made by, needed, u32 disk, disk, u64 entries, entries, size, offset
ZIP64 locator:  u32 0x07064b50, u32 disk, u64 offset of the ZIP64 end, u32 disks
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from harvester.caches.zip_names import Names
from harvester.caches.zip_names import refused as refused
from harvester.durable import Buffer, Disk
from harvester.errors import CacheError, UsageError

MAX_ENTRIES = 2_000_000
"""Two million bundles are 32 thousand million tiles; a longer directory would only fill the memory."""

_U32 = 0xFFFFFFFF
_U16 = 0xFFFF
_LOCAL = struct.Struct("<I5H3I2H")
_CENTRAL = struct.Struct("<I6H3I5H2I")
_END = struct.Struct("<I4H2IH")
_END64 = struct.Struct("<IQ2H2I4Q")
_LOCATOR = struct.Struct("<IIQI")
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK, _END64_MARK, _LOCATOR_MARK = (
    0x04034B50, 0x02014B50, 0x06054B50, 0x06064B50, 0x07064B50,
)  # fmt: skip
_UTF8 = 0x800
"""Flag of an entry whose name is in UTF-8; without it, it is in code page 437, whose first half is ASCII."""
_PLAIN, _ZIP64 = 20, 45
"""Versions of the format that a reader needs: 2.0, and 4.5 where numbers are larger than 32 bits."""

_FIRST_DAY = datetime(1980, 1, 1, tzinfo=UTC)
_LAST_DAY = datetime(2107, 12, 31, 23, 59, 58, tzinfo=UTC)


# ---------------------------------------------------------------------------------------------- writing


def entry_time(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """MS-DOS time and date of every entry: SOURCE_DATE_EPOCH where it is set, else the first that the format knows."""
    stated = environment.get("SOURCE_DATE_EPOCH", "")
    moment = _FIRST_DAY
    if stated:
        try:
            moment = datetime.fromtimestamp(int(stated), UTC)
        except (ValueError, OverflowError, OSError) as cause:
            raise UsageError(
                f"SOURCE_DATE_EPOCH is {stated[:40]!r}", hint="It is a whole number of seconds."
            ) from cause
    moment = min(max(moment, _FIRST_DAY), _LAST_DAY)
    return (
        moment.hour << 11 | moment.minute << 5 | moment.second // 2,
        (moment.year - 1980) << 9 | moment.month << 5 | moment.day,
    )


@dataclass(slots=True)
class _Written:
    name: bytes
    offset: int
    size: int
    crc: int = 0

    @property
    def data(self) -> int:
        return self.offset + len(local_header(self.name, self.size, 0, (0, 0)))


class StoredZip:
    """An archive being written from offset 0: for each entry ``begin``, ``write``, ``end``; then ``close``."""

    def __init__(self, disk: Disk, descriptor: int, *, time: tuple[int, int]) -> None:
        self._disk = disk
        self._descriptor = descriptor
        self._time = time
        self._entries: list[_Written] = []
        self._end = 0
        self._at = 0

    @property
    def size(self) -> int:
        """Bytes written or reserved."""
        return self._end

    def begin(self, name: str, size: int) -> None:
        """Start an entry of a known size."""
        entry = _Written(name.encode(), self._end, size)
        self._entries.append(entry)
        self._at = entry.data
        self._end = entry.data + size

    def write(self, data: Buffer) -> None:
        """The next bytes of the entry."""
        entry = self._entries[-1]
        entry.crc = zlib.crc32(data, entry.crc)
        self._disk.pwrite(self._descriptor, data, self._at)
        self._at += len(data)

    def end(self) -> None:
        """All bytes are there: the entry's header is written. Raises CacheError where their number is not ``size``."""
        entry = self._entries[-1]
        if self._at != self._end:
            raise CacheError(
                f"{entry.name.decode()} has {self._at - entry.data:,} bytes instead of {entry.size:,}",
                hint="The work folder changed meanwhile; run the same command again.",
            )
        self._header(entry)

    def add(self, name: str, data: bytes) -> None:
        """A small entry at once."""
        self.begin(name, len(data))
        self.write(data)
        self.end()

    def fill(self, name: str, data: bytes) -> None:
        """Other bytes, of the same length, for an entry that was added before."""
        (entry,) = (entry for entry in self._entries if entry.name == name.encode())
        if len(data) != entry.size:
            raise ValueError(f"{name} has {entry.size} bytes, not {len(data)}")
        entry.crc = zlib.crc32(data)
        self._disk.pwrite(self._descriptor, data, entry.data)
        self._header(entry)

    def close(self, comment: bytes = b"") -> None:
        """Write the directory and the end; the descriptor stays open, and nothing is synced."""
        start = self._end
        directory = b"".join(
            central_entry(entry.name, entry.size, entry.offset, entry.crc, self._time) for entry in self._entries
        )
        end = end_records(len(self._entries), len(directory), start, comment)
        self._disk.pwrite(self._descriptor, directory + end, start)
        self._end = start + len(directory) + len(end)
        self._disk.truncate(self._descriptor, self._end)

    def _header(self, entry: _Written) -> None:
        header = local_header(entry.name, entry.size, entry.crc, self._time)
        self._disk.pwrite(self._descriptor, header, entry.offset)


def local_header(name: bytes, size: int, crc: int, time: tuple[int, int]) -> bytes:
    """What stands in front of an entry's bytes."""
    large = size >= _U32
    extra = struct.pack("<2H2Q", 1, 16, size, size) if large else b""
    fixed = _LOCAL.pack(
        _LOCAL_MARK,
        _ZIP64 if large else _PLAIN,
        _flags(name),
        0,
        *time,
        crc,
        *[min(size, _U32)] * 2,
        len(name),
        len(extra),
    )
    return fixed + name + extra


def central_entry(name: bytes, size: int, offset: int, crc: int, time: tuple[int, int]) -> bytes:
    """An entry in the directory."""
    wide = ([size] * 2 if size >= _U32 else []) + ([offset] if offset >= _U32 else [])
    extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    version = _ZIP64 if wide else _PLAIN
    fixed = _CENTRAL.pack(
        _CENTRAL_MARK, version, version, _flags(name), 0, *time, crc, *[min(size, _U32)] * 2,
        len(name), len(extra), 0, 0, 0, 0, min(offset, _U32),
    )  # fmt: skip
    return fixed + name + extra


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else _UTF8


def end_records(count: int, size: int, start: int, comment: bytes = b"") -> bytes:
    """What stands behind a directory of ``count`` entries and ``size`` bytes that begins at ``start``."""
    wide = b""
    if count >= _U16 or start >= _U32 or size >= _U32:
        wide = _END64.pack(_END64_MARK, 44, _ZIP64, _ZIP64, 0, 0, count, count, size, start)
        wide += _LOCATOR.pack(_LOCATOR_MARK, 0, start + size, 1)
    numbers = (*[min(count, _U16)] * 2, min(size, _U32), min(start, _U32), len(comment))
    return wide + _END.pack(_END_MARK, 0, 0, *numbers) + comment


# ---------------------------------------------------------------------------------------------- reading


class Entry(NamedTuple):
    """One file, or folder, in an archive. ``limit`` is where the next header or the directory starts."""

    name: str
    header: int
    packed: int
    size: int
    method: int
    limit: int
    crc: int
    """CRC-32 of its bytes, as the directory states it."""
    raw: bytes
    """The name as it stands in the archive."""

    @property
    def stored(self) -> bool:
        """True when its bytes lie in the archive as they are."""
        return self.method == zipfile.ZIP_STORED

    @property
    def is_folder(self) -> bool:
        """True for an entry that only says that there is a folder."""
        return self.name.endswith("/")


class Directory(NamedTuple):
    """What an archive holds."""

    all: list[Entry]
    """Files and folders in their order."""
    comment: bytes
    """Of the archive."""

    @property
    def files(self) -> list[Entry]:
        """Without the folders."""
        return [entry for entry in self.all if not entry.is_folder]


def read_directory(path: Path) -> Directory:
    """What is in an archive. Raises CacheError for one that is damaged or hostile.

    Refused are names that not every system can unpack (``zip_names``), links, encrypted entries, methods other than
    stored and deflated, and entries that overlap each other or the archive's end.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos, directory, comment = archive.infolist(), archive.start_dir, archive.comment
    except FileNotFoundError as cause:
        raise CacheError(f"{path} is not there", hint="Check the path.", code="missing") from cause
    except OSError as cause:
        raise CacheError(f"cannot read {path}: {cause.strerror}", hint="Check its permissions and the disk.") from cause
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError, OverflowError) as cause:
        raise refused(path, f"it is no whole zip archive ({cause})") from cause
    if len(infos) > MAX_ENTRIES:
        raise refused(path, f"it has {len(infos):,} entries")
    entries: list[Entry] = []
    names = Names(path)
    limit = directory
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        names.add(info.filename)
        _require_tame(path, info)
        least = info.header_offset + _LOCAL.size + len(_raw(info)) + info.compress_size
        if info.header_offset < 0 or least > limit:
            raise refused(path, f"the entry {info.filename!r} overlaps another or the archive's end")
        sizes = (info.compress_size, info.file_size)
        entries.append(
            Entry(info.filename, info.header_offset, *sizes, info.compress_type, limit, info.CRC, _raw(info))
        )
        limit = info.header_offset
    return Directory(entries[::-1], comment)


def _raw(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437", "replace")


def _require_tame(path: Path, info: zipfile.ZipInfo) -> None:
    name = info.filename
    if info.create_system == 3 and stat.S_ISLNK(info.external_attr >> 16):
        raise refused(path, f"the entry {name[:80]!r} is a link")
    if info.flag_bits & 0x41:
        raise refused(path, f"the entry {name[:80]!r} is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refused(path, f"the entry {name[:80]!r} is compressed by method {info.compress_type}")
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise refused(path, f"the stored entry {name[:80]!r} states two sizes")


def data_offset(entry: Entry, local: bytes, path: Path) -> int:
    """Where an entry's bytes start. ``local``: ``local_size`` bytes from ``entry.header``. Raises CacheError."""
    if len(local) >= _LOCAL.size:
        fields = _LOCAL.unpack_from(local)
        name_length, extra_length = fields[9], fields[10]
        start = entry.header + _LOCAL.size + name_length + extra_length
        name = local[_LOCAL.size : _LOCAL.size + name_length]
        if fields[0] == _LOCAL_MARK and start + entry.packed <= entry.limit and name == entry.raw:
            return int(start)
    raise refused(path, f"the header of the entry {entry.name!r} is damaged")


def local_size(entry: Entry) -> int:
    """Bytes from ``entry.header`` that ``data_offset`` needs."""
    return _LOCAL.size + len(entry.raw)
