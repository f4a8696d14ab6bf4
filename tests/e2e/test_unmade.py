"""A package that is not made, though every tile of it came, is not called whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvester.assemble.run import harvest_job
from harvester.job import Job, Policy
from harvester.loop import run_loop
from harvester.testing.crash import CrashingDisk, CrashPoint
from harvester.testing.script import Rule, Script
from tests.e2e.claims import HASTY, held

TILES = 21
"""Of LODs 0 to 2."""


def killed_before_the_package_has_its_name(spawn, url: str, folder: Path, out: str) -> None:
    """Kill a run of LODs 0-2 at its last rename: all tiles are recorded."""
    disk = CrashingDisk(CrashPoint(0))
    before = {path.name for path in folder.iterdir()}
    whole = folder / f"whole-{out}"
    if (folder / out).exists():
        run_loop(harvest_job(Job(source=url, output=whole, policies=(Policy(lods=((0, 1),)),))))
    run_loop(harvest_job(Job(source=url, output=whole, policies=(Policy(lods=((0, 2),)),)), disk=disk))
    for name in {path.name for path in folder.iterdir()} - before:
        (folder / name).unlink()
    killed = spawn(
        "run", url, "--lods", "0-2", "-o", out, *HASTY, HARVESTER_CRASH_AT=f"replace:{disk.names['replace']}"
    )
    killed.communicate(timeout=300)
    assert killed.returncode not in (0, 1)
    assert (folder / f"{out}.work").is_dir()


def is_made_by_the_same_command(cli, url: str, out: str) -> None:
    again = cli("run", url, "--lods", "0-2", "-o", out, "--json", *HASTY)
    assert (again.code, again.json["tile_requests"]) == (0, 0)
    found = cli("verify", out, "--deep", "--json")
    assert (found.code, found.json["complete"], found.json["present"]) == (0, True, TILES)
    assert "unmade" not in found.json
    assert cli("report", out, "--json").json["complete"] is True
    assert "note" not in cli("info", out).err


@pytest.mark.parametrize("out", ["out.tpkx", "out.pmtiles"])
@pytest.mark.parametrize("deep", [(), ("--deep",)])
def test_a_package_that_is_not_there_is_not_whole_though_all_its_tiles_are(spawn, serve, cli, tmp_path, out, deep):
    url = serve().url
    killed_before_the_package_has_its_name(spawn, url, tmp_path, out)
    assert not (tmp_path / out).exists()
    found = cli("verify", out, *deep)
    assert found.code == 1
    assert found.out.startswith("INCOMPLETE: 21 planned, 21 present, 0 absent, 0 missing")
    assert f"{out} is not there yet: its run was stopped before the package was made" in found.err
    assert "the same harvester run makes it without fetching a tile" in found.err
    document = cli("verify", out, *deep, "--json").json
    assert (document["complete"], document["sound"], document["missing"]) == (False, True, 0)
    assert "not there yet" in document["unmade"]
    report = cli("report", out, "--json").json
    assert report["complete"] is False and "not there yet" in report["error"]["message"]
    shown = cli("report", out)
    assert "not there yet" in shown.out and "without fetching a tile" in shown.out
    assert "did not end" in cli("report", out, "--list").out
    described = cli("info", out)
    assert (described.code, "not there yet" in described.err) == (0, True)
    is_made_by_the_same_command(cli, url, out)


@pytest.mark.parametrize("out", ["out.tpkx", "out.pmtiles"])
def test_an_older_package_is_not_whole_while_what_was_added_is_not_in_it(spawn, serve, cli, tmp_path, out):
    url = serve().url
    assert cli("run", url, "--lods", "0-1", "-o", out, *HASTY).code == 0
    before = (tmp_path / out).read_bytes()
    killed_before_the_package_has_its_name(spawn, url, tmp_path, out)
    assert (tmp_path / out).read_bytes() == before
    found = cli("verify", out)
    assert found.code == 1 and "21 present" in found.out
    assert f"{out} is the one of before: a run was stopped before it was made anew" in found.err
    assert cli("report", out, "--json").json["complete"] is False
    is_made_by_the_same_command(cli, url, out)


def test_the_rest_of_a_work_folder_says_nothing_of_the_package_that_was_made_of_it(spawn, serve, cli, tmp_path):
    """A kill while it is removed leaves some of it."""
    url = serve().url
    assert cli("run", url, "--lods", "0-2", "-o", "out.tpkx", *HASTY).code == 0
    (tmp_path / "out.tpkx.work" / "_alllayers" / "L00").mkdir(parents=True)
    found = cli("verify", "out.tpkx", "--deep", "--json")
    assert (found.code, found.json["complete"], found.json["present"]) == (0, True, TILES)
    assert cli("info", "out.tpkx", "--json").json["format"] == "tpkx"


def test_an_extension_that_was_killed_goes_into_the_package_though_its_ledger_is_lost(spawn, serve, cli, tmp_path):
    url, out = serve().url, "out.tpkx"
    assert cli("run", url, "--lods", "0-1", "-o", out, *HASTY).code == 0
    killed_before_the_package_has_its_name(spawn, url, tmp_path, out)
    (tmp_path / "out.tpkx.ledger").unlink()
    again = cli("run", url, "--lods", "0-2", "-o", out, *HASTY)
    assert (again.code, again.json["stored"], again.json["tile_requests"]) == (0, 21, 0)
    checked = cli("verify", out, "--json")
    assert (checked.code, checked.json["present"]) == (0, 21)


def test_tiles_that_a_format_cannot_hold_together_are_taken_from_where_they_are_kept(serve, cli):
    """The service changed its pictures in the middle: the remedy is a command, and no tile is fetched again."""
    service = serve(script=Script(rules=(Rule(do="wrong_format", tiles=("2/*/*",)),)))
    ended = cli("run", service.url, "--lods", "0-2", "-o", "out.pmtiles", *HASTY)
    assert (ended.code, ended.json["error"]["code"], ended.json["stored"]) == (4, "format", TILES)
    command = "harvester convert out.pmtiles.work OUT"
    assert command in ended.json["error"]["hint"]
    assert cli(*command.replace("OUT", "other.mbtiles").split()[1:]).code == 0
    assert len(held(Path("other.mbtiles"))) == TILES
