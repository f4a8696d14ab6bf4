"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harvester.redact import Secrets


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The collection of real sample files beside the checkout; skips, saying so, where it isn't."""
    path = Path(os.environ.get("HARVESTER_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (path / "MANIFEST.md").is_file():
        pytest.skip("the collection of real sample files is not beside this checkout (HARVESTER_SHARED_DATA)")
    return path


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test's server calls a secret is a word like any other to the next one."""
    monkeypatch.setattr("harvester.redact._KNOWN", Secrets())
