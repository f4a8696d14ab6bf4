"""What a blocking call's loop changes of the process, it changes back."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from importlib.abc import MetaPathFinder

import pytest

from harvester.cli.early_stop import TerminatedError, unwinding
from harvester.loop import LOOP_COLLECTS_EVERY, run_loop


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
    assert run_loop(seen()) == (LOOP_COLLECTS_EVERY, 11, 12)
    assert gc.get_threshold() == (701, 11, 12)
    with pytest.raises(RuntimeError):
        run_loop(broken())
    assert gc.get_threshold() == (701, 11, 12)


@pytest.mark.parametrize("first", [0, LOOP_COLLECTS_EVERY * 2])
def test_collection_that_is_off_or_rarer_stays_so(first: int) -> None:
    gc.set_threshold(first, 10, 10)
    assert run_loop(seen())[0] == first
    gc.set_threshold(700, 10, 10)
    gc.disable()
    assert run_loop(seen())[0] == 700


# ---- signals whose handler raises

posix = pytest.mark.skipif(sys.platform == "win32", reason="no signal can be sent to one process there")


@pytest.fixture
def _unwinding() -> Iterator[None]:
    before = {number: signal.signal(number, unwinding) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def stop(number: int) -> None:
    os.kill(os.getpid(), number)


async def from_a_task_that_nobody_awaits(number: int, ended: list[str]) -> None:
    """As one that opens a connection."""

    async def opens() -> None:
        try:
            stop(number)
            await asyncio.sleep(300)
        finally:
            ended.append("task")

    task = asyncio.get_running_loop().create_task(opens())
    try:
        await asyncio.sleep(300)
    finally:
        ended.append("work")
    del task


async def from_a_callback(number: int, ended: list[str]) -> None:
    """As one of a connection that is made."""
    asyncio.get_running_loop().call_soon(stop, number)
    try:
        await asyncio.sleep(300)
    finally:
        ended += ["work", "task"]


@posix
@pytest.mark.usefixtures("_unwinding")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("work", [from_a_task_that_nobody_awaits, from_a_callback])
def test_a_signal_in_the_midst_of_the_loops_own_work_cancels_what_it_runs_and_leaves_no_trace(
    caplog: pytest.LogCaptureFixture, number: int, work: Callable[..., object]
) -> None:
    ended: list[str] = []
    with caplog.at_level(logging.DEBUG), pytest.raises(TerminatedError) as stopped:
        run_loop(work(number, ended))  # type: ignore[arg-type]
    gc.collect()
    assert stopped.value.exit_code == (130 if number == signal.SIGINT else 143)
    assert sorted(ended) == ["task", "work"]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert signal.getsignal(number) is unwinding


@posix
@pytest.mark.usefixtures("_unwinding")
@pytest.mark.filterwarnings("error")
def test_a_signal_before_the_work_began_keeps_it_from_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(asyncio.Runner):
        def __init__(self, **settings: object) -> None:
            stop(signal.SIGTERM)
            super().__init__(**settings)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "Runner", Interrupted)
    with pytest.raises(TerminatedError):
        run_loop(broken())
    gc.collect()


@posix
@pytest.mark.usefixtures("_unwinding")
def test_work_that_ends_in_spite_of_a_signal_is_stopped_all_the_same_and_its_own_error_is_told() -> None:
    async def stubborn() -> int:
        stop(signal.SIGTERM)
        return 1

    async def wrong() -> None:
        stop(signal.SIGTERM)
        raise RuntimeError("on purpose")

    with pytest.raises(TerminatedError):
        run_loop(stubborn())
    with pytest.raises(RuntimeError, match="on purpose"):
        run_loop(wrong())


@posix
@pytest.mark.usefixtures("_unwinding")
def test_a_second_signal_raises_at_once() -> None:
    async def stubborn() -> None:
        stop(signal.SIGTERM)
        try:
            await asyncio.sleep(300)
        finally:
            stop(signal.SIGTERM)
            raise AssertionError("not come here")

    with pytest.raises(TerminatedError):
        run_loop(stubborn())
