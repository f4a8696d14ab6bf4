"""What a blocking call's loop changes of the process, it changes back."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from harvester.loop import COLLECT_EVERY, run_loop


@pytest.fixture(autouse=True)
def _thresholds() -> Iterator[None]:
    before, enabled = gc.get_threshold(), gc.isenabled()
    yield
    gc.set_threshold(*before)
    (gc.enable if enabled else gc.disable)()


async def seen() -> tuple[int, int, int]:
    return gc.get_threshold()


async def broken() -> None:
    raise RuntimeError("on purpose")


def test_garbage_is_collected_seldom_while_the_loop_runs_and_as_before_afterwards() -> None:
    gc.set_threshold(701, 11, 12)
    assert run_loop(seen()) == (COLLECT_EVERY, 11, 12)
    assert gc.get_threshold() == (701, 11, 12)
    with pytest.raises(RuntimeError):
        run_loop(broken())
    assert gc.get_threshold() == (701, 11, 12)


@pytest.mark.parametrize("first", [0, COLLECT_EVERY * 2])
def test_collection_that_is_off_or_rarer_stays_so(first: int) -> None:
    gc.set_threshold(first, 10, 10)
    assert run_loop(seen())[0] == first
    gc.set_threshold(700, 10, 10)
    gc.disable()
    assert run_loop(seen())[0] == 700
