"""Crash points end the process where they say, and nothing is tidied up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harvester.durable import Disk
from harvester.errors import UsageError
from harvester.testing import CrashingDisk, CrashPoint
from harvester.testing.crash import KILLED, VARIABLE, crashing_disk


class Killed(Exception):
    """Stands for the end of the process."""


def kill() -> None:
    raise Killed


def work(disk: Disk, folder: Path) -> None:
    """open, write, write, sync, close, replace: 6 steps."""
    descriptor = disk.open(folder / "a.part", write=True, create=True)
    try:
        disk.pwrite(descriptor, b"first ", 0)
        disk.pwritev(descriptor, [b"sec", b"ond"], 6)
        disk.fsync(descriptor)
    finally:
        disk.close(descriptor)
    disk.replace(folder / "a.part", folder / "a")


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("12", CrashPoint(12)),
        ("sync:3", CrashPoint(3, "sync")),
        ("write:2/half", CrashPoint(2, "write", True)),
        ("7/half", CrashPoint(7, "", True)),
    ],
)
def test_a_crash_point_is_read(text: str, point: CrashPoint) -> None:
    assert CrashPoint.parse(text) == point


@pytest.mark.parametrize("text", ["", "x", "write:", ":3", "3/third", "-1"])
def test_what_is_no_crash_point_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        CrashPoint.parse(text)


def test_steps_are_counted_in_all_and_by_name(tmp_path: Path) -> None:
    disk = CrashingDisk(CrashPoint(0))
    work(disk, tmp_path)
    assert disk.names == {"open": 1, "write": 2, "sync": 1, "close": 1, "replace": 1}
    assert disk.steps == 6
    assert (tmp_path / "a").read_bytes() == b"first second"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("1", None),
        ("2", b""),
        ("write:2", b"first "),
        ("3", b"first "),
        ("write:2/half", b"first sec"),
        ("3/half", b"first sec"),
        ("sync:1", b"first second"),
        ("sync:1/half", b"first second"),
        ("replace:1", b"first second"),
    ],
)
def test_it_ends_just_before_the_step_or_halfway_through_a_write(tmp_path: Path, text: str, left: bytes | None) -> None:
    with pytest.raises(Killed):
        work(CrashingDisk(CrashPoint.parse(text), kill=kill), tmp_path)
    assert not (tmp_path / "a").exists()
    part = tmp_path / "a.part"
    assert (part.read_bytes() if part.exists() else None) == left


def test_the_environment_kills_a_real_process(tmp_path: Path) -> None:
    code = """
import pathlib, sys
from harvester.testing.crash import crashing_disk
try:
    crashing_disk().write_whole(pathlib.Path(sys.argv[1]), b"whole")
finally:
    print("tidied up", flush=True)
"""
    target = tmp_path / "file"
    result = subprocess.run(
        [sys.executable, "-c", code, str(target)],
        env={VARIABLE: "replace:1", **_environment()},
        capture_output=True,
        check=False,
    )
    assert result.returncode in (-9, KILLED)
    assert result.stdout == b""
    assert not target.exists()
    assert (tmp_path / "file.part").read_bytes() == b"whole"


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(sys.path), **{k: v for k, v in os.environ.items() if k == "SYSTEMROOT"}}


def test_without_the_variable_nothing_is_killed() -> None:
    assert type(crashing_disk({})) is Disk
    assert type(crashing_disk({VARIABLE: "5"})) is CrashingDisk
