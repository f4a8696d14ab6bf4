"""The same tiles give the same bytes where SOURCE_DATE_EPOCH is set, in whatever order, runs and formats they came."""

from __future__ import annotations

import json
import zipfile

import pytest

from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite
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


@pytest.mark.parametrize("area", [(), ("--bbox", "-20,10,40,50")], ids=["all of it", "a box"])
@pytest.mark.parametrize("format", FORMATS)
def test_lods_that_came_in_two_runs_are_the_bytes_of_one(cli, serve, tmp_path, monkeypatch, format, area):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    service = serve()
    made = []
    for name, runs in (("one", ("0-3",)), ("two", ("0-1", "2-3")), ("three", ("3", "0-1", "2"))):
        (tmp_path / name).mkdir()
        for lods in runs:
            run = ("run", service.url, "--lods", lods, "--format", format, "-o", f"{name}/out", "-q", *area)
            assert cli(*run).code == 0
        copies = [files(tmp_path / name / "out")] if format in SEALED else []
        for sealed in SEALED:
            assert cli("convert", f"{name}/out", f"{name}/copy.{sealed}").code == 0
            copies.append(files(tmp_path / name / f"copy.{sealed}"))
        made.append(copies)
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("between", [name for name in FORMATS if name != "tpkx"])
def test_a_package_is_the_same_whatever_format_its_tiles_came_through(cli, serve, tmp_path, monkeypatch, between):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    service = serve(ArcGisSite(format="PNG8", document={"serviceDescription": 'Streets & "lanes"'}))
    select = ("--lods", "1-3", "--bbox", "-20,10,40,50", "-q")
    assert cli("run", service.url, *select, "-o", "direct.tpkx").code == 0
    assert cli("run", service.url, *select, "--format", between, "-o", "between/out").code == 0
    assert cli("convert", "between/out", "other.tpkx").code == 0
    assert files(tmp_path / "direct.tpkx") == files(tmp_path / "other.tpkx")


def test_a_manifest_names_an_area_once_with_all_its_lods(cli, serve, tmp_path):
    service = serve()
    area = ("--bbox", "-20,10,40,50", "-o", "out.tpkx", "-q")
    for lods in ("3", "0-1", "2"):
        assert cli("run", service.url, "--lods", lods, *area).code == 0
    with zipfile.ZipFile(tmp_path / "out.tpkx") as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["policies"] == ["LODs 0-3, the box -20,10,40,50"]
