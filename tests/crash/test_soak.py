"""The long run of ``make soak``, short: the same faults, the same promises, twenty thousand tiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak import soak

TILES = 20_000


@pytest.mark.slow
def test_a_long_run_with_mixed_faults_keeps_every_promise_in_flat_memory(tmp_path: Path) -> None:
    measured = soak(TILES, tmp_path)
    assert measured["broken"] == []
    assert measured["tiles"] >= TILES
