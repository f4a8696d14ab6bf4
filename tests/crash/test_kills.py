"""Thirty-three runs of ``make soak``'s thousand: one of each format and mode, killed at a step of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.kills import WAYS
from benchmarks.measure import ROOT


@pytest.mark.slow
def test_a_run_killed_at_any_step_leaves_whole_tiles_and_the_same_command_ends_as_if_nothing_had_been() -> None:
    """In a process of its own: this one has threads, and what has threads is not forked."""
    command = [sys.executable, "-m", "benchmarks.kills", "--kills", str(len(WAYS))]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["kills"] >= len(WAYS) == 33
    assert found["broken"] == []
