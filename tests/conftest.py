"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The collection of real sample files beside the checkout; skips, saying so, where it isn't."""
    path = Path(os.environ.get("HARVESTER_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (path / "MANIFEST.md").is_file():
        pytest.skip("the collection of real sample files is not beside this checkout (HARVESTER_SHARED_DATA)")
    return path
