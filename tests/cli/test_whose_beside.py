"""``yarn.lock`` beside an output ``yarn``: a lock, ledger or journal that is not ours stays as it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import harvester
from harvester.durable import lock
from harvester.errors import CacheError
from harvester.tiling.tile import Tile
from tests.cli.test_taken_names import lies_there
from tests.cli.test_whose_it_is import refused
from tests.delta.making import make, picture
from tests.e2e.claims import HASTY, held

OWN = {Tile(1, row, col): picture(2 * row + col) for row in range(2) for col in range(2)}
OTHER = {Tile(1, 0, 0): picture(9), Tile(2, 3, 3): picture(10)}
OUTPUTS = ("yarn/", "yarn.mbtiles", "yarn.tpkx")
ALWAYS = (".lock", ".ledger", ".new.ledger", ".ledger-journal", ".ledger-wal", ".ledger-shm", ".new.ledger-journal")
OF_DATABASES = ("-journal", "-wal", "-shm", ".new-journal", ".new-wal")


@pytest.fixture
def url(serve):
    return serve().url


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_file_of_somebodys_under_a_name_of_ours_stays_and_is_named(cli, url, tmp_path, output, there):
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    if there:
        make(tmp_path / output, OWN, format=output.partition(".")[2] or "compactv2")
    base = output.rstrip("/")
    for name in (*ALWAYS, *(OF_DATABASES if output.endswith("mbtiles") else ())):
        place = tmp_path / f"{base}{name}"
        place.write_text("my own lockfile\n")
        for mode in ("merge", "overwrite"):
            for verb in (("run", url, "--lods", "0", "-o", output, *HASTY), ("convert", "in.mbtiles", output)):
                if there and name == ".ledger" and mode == "merge" and verb[0] == "run":
                    continue  # the ledger of a cache that is there: it is put aside (tests/e2e/test_faults_disk.py)
                refused(cli, tmp_path, *verb, "--mode", mode, code=4, words=(place.name, "Move it away"))
        place.unlink()


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_empty_file_of_somebodys_is_as_empty_afterwards(cli, url, tmp_path, output):
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    base = output.rstrip("/")
    for name in (".lock", ".new.ledger"):
        place = tmp_path / f"{base}{name}"
        for mode in ("merge", "overwrite"):
            for verb in (("run", url, "--lods", "0", "-o", output, *HASTY), ("convert", "in.mbtiles", output)):
                place.write_bytes(b"")
                cli(*verb, "--mode", mode)
                assert name != ".lock" or place.read_bytes() == b"", (verb, mode)
                for path in tmp_path.iterdir():
                    if path.name != "in.mbtiles":
                        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_log_without_a_byte_that_a_kill_left_hinders_nobody(cli, url, tmp_path, output):
    """Beside a ledger and a database that are there, that are empty yet, and that are not there."""
    base = output.rstrip("/")
    names = (*ALWAYS[3:], *(OF_DATABASES if output.endswith("mbtiles") else ()))
    run = ("run", url, "-o", output, *HASTY)
    for lods in ("0", "0-1", "0-2"):
        if lods == "0-2":
            (tmp_path / f"{base}.ledger").write_bytes(b"")
        for name in names:
            (tmp_path / f"{base}{name}").write_bytes(b"")
        ended = cli(*run, "--lods", lods)
        assert ended.code == 0, ended.err
        for verb in (("info", output), ("verify", output, "--deep"), ("report", output)):
            assert cli(*verb).code == 0, verb
    for name in names:
        (tmp_path / f"{base}{name}").write_bytes(b"")
    assert cli(*run, "--lods", "0", "--mode", "overwrite").code == 0


@pytest.mark.parametrize("format", ["mbtiles", "compactv2"])
def test_a_database_of_somebodys_that_is_called_like_a_ledger_stays(cli, url, tmp_path, format):
    run = ("run", url, "-o", "st", "--format", format, "--lods", "0-1", *HASTY)
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    assert cli(*run).code == 0
    for source in ("in.mbtiles", "st.ledger"):
        shutil.copy(tmp_path / source, tmp_path / "st.new.ledger")
        refused(cli, tmp_path, *run, "--mode", "overwrite", code=4, words=("st.new.ledger",))
    (tmp_path / "st.new.ledger").unlink()
    shutil.copy(tmp_path / "in.mbtiles", tmp_path / "st.ledger")
    refused(cli, tmp_path, *run, code=4, words=("st.ledger",))
    refused(cli, tmp_path, "convert", "in.mbtiles", "st", "--format", format, code=4, words=("st.ledger",))


@pytest.mark.parametrize("verb", ["info", "verify", "report"])
def test_a_reader_does_not_let_sqlite_remove_what_is_no_journal(cli, url, tmp_path, verb):
    assert cli("run", url, "-o", "st.mbtiles", "--lods", "0-1", *HASTY).code == 0
    for name in ("st.mbtiles-journal", "st.mbtiles.ledger-journal"):
        (tmp_path / name).write_text("my own journal\n")
        cli(verb, "st.mbtiles")
        assert (tmp_path / name).read_text() == "my own journal\n"
        (tmp_path / name).unlink()


def test_a_folder_that_is_exported_leaves_what_is_beside_it(tmp_path):
    make(tmp_path / "in.mbtiles", OTHER, format="mbtiles")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "Layers.lock").write_text("mine")
    before = lies_there(tmp_path)
    with pytest.raises(CacheError, match=r"Layers\.lock"):
        harvester.export_tile_cache(tmp_path / "in.mbtiles", tmp_path, "x")
    assert lies_there(tmp_path) == before


def test_a_lock_never_appears_without_what_tells_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "out.lock"
    with lock(path) as held_lock:
        assert path.read_bytes().startswith(f"\npid {os.getpid()} on ".encode())
        assert list(tmp_path.iterdir()) == [path]
        held_lock.note(".new")
    path.write_bytes(bytes(40))  # what a power cut may leave
    lock(path).release()
    assert not path.exists()


def test_an_empty_lock_that_was_there_is_used_and_stays_also_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "out.lock"
    path.touch()
    with lock(path):
        left_by_a_kill = path.read_bytes()
    assert path.read_bytes() == b""
    path.write_bytes(left_by_a_kill)
    lock(path).release()
    assert path.read_bytes() == b""


def test_a_lock_with_something_else_in_it_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "yarn.lock"
    for text in ("# yarn lockfile v1\n", "\npid of somebody", "pid 1 on there\n", "\npid 1 on there\n" + "x" * 5000):
        path.write_text(text)
        with pytest.raises(CacheError, match=r"yarn\.lock") as caught:
            lock(path)
        assert (caught.value.code, path.read_text()) == ("name_taken", text)


def test_an_interrupted_overwrite_is_gone_on_with_or_begun_anew(cli, url, tmp_path):
    run = ("run", url, "-o", "st.mbtiles", *HASTY)
    assert cli(*run, "--lods", "0-2").code == 0
    stopped = cli(*run, "--lods", "0-3", "--mode", "overwrite", "--max-tiles", "10")
    assert stopped.code == 1 and (tmp_path / "st.mbtiles.new.ledger").exists()
    assert cli(*run, "--lods", "0-1", "--mode", "overwrite").code == 0
    assert len(held(tmp_path / "st.mbtiles")) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["st.mbtiles", "st.mbtiles.ledger"]
