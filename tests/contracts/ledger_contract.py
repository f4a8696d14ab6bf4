"""What every ledger promises (Ledger in ``harvester.edges``), against a dictionary of tiles as oracle.

A ledger's test class subclasses ``LedgerContract``, giving ``open_ledger``.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester.edges import BlockChange, Ledger, LedgerFailure, State, told
from harvester.tiling.tile import BLOCK, BlockKey, Tile, block_of

if TYPE_CHECKING:
    from harvester.edges import Mask

BLOCKS = (BlockKey(3, 0, 0), BlockKey(9, 0, 128), BlockKey(9, 128, 0))
ENDS = (State.STORED, State.ABSENT, State.FAILED, State.UNCHANGED, State.PENDING)


def mask_of(indexes: Sequence[int]) -> Mask:
    mask = np.zeros(BLOCK * BLOCK, dtype=np.bool_)
    mask[list(indexes)] = True
    return mask.reshape(BLOCK, BLOCK)


class Oracle:
    """The same promises, kept slowly."""

    def __init__(self) -> None:
        self.tiles: dict[Tile, State] = {}
        self.reasons: dict[Tile, str] = {}
        self.stamped: dict[BlockKey | None, str] = {}

    def enlist(self, blocks: Sequence[tuple[BlockKey, list[int]]]) -> None:
        for key, indexes in blocks:
            for index in indexes:
                self.tiles.setdefault(key.tile(index), State.PENDING)

    def put(self, tile: Tile, state: State, reason: str = "") -> None:
        if tile in self.tiles:
            self.tiles[tile] = state
            self.reasons.pop(tile, None)
            if state is State.FAILED:
                self.reasons[tile] = reason

    def reconcile(self, blocks: Sequence[tuple[BlockKey, list[int]]]) -> None:
        for key, there in blocks:
            for tile, state in list(self.tiles.items()):
                if block_of(tile) != key:
                    continue
                if key.position(tile) in there:
                    self.put(tile, State.STORED)
                elif state in (State.STORED, State.UNCHANGED, State.ABSENT):
                    self.put(tile, State.PENDING)

    def failures(self) -> list[LedgerFailure]:
        known = sorted(self.reasons.items(), key=lambda item: (block_of(item[0]), item[0]))
        return [LedgerFailure.of(tile, text) for tile, text in known]


indexes = st.lists(st.sampled_from([0, 1, 2, 127, 128, 129, 5000, 16383]), max_size=6)
several = st.lists(st.tuples(st.sampled_from(BLOCKS), indexes), max_size=3)
stamps = st.dictionaries(st.sampled_from([None, *BLOCKS]), st.sampled_from(["a", "b"]), max_size=2)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("enlist"), several),
        st.tuples(st.just("reconcile"), several, stamps),
        st.tuples(
            st.just("record"),
            st.lists(st.tuples(st.sampled_from(BLOCKS), st.sampled_from(ENDS), indexes), max_size=3),
            stamps,
        ),
        st.tuples(st.just("reopen")),
    ),
    max_size=12,
)


class LedgerContract(ABC):
    """The promises."""

    @abstractmethod
    async def open_ledger(self, path: Path) -> Ledger:
        """A ledger under this name, new or as it was left."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "out.ledger"

    def using(self, path: Path, act: Callable[[Any], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            ledger = await self.open_ledger(path)
            try:
                return await act(ledger)
            finally:
                await ledger.close()

        return asyncio.run(run())

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps=steps)
    def test_any_history_leaves_what_the_oracle_says(self, tmp_path_factory: Any, steps: list[Any]) -> None:
        path = tmp_path_factory.mktemp("ledger") / "out.ledger"
        asyncio.run(self.replay(path, steps))

    async def replay(self, path: Path, steps: list[Any]) -> None:
        oracle, ledger = Oracle(), await self.open_ledger(path)
        try:
            for name, *arguments in steps:
                if name == "reopen":
                    await ledger.close()
                    ledger = await self.open_ledger(path)
                elif name == "enlist":
                    oracle.enlist(arguments[0])
                    await ledger.enlist([(key, mask_of(found)) for key, found in arguments[0]])
                elif name == "reconcile":
                    there = dict(arguments[0])
                    oracle.reconcile(list(there.items()))
                    oracle.stamped.update(arguments[1])
                    await ledger.reconcile([(key, mask_of(found)) for key, found in there.items()], arguments[1])
                else:
                    changes = [
                        BlockChange(key, state, found, {index: f"http_{index}" for index in found})
                        for key, state, found in arguments[0]
                    ]
                    for change in changes:
                        for index in change.indexes:
                            oracle.put(change.key.tile(index), change.state, change.reasons[index])
                    oracle.stamped.update(arguments[1])
                    await ledger.record(changes, arguments[1])
                await self.compare(ledger, oracle)
        finally:
            await ledger.close()

    async def compare(self, ledger: Ledger, oracle: Oracle) -> None:
        for key, states in zip(BLOCKS, await ledger.states(BLOCKS), strict=True):
            assert states.shape == (BLOCK, BLOCK)
            found = {key.tile(int(index)): State(states.flat[index]) for index in np.flatnonzero(states)}
            assert found == {tile: state for tile, state in oracle.tiles.items() if block_of(tile) == key}
        assert await ledger.failures(1000) == oracle.failures()
        assert dict(await ledger.stamps(BLOCKS)) == oracle.stamped

    def test_a_new_ledger_knows_nothing(self, path: Path) -> None:
        async def act(ledger: Ledger) -> None:
            await self.compare(ledger, Oracle())
            assert await ledger.get_meta("identity") is None
            assert await ledger.states([]) == []

        self.using(path, act)

    def test_facts_last(self, path: Path) -> None:
        facts = {"identity": "https://gis.example.org", "levels": [1, 2], "extent": None, "scheme": {"dpi": 96.0}}

        async def write(ledger: Ledger) -> None:
            await ledger.set_meta({"identity": "another"})
            await ledger.set_meta(facts)

        async def read(ledger: Ledger) -> dict[str, Any]:
            return {name: await ledger.get_meta(name) for name in facts}

        self.using(path, write)
        assert self.using(path, read) == facts

    def test_a_whole_block_at_once_and_a_limit_of_failures(self, path: Path) -> None:
        key = BLOCKS[1]

        async def act(ledger: Ledger) -> None:
            await ledger.enlist([(key, np.ones((BLOCK, BLOCK), dtype=np.bool_))])
            everything = list(range(BLOCK * BLOCK))
            await ledger.record([BlockChange(key, State.STORED, everything)], {key: "1:2"})
            await ledger.record([BlockChange(key, State.FAILED, [5, 4, 130], {4: told("tls", "a: b"), 5: "reset"})], {})
            assert [tuple(failure) for failure in await ledger.failures(2)] == [
                (key.tile(4), "tls", "a: b"),
                (key.tile(5), "reset", ""),
            ]
            (states,) = await ledger.states([key])
            assert int((states == State.STORED).sum()) == BLOCK * BLOCK - 3

        self.using(path, act)

    def test_many_blocks_come_back_in_the_order_asked(self, path: Path) -> None:
        keys = [BlockKey(12, 128 * (n // 40), 128 * (n % 40)) for n in range(700)]

        async def act(ledger: Ledger) -> None:
            await ledger.enlist([(key, mask_of([number])) for number, key in enumerate(keys)])
            backwards = keys[::-1]
            for key, states in zip(backwards, await ledger.states(backwards), strict=True):
                assert np.flatnonzero(states).tolist() == [keys.index(key)]

        self.using(path, act)

    def test_what_states_gave_does_not_change_later(self, path: Path) -> None:
        key = BLOCKS[0]

        async def act(ledger: Ledger) -> None:
            await ledger.enlist([(key, mask_of([1, 2]))])
            await ledger.record([BlockChange(key, State.STORED, [1])], {})
            (before,) = await ledger.states([key])
            await ledger.record([BlockChange(key, State.ABSENT, [2])], {})
            assert before.flat[2] == State.PENDING

        self.using(path, act)

    def test_it_may_be_closed_twice_and_leaves_nothing_beside_it(self, path: Path) -> None:
        async def act(ledger: Ledger) -> None:
            await ledger.enlist([(BLOCKS[0], mask_of([1]))])
            await ledger.close()
            await ledger.close()

        self.using(path, act)
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    def test_saying_the_same_again_changes_no_byte(self, path: Path) -> None:
        async def act(ledger: Ledger) -> None:
            await ledger.enlist([(BLOCKS[0], mask_of([1, 7])), (BLOCKS[1], mask_of([]))])
            await ledger.set_meta({"name": "Streets"})

        self.using(path, act)
        before, changed = path.read_bytes(), path.stat().st_mtime_ns
        self.using(path, act)
        assert path.read_bytes() == before
        assert path.stat().st_mtime_ns == changed
