"""Names that a file system won't have, or that no text can hold: an exit code and words, and never a defect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harvester.testing.service import ArcGisSite, FaultyService
from tests.e2e.claims import command

LONG = "r" * 300


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    with FaultyService(ArcGisSite()) as service:
        assert command("run", service.url, "-o", folder / "a.mbtiles", "--lods", "0-2", "-q").code == 0
        yield folder, service


@pytest.mark.parametrize(
    "words",
    [
        f"verify {LONG}", f"info {LONG}.mbtiles", f"holes a.mbtiles -o {LONG}.json", f"convert a.mbtiles {LONG}.tpkx",
        f"merge a.mbtiles -o {LONG}.mbtiles", f"diff a.mbtiles {LONG} -o d.mbtiles", f"run {LONG}.toml",
        f"run SERVICE -o {LONG}.gpkg --lods 0-2", f"run SERVICE -o b.mbtiles --lods 0-2 --ca-bundle {LONG}.pem",
        f"report a.mbtiles --html {LONG}.html", f"run SERVICE -o b.mbtiles --lods 0-2 --aoi {LONG}.geojson",
    ],
)  # fmt: skip
def test_a_name_that_is_too_long_is_an_error_in_words(place, cli, monkeypatch, words):
    folder, service = place
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    result = cli(*words.replace("SERVICE", service.url).split(), "--json")
    assert result.code in (2, 4), result.err
    assert result.json["error"]["code"] != "defect"
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("length", [236, 243, 247, 250, 255])
@pytest.mark.parametrize("suffix", ["mbtiles", "gpkg", "tpkx", "pmtiles"])
def test_a_name_that_is_too_long_for_what_lies_beside_it_is_told_before_the_first_tile(
    place, cli, monkeypatch, length, suffix
):
    folder, service = place
    monkeypatch.chdir(folder)
    before, asked = sorted(folder.iterdir()), service.log.count("tile")
    name = "r" * (length - len(suffix) - 1) + f".{suffix}"
    result = cli("run", service.url, "-o", name, "--lods", "0-2", "--mode", "overwrite", "--json")
    if length == 236:
        assert result.code == 0
        for path in set(folder.iterdir()) - set(before):
            path.unlink()
        return
    assert (result.code, result.json["error"]["code"]) == (4, "name")
    assert sorted(folder.iterdir()) == before and service.log.count("tile") == asked


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_a_name_that_is_no_text_is_one_like_any_other(place):
    folder, _ = place
    for ending in (b"mbtiles", b"gpkg", b"tpkx"):
        name = os.fsdecode(b"bad\xff." + ending)
        for words in (["convert", "a.mbtiles", name], ["verify", name], ["info", name]):
            asked = [sys.executable, "-m", "harvester", *words, "--json"]
            ended = subprocess.run(asked, cwd=folder, capture_output=True)
            assert ended.returncode == 0, ended.stderr
            assert json.loads(ended.stdout)
        (folder / name).unlink()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_tile_that_stdout_does_not_take_is_told(place):
    folder, _ = place
    with Path("/dev/full").open("wb") as full:
        printing = [sys.executable, "-m", "harvester", "tile", "a.mbtiles", "0/0/0"]
        ended = subprocess.run(printing, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 4
    assert "cannot write to the standard output" in ended.stderr
    assert "defect" not in ended.stderr
