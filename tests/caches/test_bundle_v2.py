"""The layout of a V2 bundle: byte for byte against worked examples, real files, and round trips."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.caches import bundle_v2
from harvester.caches.bundle_v2 import DATA_START, FIRST_TILE, HEADER_SIZE, INDEX_SIZE, Header, Problem
from harvester.tiling.tile import BLOCK, BLOCK_TILES, BlockKey

ARCGIS = Header(records=0, largest=20 + INDEX_SIZE, legacy_size=0)
"""The words that ArcGIS itself writes."""

ARCGIS_ABSENT = 4


def encode(tiles: dict[int, bytes], header: Header, absent: int = 0) -> bytes:
    """A bundle, tiles row-major without gaps: the simple twin of what the writers do."""
    data, index = bytearray(), [absent] * BLOCK_TILES
    for number in sorted(tiles):
        index[number] = bundle_v2.entry(DATA_START + len(data) + 4, len(tiles[number]))
        data += bundle_v2.prefix(len(tiles[number])) + tiles[number]
    head = header._replace(file_size=DATA_START + len(data)).pack()
    return head + bundle_v2.pack_index(np.array(index, dtype=np.uint64)) + bytes(data)


def decode(data: bytes) -> dict[int, bytes]:
    index = bundle_v2.parse_index(data[HEADER_SIZE:DATA_START])
    offsets, sizes = bundle_v2.offsets(index), bundle_v2.sizes(index)
    return {int(n): data[offsets[n] : offsets[n] + sizes[n]] for n in np.flatnonzero(sizes)}


def problems(data: bytes) -> list[Problem]:
    return list(bundle_v2.problems(data[:DATA_START], len(data), lambda size, at: data[at : at + size]))


def with_entry(data: bytes, number: int, offset: int, size: int) -> bytes:
    at = bundle_v2.entry_position(number)
    return data[:at] + struct.pack("<Q", size << 40 | offset) + data[at + 8 :]


TILES = {0: b"first", 130: b"second tile", BLOCK_TILES - 1: b"last"}
SOUND = encode(TILES, Header(largest=11))


def test_the_header_has_the_words_of_the_white_paper() -> None:
    words = (
        "03000000 00400000 44aa0000 05000000 0000000000000000 9c15040000000000 2800000000000000"
        "14000200 03000000 10000000 00400000 05000000 00000200"
    )
    header = Header(largest=43588, file_size=267676)
    assert header.pack() == bytes.fromhex(words)
    assert bundle_v2.parse_header(header.pack()) == header


def test_the_header_as_arcgis_writes_it_is_read() -> None:
    words = (
        "03000000 00000000 14000200 05000000 0000000000000000 efd6030000000000 2800000000000000"
        "14000200 03000000 00000000 00400000 05000000 00000200"
    )
    assert bundle_v2.parse_header(bytes.fromhex(words)) == ARCGIS._replace(file_size=0x3D6EF)


@pytest.mark.parametrize("offset, word", [(0, 1), (4, 100), (12, 4), (60, 4)])
def test_a_header_with_another_word_is_none(offset: int, word: int) -> None:
    data = bytearray(Header().pack())
    data[offset : offset + 4] = struct.pack("<I", word)
    assert bundle_v2.parse_header(bytes(data)) is None
    assert bundle_v2.parse_header(Header().pack()[:63]) is None


def test_an_entry_is_five_bytes_of_offset_and_three_of_size() -> None:
    assert struct.pack("<Q", bundle_v2.entry(174732, 41341)) == bytes.fromhex("8caa02000 07da100".replace(" ", ""))
    assert bundle_v2.entry_position(1) == 72
    assert bundle_v2.entry_position(10 * BLOCK + 4) == 10336
    for offset, size in ((1 << 40, 1), (1, 1 << 24), (-1, 1)):
        with pytest.raises(ValueError):
            bundle_v2.entry(offset, size)


def test_the_first_tile_lies_behind_header_index_and_its_size_word() -> None:
    assert (DATA_START, FIRST_TILE) == (0x20040, 0x20044)
    assert SOUND[DATA_START:FIRST_TILE] == struct.pack("<I", 5)
    assert SOUND[FIRST_TILE : FIRST_TILE + 5] == b"first"


@pytest.mark.parametrize(
    "key, folder, name",
    [
        (BlockKey(0, 0, 0), "L00", "R0000C0000.bundle"),
        (BlockKey(8, 128, 0), "L08", "R0080C0000.bundle"),
        (BlockKey(19, 0x2AB80, 0x1F080), "L19", "R2ab80C1f080.bundle"),
        (BlockKey(123, 0, 0), "L123", "R0000C0000.bundle"),
    ],
)
def test_names_are_decimal_levels_and_lower_case_hex(key: BlockKey, folder: str, name: str) -> None:
    assert (bundle_v2.level_folder(key.level), bundle_v2.bundle_name(key)) == (folder, name)
    assert bundle_v2.parse_level_folder(folder.lower()) == key.level
    assert bundle_v2.parse_bundle_name(key.level, name.upper().replace("BUNDLE", "bundle")) == key


@pytest.mark.parametrize(
    "name", ["R0001C0000.bundle", "R000C0000.bundle", "R0080C0000.bundlx", "R00g0C0000.bundle", ""]
)
def test_other_names_are_no_bundles(name: str) -> None:
    assert bundle_v2.parse_bundle_name(0, name) is None


@settings(max_examples=300)
@given(
    st.integers(0, 1 << 23), st.sampled_from(["", "c"]), st.sampled_from(["c0000", "c000", "cc0000", "c00c80", "0c00"])
)
def test_a_column_or_row_that_begins_with_a_c_is_told_from_the_letter_before_it(
    block: int, more: str, text: str
) -> None:
    """``R0000Cc0000`` is such a bundle: level 20, 90 degrees east."""
    number = int(more + text, 16)
    for key in (BlockKey(20, block * BLOCK, number), BlockKey(20, number, block * BLOCK), BlockKey(20, number, number)):
        assert bundle_v2.parse_bundle_name(20, bundle_v2.bundle_name(key)) == key


@pytest.mark.parametrize("name", ["L5", "Lab", "05", "L05x", "L٠٥"])
def test_other_names_are_no_level_folders(name: str) -> None:
    assert bundle_v2.parse_level_folder(name) is None


def test_absent_is_size_zero_whatever_the_offset_says() -> None:
    for absent in (0, ARCGIS_ABSENT, 999999):
        data = encode(TILES, Header(), absent=absent)
        assert decode(data) == TILES
        assert problems(data) == []


def test_a_row_major_layout_follows_from_sizes_alone() -> None:
    sizes = np.zeros(BLOCK_TILES, dtype=np.int64)
    for number, body in TILES.items():
        sizes[number] = len(body)
    index, file_size = bundle_v2.layout(sizes)
    assert file_size == len(SOUND)
    assert bundle_v2.pack_index(index) == SOUND[HEADER_SIZE:DATA_START]
    assert bundle_v2.layout(np.zeros(BLOCK_TILES, dtype=np.int64))[1] == DATA_START
    with pytest.raises(ValueError):
        bundle_v2.layout(np.where(np.arange(BLOCK_TILES) == 7, 1 << 24, 0))


# ---------------------------------------------------------------------------------------------- checking


def test_gaps_orphans_and_stale_header_words_are_no_problems() -> None:
    data = SOUND + b"torn record of a kill"
    assert problems(data) == []
    assert problems(with_entry(data, 130, 0, 0)) == []
    assert problems(Header(largest=1, file_size=7, slack=9).pack() + data[HEADER_SIZE:]) == []


@pytest.mark.parametrize(
    "data, words, number",
    [
        (SOUND[:-1], "behind the file's end", BLOCK_TILES - 1),
        (with_entry(SOUND, 5, FIRST_TILE - 1, 5), "in the header or the index", 5),
        (with_entry(SOUND, 5, 4, 9), "in the header or the index", 5),
        (with_entry(SOUND, 0, FIRST_TILE, 4), "the size word says 5, the index 4", 0),
        (with_entry(SOUND, 5, FIRST_TILE + 1, 5), "the size word", 5),
        (with_entry(SOUND, 5, (1 << 40) - 1, (1 << 24) - 1), "behind the file's end", 5),
        (SOUND[: DATA_START - 1], "too few", None),
        (b"", "too few", None),
        (b"PK" + SOUND[2:], "header", None),
    ],
)
def test_what_is_wrong_is_named_with_its_entry(data: bytes, words: str, number: int | None) -> None:
    (found,) = (problem for problem in problems(data) if not problem.warning)
    assert words in found.what
    assert found.number == number


def test_two_entries_of_one_record_are_a_warning_only() -> None:
    (found,) = problems(with_entry(SOUND, 7, FIRST_TILE, 5))
    assert found.warning
    assert found.number == 7


# ---------------------------------------------------------------------------------------------- round trips

numbers = st.integers(0, BLOCK_TILES - 1)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(numbers, st.binary(min_size=1, max_size=300), max_size=40))
def test_what_is_encoded_decodes_and_is_sound(tiles: dict[int, bytes]) -> None:
    data = encode(tiles, Header())
    assert decode(data) == tiles
    assert problems(data) == []
    sizes = np.zeros(BLOCK_TILES, dtype=np.int64)
    sizes[list(tiles)] = [len(body) for body in tiles.values()]
    index, file_size = bundle_v2.layout(sizes)
    assert file_size == len(data)
    assert bundle_v2.pack_index(index) == data[HEADER_SIZE:DATA_START]


@settings(max_examples=60, deadline=None)
@given(numbers, st.integers(0, (1 << 40) - 1), st.integers(1, (1 << 24) - 1))
def test_an_entry_that_was_not_written_is_a_problem(number: int, offset: int, size: int) -> None:
    data = with_entry(SOUND, number, offset, size)
    if data != SOUND:
        assert [found.number for found in problems(data) if not found.warning] == [number]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_bytes_make_the_checker_raise(noise: bytes, at: int) -> None:
    data = bytearray(SOUND)
    data[at : at + len(noise)] = noise
    problems(bytes(data))
    bundle_v2.parse_header(noise)


# ---------------------------------------------------------------------------------------------- real files


@pytest.mark.shared_data
def test_tiles_of_arcgis_bundles_make_the_same_bytes_again(shared_data: Path) -> None:
    files = sorted(shared_data.glob("gwc_v2/_alllayers/*/*.bundle"))
    assert len(files) == 2
    for file in files:
        data = file.read_bytes()
        assert encode(decode(data), ARCGIS, absent=ARCGIS_ABSENT) == data
        assert problems(data) == []


@pytest.mark.shared_data
def test_esri_sample_bundles_hold_the_sample_pictures(shared_data: Path) -> None:
    seen = 0
    for file in sorted(shared_data.glob("esri_cc2/sample_cache/_alllayers/*/*.bundle")):
        data = file.read_bytes()
        assert problems(data) == []
        for number, body in decode(data).items():
            row, col = divmod(number, BLOCK)
            assert body == (shared_data / "esri_cc2/sample_tiles" / file.parent.name / f"{row}/{col}.jpg").read_bytes()
            seen += 1
    assert seen == 21
