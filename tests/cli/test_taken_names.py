"""The names beside an output that a run takes: what lies there and is none of a run's is neither opened nor removed."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.claims import HASTY

posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes, sockets and devices with a name are POSIX")
NAMES = (".ledger", ".lock", ".work", ".new", ".new.ledger", ".part", ".old", "-journal", ".ledger-journal")
OUTPUTS = ("out.mbtiles", "out.tpkx")


def lies_there(folder: Path) -> set[tuple[str, int, bytes]]:
    """Names, kinds and contents of all that is there."""
    found = set()
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found.add((str(path.relative_to(folder)), path.lstat().st_mode, content))
    return found


def refused(cli, service, folder: Path, output: str, *words: str) -> None:
    before = lies_there(folder)
    for mode in ("merge", "overwrite"):
        result = cli("run", service.url, "--lods", "0-1", "-o", output, "--mode", mode, *HASTY)
        assert (result.code, result.json["error"]["code"]) == (4, "name_taken"), result.err
        assert all(word in result.err for word in words), result.err
        assert lies_there(folder) == before
    assert service.log.count("tile") == 0


@posix
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_is_not_waited_for_and_stays(cli, serve, tmp_path, output, name):
    os.mkfifo(tmp_path / (output + name))
    refused(cli, serve(), tmp_path, output, output + name, "a pipe")


@posix
@pytest.mark.parametrize("name", NAMES)
def test_a_device_is_not_written_to(cli, serve, tmp_path, name):
    (tmp_path / f"out.tpkx{name}").symlink_to("/dev/null")
    refused(cli, serve(), tmp_path, "out.tpkx", f"out.tpkx{name}", "a device")


@posix
@pytest.mark.parametrize("name", [".ledger", ".new"])
def test_a_socket_stays(cli, serve, tmp_path, name):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"out.tpkx{name}")  # relative: such a name may have a hundred bytes only
        refused(cli, serve(), tmp_path, "out.tpkx", "a socket")


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_link_that_leads_nowhere_stays_and_nothing_is_made_behind_it(cli, serve, tmp_path, output, name):
    (tmp_path / "elsewhere").mkdir()
    try:
        (tmp_path / (output + name)).symlink_to(tmp_path / "elsewhere" / "gone")
    except OSError:
        pytest.skip("links can't be made here")
    refused(cli, serve(), tmp_path, output, "symbolic link", "gone")


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", [".ledger", ".lock", ".new.ledger", "-journal", ".ledger-journal"])
def test_a_folder_where_a_file_belongs_stays_with_all_that_it_holds(cli, serve, tmp_path, output, name):
    (tmp_path / (output + name)).mkdir()
    (tmp_path / (output + name) / "mine.txt").write_text("mine")
    refused(cli, serve(), tmp_path, output, output + name, "a folder")


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("content", ["", "mine"])
def test_a_file_where_a_folder_belongs_stays(cli, serve, tmp_path, output, content):
    (tmp_path / f"{output}.work").write_text(content)
    refused(cli, serve(), tmp_path, output, f"{output}.work", "a file")


@posix
@pytest.mark.parametrize("name", [".ledger", ".lock", ".ledger-journal", "-journal"])
@pytest.mark.parametrize("verb", ["verify", "report", "info", "holes", "why"])
def test_whoever_reads_a_cache_waits_for_no_pipe_beside_it(cli, serve, tmp_path, verb, name):
    assert cli("run", serve().url, "--lods", "0-1", "-o", "out.mbtiles", *HASTY).code == 0
    place = tmp_path / f"out.mbtiles{name}"
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    more = {"holes": ("-o", "holes.geojson"), "why": ("1/0/0",)}.get(verb, ())
    result = cli(verb, "out.mbtiles", *more)
    assert result.code in ((0, 4) if name != ".lock" else (0,)), result.err
    assert place.is_fifo()


@posix
def test_the_report_of_a_run_that_was_killed_waits_for_no_pipe_where_its_lock_was(cli, serve, tmp_path):
    assert cli("run", serve().url, "--lods", "0-1", "-o", "out.mbtiles", *HASTY).code == 0
    with closing(sqlite3.connect(tmp_path / "out.mbtiles.ledger")) as ledger, ledger:
        ledger.execute("UPDATE run SET ended = NULL, report = NULL")
    os.mkfifo(tmp_path / "out.mbtiles.lock")
    result = cli("report", "out.mbtiles")
    assert result.code == 0 and "killed" in result.out and "still runs" not in result.out


@posix
def test_two_caches_are_not_joined_into_one_whose_lock_is_a_pipe(cli, serve, tmp_path):
    assert cli("run", serve().url, "--lods", "0-1", "-o", "in.mbtiles", *HASTY).code == 0
    os.mkfifo(tmp_path / "joined.mbtiles.lock")
    result = cli("merge", "in.mbtiles", "in.mbtiles", "-o", "joined.mbtiles")
    assert result.code == 4 and "a pipe" in result.err
    assert (tmp_path / "joined.mbtiles.lock").is_fifo() and not (tmp_path / "joined.mbtiles").exists()


def test_what_a_killed_run_left_under_these_names_is_its_own(cli, serve, tmp_path):
    """A lock and an empty ledger, a work folder without a tile, an empty part: no state, and no hindrance."""
    for name in (".lock", ".ledger", ".part"):
        (tmp_path / f"out.tpkx{name}").touch()
    (tmp_path / "out.tpkx.work").mkdir()
    result = cli("run", serve().url, "--lods", "0-1", "-o", "out.tpkx", *HASTY)
    assert (result.code, result.json["stored"]) == (0, 5)
