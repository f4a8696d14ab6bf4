"""A package that holds a member of somebody's is added to, and not replaced."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from harvester.caches.foreign_members import foreign_member
from tests.cli.test_whose_it_is import refused
from tests.delta.making import make, some
from tests.delta.test_kept import MORE, THERE, facts_of, vector
from tests.e2e.claims import HASTY, held


def package(path: Path, tiles) -> Path:
    format = path.suffix[1:]
    return make(path, vector(tiles) if format == "vtpk" else tiles, format=format, **facts_of(format))


def add(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"mine")


@pytest.mark.parametrize("format", ["tpk", "tpkx", "vtpk"])
@pytest.mark.parametrize(
    "name", ["notes.txt", "commondata/userdata/report.pdf", "tile/L00/notes.txt", "delta/mine.txt"]
)
def test_a_package_with_a_member_of_somebodys_is_added_to_and_not_replaced(cli, serve, tmp_path, format, name):
    out = package(tmp_path / f"topo.{format}", THERE)
    other = package(tmp_path / f"other.{format}", MORE)
    add(out, name)
    for verb in (
        ("run", serve().url, "--lods", "0", "-o", out.name, *HASTY),
        ("convert", other.name, out.name),
        ("merge", other.name, "-o", out.name),
    ):
        if format != "vtpk" or verb[0] != "run":
            words = (f"the member {name},", "not replaced", "merge adds")
            refused(cli, tmp_path, *verb, "--mode", "overwrite", code=4, words=words)
    assert cli("merge", other.name, "-o", out.name).code == 0
    with zipfile.ZipFile(out) as archive:
        assert archive.read(name) == b"mine"


@pytest.mark.parametrize("format", ["tpk", "tpkx", "vtpk"])
@pytest.mark.parametrize("name", [None, "esriinfo/metadata/metadata.xml", "v103/Layers.lyr", ".DS_Store"])
def test_a_package_of_tiles_and_of_what_arcgis_writes_is_replaced(cli, tmp_path, format, name):
    out = package(tmp_path / f"topo.{format}", THERE)
    other = package(tmp_path / f"other.{format}", MORE)
    if name:
        add(out, name)
    wanted = held(other)
    assert cli("convert", other.name, out.name, "--mode", "overwrite").code == 0
    assert held(out) == wanted


def test_a_delta_is_replaced_and_a_damaged_package_too(cli, tmp_path):
    old, new = package(tmp_path / "old.tpkx", THERE), package(tmp_path / "new.tpkx", {**THERE, **MORE})
    assert cli("diff", old.name, new.name, "-o", "delta.tpkx").code == 0
    assert foreign_member(tmp_path / "delta.tpkx", "tpkx") is None
    package(tmp_path / "newer.tpkx", {**THERE, **MORE, **some("7/9/9", first=70)})
    assert cli("diff", old.name, "newer.tpkx", "-o", "delta.tpkx").code == 0
    old.write_bytes(old.read_bytes()[:-30])
    assert foreign_member(old, "tpkx") is None


@pytest.mark.shared_data
def test_packages_that_arcgis_made_hold_no_member_of_somebodys(shared_data, tmp_path):
    found = [*(shared_data / "tpk").glob("*.tpk"), *(shared_data / "esri_tpkx").rglob("*.tpkx")]
    assert len(found) >= 4
    for path in found:
        shutil.copy(path, tmp_path / path.name)
        assert foreign_member(tmp_path / path.name, path.suffix[1:]) is None, path.name
