"""What a blocking call's loop changes of the process, it changes back."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder

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


class Interrupting(MetaPathFinder):
    """Ctrl-C while a module is imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "uvloop":
            raise KeyboardInterrupt


@pytest.mark.filterwarnings("error")
def test_work_that_was_broken_off_before_it_began_is_not_said_never_to_be_awaited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "uvloop", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(KeyboardInterrupt):
        run_loop(seen())
    gc.collect()


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
