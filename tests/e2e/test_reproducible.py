"""The same tiles give the same bytes where SOURCE_DATE_EPOCH is set, in whatever order they came."""

from __future__ import annotations

import pytest

from harvester.testing.script import Rule, Script
from tests.delta.making import files

FORMATS = ("mbtiles", "gpkg", "compact", "compactv2", "exploded", "xyz", "tpk", "tpkx", "pmtiles")
SEALED = ("tpk", "tpkx", "pmtiles")

LATE = Rule(do="answer", kind="tile", share=0.3, delay=0.05)


@pytest.mark.parametrize("format", FORMATS)
def test_two_runs_at_other_speeds_are_the_same_bytes_when_copied(cli, serve, tmp_path, monkeypatch, format):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    service = serve()
    made = []
    for name, concurrency, script in (("one", 1, Script()), ("two", 24, Script(rules=(LATE,), seed=4))):
        service.script = script
        (tmp_path / name).mkdir()
        run = ("run", service.url, "--lods", "0-4", "--format", format, "-o", f"{name}/out", "-q")
        assert cli(*run, "--concurrency", concurrency).code == 0
        assert cli("convert", f"{name}/out", f"{name}/copy", "--format", format).code == 0
        made.append((files(tmp_path / name / "out"), files(tmp_path / name / "copy")))
    assert made[0][1] == made[1][1]
    if format in SEALED:
        assert made[0][0] == made[1][0]
