"""The layout of a V1 bundle: byte for byte against worked examples and real files, torn entries, round trips."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.caches import bundle_v1, bundle_v2
from harvester.caches.bundle_v1 import DATA_START, HEADER_SIZE, INDEX_START
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey

KEY = BlockKey(5, 0, 0)


def encode(tiles: dict[int, bytes], key: BlockKey = KEY, order: Sequence[int] | None = None) -> tuple[bytes, bytes]:
    """A pair, records without gaps in ``order`` (row-major by default): the simple twin of what the writers do."""
    records, places = b"", {}
    for number in order or sorted(tiles):
        places[number] = DATA_START + len(records)
        records += struct.pack("<I", len(tiles[number])) + tiles[number]
    entries = b"".join(
        places.get(row * BLOCK + col, 60 + 4 * (col * BLOCK + row)).to_bytes(5, "little")
        for col in range(BLOCK)
        for row in range(BLOCK)
    )
    largest = max(map(len, tiles.values()), default=0)
    size = DATA_START + len(records)
    header = struct.pack(
        "<4I3Q5I", 3, 16384, largest, 5, 4 * len(tiles), size, 40, 16, key.row, key.row + 127, key.col, key.col + 127
    )
    ends = struct.pack("<4I", 3, 16, 16384, 5), struct.pack("<4I", 0, 16, 16, 0)
    return header + bytes(65536) + records, ends[0] + entries + ends[1]


def encode_ours(tiles: dict[int, bytes], key: BlockKey = KEY) -> tuple[bytes, bytes]:
    sizes = np.zeros(BLOCK_TILES, dtype=np.int64)
    for number, body in tiles.items():
        sizes[number] = len(body)
    index, file_size = bundle_v1.layout(sizes)
    header = bundle_v1.header_of(key, largest=int(sizes.max()), tiles=len(tiles), file_size=file_size)
    data = bytearray(header.pack() + bytes(DATA_START - HEADER_SIZE))
    for number in sorted(tiles):
        data += bundle_v2.prefix(len(tiles[number])) + tiles[number]
    return bytes(data), bundle_v1.pack_index(index)


def decode(bundle: bytes, entries: bytes) -> dict[int, bytes]:
    starts = bundle_v1.parse_starts(entries)
    assert starts is not None
    index, _ = bundle_v1.sound_index(starts, len(bundle), lambda size, at: bundle[at : at + size])
    offsets, sizes = bundle_v2.offsets(index), bundle_v2.sizes(index)
    return {int(n): bundle[offsets[n] : offsets[n] + sizes[n]] for n in np.flatnonzero(sizes)}


def problems(bundle: bytes, entries: bytes) -> list[int | None]:
    found = bundle_v1.problems(bundle[:60], entries, len(bundle), lambda size, at: bundle[at : at + size])
    return [problem.number for problem in found]


def with_entry(entries: bytes, number: int, offset: int) -> bytes:
    at = bundle_v1.entry_position(number)
    return entries[:at] + offset.to_bytes(5, "little") + entries[at + 5 :]


TILES = {0: b"first", 130: b"second tile", 10 * BLOCK + 4: b"tenth row", BLOCK_TILES - 1: b"last"}


def test_entries_are_column_major_and_point_at_the_size_word() -> None:
    assert bundle_v1.entry_number(10 * BLOCK + 4) == 522
    assert bundle_v1.entry_position(10 * BLOCK + 4) == 2626
    bundle, entries = encode_ours({10 * BLOCK + 4: b"x" * 2419})
    assert entries[2626:2631] == bytes.fromhex("3c00010000")
    assert struct.unpack_from("<I", bundle, 65596) == (2419,)
    assert (len(entries), DATA_START) == (81952, 65596)


def test_an_absent_entry_points_at_its_own_word_of_zero() -> None:
    bundle, entries = encode_ours({})
    assert (len(bundle), len(entries)) == (65596, 81952)
    for number in range(0, BLOCK_TILES, 997):
        at = INDEX_START + 5 * number
        offset = int.from_bytes(entries[at : at + 5], "little")
        assert offset == 60 + 4 * number
        assert bundle[offset : offset + 4] == bytes(4)


def test_the_header_counts_tiles_in_words_and_names_the_block() -> None:
    bundle, _ = encode_ours({n: bytes(8611 - n) for n in range(28)}, BlockKey(8, 128, 256))
    assert struct.unpack("<4I3Q5I", bundle[:60]) == (
        3, 16384, 8611, 5, 112, len(bundle), 40, 16, 128, 255, 256, 383,
    )  # fmt: skip


@given(st.dictionaries(st.integers(0, BLOCK_TILES - 1), st.binary(min_size=1, max_size=60), max_size=30))
@settings(max_examples=30, deadline=None)
def test_pairs_equal_the_simple_twin_and_read_back(tiles: dict[int, bytes]) -> None:
    pair = encode_ours(tiles)
    assert pair == encode(tiles)
    assert decode(*pair) == tiles
    assert problems(*pair) == []


@pytest.mark.parametrize("offset", [0, 59, 60, DATA_START - 4])
def test_what_points_in_front_of_the_records_is_absent(offset: int) -> None:
    bundle, entries = encode(TILES)
    entries = with_entry(entries, 130, offset)
    assert decode(bundle, entries) == {n: body for n, body in TILES.items() if n != 130}
    assert problems(bundle, entries) == []


def test_a_torn_entry_that_leads_into_a_tile_is_no_tile_though_a_size_stands_there() -> None:
    inner = bundle_v2.prefix(3) + b"abc" + b"rest"
    bundle, entries = encode({0: inner, 1: b"other"})
    torn = with_entry(entries, 1, DATA_START + 4)
    assert decode(bundle, torn) == {0: inner}
    assert problems(bundle, torn) == [1]


def test_behind_a_gap_an_entry_may_name_any_record_that_fits() -> None:
    bundle, entries = encode({0: b"first"})
    bundle += b"\0\0\0\0 a gap" + bundle_v2.prefix(4) + b"late"
    entries = with_entry(entries, 7, len(bundle) - 8)
    assert decode(bundle, entries) == {0: b"first", 7: b"late"}
    assert problems(bundle, entries) == []
    cut = bundle[:-1]
    assert decode(cut, entries) == {0: b"first"}
    assert problems(cut, entries) == [7]
    assert problems(bundle, with_entry(entries, 7, len(bundle) + 1)) == [7]


def test_a_tile_that_was_taken_out_by_its_size_is_absent_and_no_fault() -> None:
    bundle, entries = encode({0: b"first", 1: b"second"})
    offset = DATA_START + 4 + 5
    gone = bundle[:offset] + bytes(4) + bundle[offset + 4 :]
    assert decode(gone, entries) == {0: b"first"}
    assert problems(gone, entries) == []


def test_other_bytes_are_no_pair() -> None:
    bundle, entries = encode(TILES)
    assert bundle_v1.parse_starts(entries[:-17]) is None
    assert bundle_v1.parse_starts(b"\4" + entries[1:]) is None
    assert bundle_v1.parse_header(b"\4" + bundle[1:]) is None
    assert bundle_v1.parse_header(bundle[:59]) is None
    assert problems(bundle, b"") == problems(bundle[:100], entries) == problems(b"\4" + bundle[1:], entries) == [None]


@given(st.integers(0, DATA_START + 60), st.binary(min_size=1, max_size=40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_damage_gives_another_bytes_length_or_an_error(at: int, noise: bytes, in_index: bool) -> None:
    pair = [bytearray(part) for part in encode(TILES)]
    part = pair[1 if in_index else 0]
    at = at % (len(part) - len(noise))
    part[at : at + len(noise)] = noise
    bundle, entries = map(bytes, pair)
    list(problems(bundle, entries))
    if bundle_v1.parse_starts(entries) is not None:
        for body in decode(bundle, entries).values():
            assert 0 < len(body) <= len(bundle)


def test_a_bundle_that_would_not_fit_its_entries_is_refused() -> None:
    sizes = np.zeros(BLOCK_TILES, dtype=np.int64)
    sizes[3] = 1 << 24
    with pytest.raises(ValueError):
        bundle_v1.layout(sizes)


# ---------------------------------------------------------------------------------------------- real files


def written_by_arcgis(shared_data: Path) -> dict[str, tuple[bytes, bytes]]:
    pairs = {}
    for file in sorted((shared_data / "gwc_v1").rglob("*.bundle")):
        pairs[str(file)] = file.read_bytes(), file.with_suffix(".bundlx").read_bytes()
    with zipfile.ZipFile(shared_data / "tpk/states_filled.tpk") as archive:
        for name in archive.namelist():
            if name.endswith(".bundle"):
                pairs[name] = archive.read(name), archive.read(name[:-1] + "x")
    return {name: pair for name, pair in pairs.items() if pair[0].startswith(b"\3\0\0\0")}


@pytest.mark.shared_data
def test_the_bundles_of_arcgis_are_written_again_byte_for_byte(shared_data: Path) -> None:
    pairs = written_by_arcgis(shared_data)
    assert len(pairs) >= 7
    in_our_order = 0
    for name, (bundle, entries) in pairs.items():
        tiles = decode(bundle, entries)
        assert tiles, name
        assert problems(bundle, entries) == [], name
        starts = bundle_v1.parse_starts(entries)
        assert starts is not None
        assert encode(tiles, order=sorted(tiles, key=starts.tolist().__getitem__)) == (bundle, entries), name
        in_our_order += encode_ours(tiles) == (bundle, entries)
    # One bundle was not exported but cached, job by job: its records lie in the order of the work.
    assert in_our_order == len(pairs) - 1
