"""A package that holds a member of somebody's is added to, and not replaced."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from harvester.assemble.run import harvest_job
from harvester.caches.foreign_members import foreign_member
from harvester.delta.join import convert, merge
from harvester.durable import Disk
from harvester.errors import CacheError
from harvester.job import Job, Policy
from harvester.ledger import open_ledger
from harvester.loop import run_loop
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


class Meanwhile(Disk):
    """Somebody puts a member into the package while another one is made to take its place."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.out = out
        self.done = False

    def step(self, name: str, path: Path) -> None:
        if (name, path.name) == ("open", f"{self.out.name}.part") and not self.done:
            self.done = True
            add(self.out, "notes.txt")


async def _close(opening) -> None:
    await (await opening).close()


@pytest.mark.parametrize("format", ["tpk", "tpkx", "vtpk"])
@pytest.mark.parametrize("verb", ["convert", "merge", "merge into"])
def test_a_member_that_comes_while_a_package_is_made_anew_is_not_lost(tmp_path, format, verb):
    out = package(tmp_path / f"topo.{format}", THERE)
    other = package(tmp_path / f"other.{format}", MORE)
    if verb == "merge into":
        add(out, "older.txt")
    ledger = tmp_path / f"{out.name}.ledger"
    run_loop(_close(open_ledger(ledger, create=True)))
    disk = Meanwhile(out)
    with pytest.raises(CacheError, match=r"the member notes\.txt") as caught:
        if verb == "convert":
            run_loop(convert(other, out, overwrite=True, disk=disk))
        else:
            run_loop(merge([other], out, overwrite=verb == "merge", disk=disk))
    assert disk.done and "Take it out" in (caught.value.hint or "")
    with zipfile.ZipFile(out) as archive:
        assert archive.read("notes.txt") == b"mine"
        assert ("older.txt" in archive.namelist()) is (verb == "merge into")
    assert held(out) == held(package(tmp_path / f"again.{format}", THERE))
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(
        [f"again.{format}", other.name, out.name, ledger.name]
    )
    if verb == "merge into":
        assert run_loop(merge([other], out)).exit_code == 0
        with zipfile.ZipFile(out) as archive:
            assert {"notes.txt", "older.txt"} < set(archive.namelist())


@pytest.mark.parametrize("format", ["tpk", "tpkx"])
@pytest.mark.parametrize("mode", ["merge", "overwrite"])
def test_a_member_that_comes_while_a_run_goes_on_is_not_lost(cli, serve, tmp_path, format, mode):
    url, out = serve().url, tmp_path / f"topo.{format}"
    command = ("run", url, "-o", out.name, "--mode", mode, *HASTY)
    assert cli(*command, "--lods", "0").code == 0
    before = held(out)
    job = Job(source=url, output=out, mode=mode, policies=(Policy(lods=((0, 1),)),))
    disk = Meanwhile(out)
    report = run_loop(harvest_job(job, disk=disk))
    assert disk.done and report.exit_code == 4 and "the member notes.txt" in report.stop.message
    assert held(out) == before
    with zipfile.ZipFile(out) as archive:
        assert archive.read("notes.txt") == b"mine"
    refused = cli(*command, "--lods", "0-1")
    assert refused.code == 4 and "the member notes.txt" in refused.out
    out.rename(tmp_path / "mine.zip")
    again = cli(*command, "--lods", "0-1")
    assert (again.code, again.json["tile_requests"]) == (0, 5 if mode == "overwrite" else 0)
    assert len(held(out)) == 5 and cli("verify", out.name, "--deep").code == 0
    assert cli("report", out.name, "--json").json["complete"] is True


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
