"""A run that is killed while it lists its plan: whatever is there then is called incomplete, never whole."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.claims import HASTY, TILES

SMALLER, ALL = ("--lods", "0-2"), ("--lods", "0-3")
MOST_COMMITS = 12
"""More than there are before the first tile request."""

MOST_DOCUMENTS = 7
"""Files that are replaced by a rename before and between them."""


def killed(spawn, url: str, out: str, commit: int, lods: tuple[str, ...] = ALL) -> None:
    process = spawn("run", url, *lods, "-o", out, *HASTY, HARVESTER_CRASH_AT=f"sqlite_committed:{commit}")
    process.communicate(timeout=300)
    assert process.returncode not in (0, 1)


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def lists(path: Path) -> bool:
    """Does a ledger with a plan still lack a part of it?"""
    if not path.exists():
        return False
    with closing(sqlite3.connect(path)) as ledger:
        facts = dict(ledger.execute("SELECT name, value FROM meta").fetchall())
        return "plan" in facts and facts.get("listed", "null") == "null"


def test_a_first_run_that_is_killed_before_its_plan_is_listed_is_never_whole(spawn, serve, cli, tmp_path):
    service, met, out = serve(), 0, "out.mbtiles"
    for commit in range(1, MOST_COMMITS):
        killed(spawn, service.url, out, commit)
        if service.log.count("tile"):
            break
        found = cli("verify", out)
        assert found.code in (1, 4) and "defect" not in found.err and "whole" not in found.out, commit
        if lists(tmp_path / f"{out}.ledger"):
            met += 1
            assert (found.code, found.out.startswith("INCOMPLETE")) == (1, True), commit
            assert f"the plan of {out} is not listed wholly" in found.err
            assert cli("holes", out, "--json").code == 4
        for verb in (("holes", out), ("why", out, "3/1/1"), ("report", out)):
            result = cli(*verb)
            assert "defect" not in result.err and "No policy selects" not in result.out
        emptied(tmp_path)
    assert met > 1, "it was killed while it listed its plan"
    assert cli("run", service.url, *ALL, "-o", out, *HASTY).code == 0
    assert cli("verify", out).out.startswith(f"whole: {TILES} planned")


@pytest.mark.parametrize("format", ["compact", "exploded"])
def test_a_first_run_that_is_killed_between_the_documents_of_a_folder_is_incomplete(
    spawn, serve, cli, tmp_path, format
):
    service = serve()
    command = ("run", service.url, *SMALLER, "-o", "out", "--format", format, *HASTY)
    between = set()
    for document in range(1, MOST_DOCUMENTS):
        process = spawn(*command, HARVESTER_CRASH_AT=f"replace:{document}")
        process.communicate(timeout=300)
        if process.returncode == 0:
            break
        names = frozenset(path.name for path in (tmp_path / "out").glob("*"))
        if not (tmp_path / "out.ledger").exists():
            continue
        between.add(names)
        found = cli("verify", "out")
        assert (found.code, found.out.startswith("INCOMPLETE")) == (1, True), (document, names, found.err)
        emptied(tmp_path)
    assert len(between) > 1
    assert cli(*command).code == 0
    assert cli("verify", "out").code == 0


def test_a_whole_cache_whose_plan_was_to_grow_is_incomplete_until_that_is_listed(spawn, serve, cli, tmp_path):
    service = serve()
    assert cli("run", service.url, *SMALLER, "-o", "out.mbtiles", *HASTY).code == 0
    assert cli("verify", "out.mbtiles").code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    told = set()
    for commit in range(1, MOST_COMMITS):
        killed(spawn, service.url, "out.mbtiles", commit)
        if service.log.count("tile") > 21:
            break
        found = cli("verify", "out.mbtiles", "--json")
        told.add((found.code, "unlisted" in found.json))
        emptied(tmp_path)
        for name, data in before.items():
            (tmp_path / name).write_bytes(data)
    assert (1, True) in told
    assert cli("run", service.url, *ALL, "-o", "out.mbtiles", *HASTY).code == 0
    assert cli("verify", "out.mbtiles").out.startswith(f"whole: {TILES} planned")
    assert cli("run", service.url, *SMALLER, "-o", "out.mbtiles", *HASTY).code == 0
    assert cli("verify", "out.mbtiles").code == 0
