"""Bulk writes: the same bytes as any write, whether or not they pass the page cache by."""

from __future__ import annotations

import errno
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from harvester.durable import BULK_BYTES, Bulk, Disk, bulk
from harvester.durable.bulk import HUGE, PAGE
from harvester.errors import CacheError
from tests.caches.making import Watching

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux writes past its page cache")


def pieces_of(draw: random.Random, size: int) -> list[bytes]:
    pieces = []
    while size:
        part = min(size, draw.randint(1, 60_000))
        pieces.append(draw.randbytes(part))
        size -= part
    return pieces


@pytest.mark.parametrize("direct", [True, False])
def test_a_stream_of_any_sizes_arrives_as_it_was(tmp_path: Path, direct: bool) -> None:
    draw = random.Random(3)
    sizes = [1, 65_536, 70_000, PAGE * 20, BULK_BYTES, BULK_BYTES + 1, 3 * BULK_BYTES, 99, 300_001, PAGE, 131_072]
    disk = Disk()
    descriptor = disk.open(tmp_path / "file", write=True, create=True)
    bulk = Bulk(disk, direct=direct)
    at, expected = 131_136, b""  # where a bundle's first record lies
    for size in sizes:
        pieces = pieces_of(draw, size)
        bulk.write(descriptor, pieces, size, at)
        expected += b"".join(pieces)
        at += size
        assert disk.read(descriptor, len(expected), 131_136) == expected  # readers see each write at once
    bulk.close()
    bulk.close()
    disk.close(descriptor)
    assert (tmp_path / "file").read_bytes() == bytes(131_136) + expected


@linux
def test_what_lies_between_the_ends_passes_the_page_cache_by_and_the_file_is_as_before(tmp_path: Path) -> None:
    import fcntl

    disk = Watching()
    descriptor = disk.open(tmp_path / "file", write=True, create=True)
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    Bulk(disk, direct=True).write(descriptor, [b"x" * 300_000], 300_000, 100)
    if not disk.direct:
        pytest.skip("this file system knows no direct writes")
    assert disk.direct == [300_100 // PAGE * PAGE - PAGE]
    assert disk.plain == [PAGE - 100, 300_100 % PAGE]
    assert fcntl.fcntl(descriptor, fcntl.F_GETFL) == flags
    disk.close(descriptor)


@linux
def test_little_is_written_as_ever(tmp_path: Path) -> None:
    disk = Watching()
    descriptor = disk.open(tmp_path / "file", write=True, create=True)
    Bulk(disk, direct=True).write(descriptor, [b"x" * PAGE], PAGE, 0)
    assert (disk.direct, disk.plain) == ([], [PAGE])
    disk.close(descriptor)


@linux
def test_where_direct_writes_are_refused_it_is_written_as_ever(tmp_path: Path) -> None:
    disk = Watching(refuses=True)
    descriptor = disk.open(tmp_path / "file", write=True, create=True)
    bulk = Bulk(disk, direct=True)
    body = random.Random(1).randbytes(200_000)
    bulk.write(descriptor, [body], len(body), 0)
    bulk.write(descriptor, [body], len(body), len(body))
    assert len(disk.direct) <= 1
    assert (tmp_path / "file").read_bytes() == body * 2
    disk.close(descriptor)


@linux
def test_a_full_disk_is_no_refusal(tmp_path: Path) -> None:
    disk = Watching(refuses=True, error=errno.ENOSPC)
    descriptor = disk.open(tmp_path / "file", write=True, create=True)
    bulk = Bulk(disk, direct=True)
    with pytest.raises(CacheError) as raised:
        bulk.write(descriptor, [b"x" * 200_000], 200_000, 0)
    assert isinstance(raised.value.__cause__, OSError)
    bulk.close()
    disk.close(descriptor)


@linux
def test_the_memory_that_a_direct_write_takes_from_begins_where_a_huge_page_may(tmp_path: Path) -> None:
    room, first = bulk._room()
    address = int(np.frombuffer(room, np.uint8, 1).__array_interface__["data"][0])
    assert (address + first) % HUGE == 0 and first + HUGE <= len(room)
    assert BULK_BYTES + PAGE <= HUGE  # from any place in a page on
