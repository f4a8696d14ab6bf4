"""Copies that somebody made by hard links (``cp -al``): nothing is written through to them."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from contextlib import closing

import pytest

from tests.cli.test_taken_names import lies_there
from tests.cli.test_whose_it_is import refused
from tests.delta.making import SUFFIX, files, make, some
from tests.e2e.claims import HASTY


@pytest.mark.parametrize("format", ["mbtiles", "gpkg", "compact", "compactv2", "exploded", "xyz", "tpkx", "pmtiles"])
def test_a_copy_by_hard_links_does_not_change_with_the_cache(cli, serve, tmp_path, format):
    name = f"topo{SUFFIX[format]}"
    source, tiles = serve(), some("0/0/0", "1/1/1")
    backup = make(tmp_path / f"backup{SUFFIX[format]}", tiles, format=format)
    if backup.is_dir():
        shutil.copytree(backup, tmp_path / name, copy_function=os.link)
    else:
        os.link(backup, tmp_path / name)
    make(tmp_path / "more", {**tiles, **some("1/0/1", first=9)}, format="compactv2")
    assert cli("diff", name, "more", "-o", "delta.tpkx").code == 0
    before = files(backup) if backup.is_dir() else backup.read_bytes()
    verbs = (
        ("run", source.url, "--lods", "0-1", "-o", name, "--format", format, *HASTY),
        ("merge", "more", "-o", name, "--format", format),
        ("apply", "delta.tpkx", name),
    )
    for verb in verbs:
        if format in ("mbtiles", "gpkg", "compact", "compactv2"):
            refused(cli, tmp_path, *verb, code=4, words=("2 names", "hard links", "Put a copy"))
        elif verb[0] == "merge":
            assert cli(*verb).code == 0
    assert cli("convert", "more", name, "--format", format, "--mode", "overwrite").code == 0
    assert (files(backup) if backup.is_dir() else backup.read_bytes()) == before


@pytest.mark.parametrize("format", ["mbtiles", "gpkg", "compact", "compactv2", "exploded", "xyz", "tpkx", "pmtiles"])
@pytest.mark.parametrize("ledger", ["linked", "lost"])
def test_a_finished_job_is_run_again_over_a_copy_by_hard_links(cli, serve, tmp_path, format, ledger):
    name = f"topo{SUFFIX[format]}"
    command = ("run", serve().url, "-o", name, "--format", format, *HASTY)
    assert cli(*command, "--lods", "0-2").code == 0
    shutil.copytree(tmp_path, tmp_path / "backup", copy_function=os.link)
    before, out = files(tmp_path / "backup"), tmp_path / name
    if ledger == "lost":
        (tmp_path / f"{name}.ledger").unlink()
    for lods in ("0-2", "0-1"):
        again = cli(*command, "--lods", lods)
        assert (again.code, again.json["complete"], again.json["tile_requests"]) == (0, True, 0)
        assert cli("verify", name).code == 0
    assert files(tmp_path / "backup") == before
    assert (files(out) if out.is_dir() else {"": out.read_bytes()}) == {
        path.removeprefix(name).removeprefix("/"): data
        for path, data in before.items()
        if path == name or path.startswith(f"{name}/")
    }
    if format in ("mbtiles", "gpkg", "compact", "compactv2"):
        words = ("2 names", "hard links", "Put a copy")
        refused(cli, tmp_path, *command, "--lods", "0-3", code=4, words=words)
        assert cli("verify", name).code == 0
    else:
        assert cli(*command, "--lods", "0-3").code == 0
    assert files(tmp_path / "backup") == before


@pytest.mark.parametrize("format", ["exploded", "tpkx"])
def test_a_copy_of_a_ledger_does_not_change_with_what_is_applied(cli, serve, tmp_path, format):
    name, url = f"topo{SUFFIX[format]}", serve().url
    assert cli("run", url, "--lods", "0-1", "-o", name, "--format", format, *HASTY).code == 0
    assert cli("run", url, "--lods", "0-2", "-o", "new.mbtiles", *HASTY).code == 0
    assert cli("diff", name, "new.mbtiles", "-o", "delta.tpkx").code == 0
    copy, ledger = tmp_path / "copy.ledger", tmp_path / f"{name}.ledger"
    os.link(ledger, copy)
    before = copy.read_bytes()
    assert cli("apply", "delta.tpkx", name).code == 0
    assert (copy.read_bytes(), ledger.read_bytes() != before) == (before, True)


@pytest.mark.parametrize("format", ["mbtiles", "gpkg", "compact", "compactv2"])
@pytest.mark.parametrize("hand", ["ours", "theirs"])
def test_a_verb_that_changes_nothing_goes_through_over_a_copy_by_hard_links(cli, tmp_path, format, hand):
    name = f"topo{SUFFIX[format]}"
    tiles = some("0/0/0", "1/1/1")
    backup = make(tmp_path / f"backup{SUFFIX[format]}", tiles, format=format)
    if hand == "theirs" and format == "mbtiles":
        with closing(sqlite3.connect(backup)) as connection, connection:
            connection.execute("DELETE FROM metadata WHERE name NOT IN ('name', 'format')")
            connection.execute("DROP INDEX IF EXISTS tile_index")
    make(tmp_path / "old", {**tiles, **some("1/1/0")}, format="compactv2")
    make(tmp_path / "same", tiles, format="compactv2")
    make(tmp_path / "part", some("0/0/0"), format="compactv2")
    assert cli("diff", "old", "same", "-o", "delta.tpkx").code == 0
    if backup.is_dir():
        shutil.copytree(backup, tmp_path / name, copy_function=os.link)
    else:
        os.link(backup, tmp_path / name)
    before = lies_there(tmp_path)
    more = ("--format", format)
    for verb in (
        ("convert", "same", name, *more),
        ("merge", "same", "part", "-o", name, *more),
        ("apply", "delta.tpkx", name),
    ):
        result = cli(*verb, "--json")
        assert result.code == 0, result.out
        assert lies_there(tmp_path) == before
    assert result.json["applied"] is False


@pytest.mark.parametrize("step", ["write", "sync", "replace"])
@pytest.mark.parametrize("verb", ["run", "apply"])
def test_a_kill_while_a_linked_ledger_is_copied_leaves_nothing_that_a_start_does_not_clear(
    cli, serve, spawn, tmp_path, verb, step
):
    name, url = "topo", serve().url
    run = ("run", url, "-o", name, *HASTY)
    assert cli(*run, "--lods", "0-1").code == 0
    assert cli("run", url, "--lods", "0-2", "-o", "new.mbtiles", *HASTY).code == 0
    assert cli("diff", name, "new.mbtiles", "-o", "delta.tpkx").code == 0
    os.link(tmp_path / f"{name}.ledger", tmp_path / "copy.ledger")
    before = (tmp_path / "copy.ledger").read_bytes()
    command = (*run, "--lods", "0-2") if verb == "run" else ("apply", "delta.tpkx", name)
    half = tmp_path / f"{name}.ledger.part"
    for number in range(1, 30):
        process = spawn(*command, HARVESTER_CRASH_AT=f"{step}:{number}")
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        if half.exists():
            break
    assert half.exists()
    assert cli(*command).code == 0
    assert cli("verify", name, "--deep").code == 0
    assert not list(tmp_path.glob("*.part*")) and not (tmp_path / f"{name}.lock").exists()
    assert (tmp_path / "copy.ledger").read_bytes() == before


def test_a_persons_file_under_the_name_of_half_a_ledger_stays(cli, serve, tmp_path):
    command = ("run", serve().url, "-o", "topo", *HASTY)
    assert cli(*command, "--lods", "0-1").code == 0
    os.link(tmp_path / "topo.ledger", tmp_path / "copy.ledger")
    (tmp_path / "topo.ledger.part").write_text("mine")
    assert cli(*command, "--lods", "0-2").code == 0
    assert (tmp_path / "topo.ledger.part").read_text() == "mine"
    assert not (tmp_path / "topo.lock").exists()
