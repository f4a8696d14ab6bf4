"""Checking entries by the run gives what checking them one by one gives, whatever the index says."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.caches import bundle_v2
from harvester.caches.bundle_v2 import DATA_START, Header
from harvester.caches.records import each_sound, read_bodies, read_index, read_record, read_runs, sound_numbers
from harvester.tiling.tile import BLOCK_TILES


class Memory:
    """A bundle in memory that counts its reads."""

    where = "memory"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads = 0

    def size(self) -> int:
        return len(self.data)

    def read(self, size: int, offset: int) -> bytes:
        self.reads += 1
        return self.data[offset : offset + size]


def bundle(order: list[int], length: int, seed: int) -> bytearray:
    """Tiles of about ``length`` bytes, appended in this order, with a gap now and then."""
    draw, index, data = random.Random(seed), bundle_v2.empty_index(), bytearray()
    for number in order:
        if draw.random() < 0.1:
            data += draw.randbytes(7)
        body = draw.randbytes(draw.randint(1, 2 * length))
        index[number] = bundle_v2.entry(DATA_START + len(data) + 4, len(body))
        data += bundle_v2.prefix(len(body)) + body
    return bytearray(Header().pack() + bundle_v2.pack_index(index) + data)


numbers = st.integers(0, BLOCK_TILES - 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(numbers, unique=True, min_size=1, max_size=30),
    st.integers(0, 99),
    st.lists(st.tuples(st.booleans(), st.integers(0, 1 << 20), st.integers(0, 255)), max_size=8),
    st.integers(0, 40),
)
def test_entries_checked_by_the_run_are_those_checked_one_by_one(
    order: list[int], seed: int, damage: list[tuple[bool, int, int]], cut: int
) -> None:
    data = bundle(order, 20, seed)
    for in_records, at, value in damage:
        start = DATA_START if in_records else bundle_v2.entry_position(order[at % len(order)])
        span = len(data) - DATA_START if in_records else 8
        data[start + at % span] = value
    memory = Memory(bytes(data[: max(DATA_START, len(data) - cut)]))
    index = read_index(memory)
    assert index is not None
    sound = sound_numbers(memory, index)
    assert sound.tolist() == list(each_sound(memory, index))
    offsets, sizes = bundle_v2.offsets(index), bundle_v2.sizes(index)
    for number in np.flatnonzero(index).tolist():
        whole = read_record(memory, int(offsets[number]), int(sizes[number])) is not None
        assert whole is (number in sound)


@pytest.mark.parametrize("limit", [1, 100, 1000, 1 << 20])
def test_runs_are_the_records_in_the_order_asked_for(limit: int) -> None:
    order = [5, 6, 7, 100, 101, 50, 51, 52, 16000]
    memory = Memory(bytes(bundle(order, 60, 3)))
    index = read_index(memory)
    assert index is not None
    offsets, sizes = bundle_v2.offsets(index)[order], bundle_v2.sizes(index)[order]
    runs = list(read_runs(memory, offsets, sizes, limit=limit))
    assert [first for first, _, _, _ in runs] == [0, *(last for _, last, _, _ in runs[:-1])]
    assert runs[-1][1] == len(order)
    records = [bundle_v2.prefix(size) + memory.data[at : at + size] for at, size in zip(offsets, sizes, strict=True)]
    assert b"".join(data for _, _, data, _ in runs) == b"".join(records)
    assert all(whole.all() for _, _, _, whole in runs)
    assert all(len(data) <= limit or last == first + 1 for first, last, data, _ in runs)


def test_small_tiles_are_checked_in_a_few_reads_and_large_ones_without_their_bytes() -> None:
    small, large = Memory(bytes(bundle(list(range(2000)), 50, 1))), Memory(bytes(bundle(list(range(20)), 9000, 1)))
    for memory, most in ((small, 2000 * 0.1 * 2 + 10), (large, 22)):
        index = read_index(memory)
        assert index is not None
        memory.reads = 0
        assert len(sound_numbers(memory, index)) in (20, 2000)
        assert memory.reads <= most


@settings(max_examples=60, deadline=None)
@given(
    st.lists(numbers, unique=True, min_size=1, max_size=30),
    st.integers(0, 99),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=4),
    st.integers(0, 40),
    st.sampled_from((1, 40, 400)),
    st.sampled_from((0, 60, 1 << 20)),
)
def test_bodies_read_together_are_those_read_one_by_one(
    order: list[int], seed: int, damage: list[tuple[int, int]], cut: int, run: int, window: int
) -> None:
    data = bundle(order, 20, seed)
    for place, value in damage:
        data[DATA_START + place % (len(data) - DATA_START)] = value
    span = Memory(bytes(data[: max(DATA_START, len(data) - cut)]))
    index = read_index(Memory(bytes(data)))
    assert index is not None
    held = np.array([number for number in order if index[number]], dtype=np.int64)
    offsets, sizes = bundle_v2.offsets(index)[held].astype(np.int64), bundle_v2.sizes(index)[held].astype(np.int64)
    wanted = [read_record(span, *place) for place in zip(offsets.tolist(), sizes.tolist(), strict=True)]
    assert list(read_bodies(span, offsets, sizes, run=run, window=window)) == wanted


def test_a_block_of_small_tiles_is_read_at_once_in_whatever_order_they_came() -> None:
    order = random.Random(3).sample(range(BLOCK_TILES), 2000)
    span = Memory(bytes(bundle(order, 50, 1)))
    index = read_index(span)
    assert index is not None
    held = np.flatnonzero(index)
    span.reads = 0
    bodies = read_bodies(span, *(of(index)[held].astype(np.int64) for of in (bundle_v2.offsets, bundle_v2.sizes)))
    assert sum(body is not None for body in bodies) == 2000
    assert span.reads == 1
