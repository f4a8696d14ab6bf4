"""Disks that are full, refuse, lie or hold something else: exit 4 in two lines, what was there untouched, and the same
command goes on once the disk is well."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harvester.assemble.run import harvest_job
from harvester.durable import Disk
from harvester.errors import CacheError
from harvester.job import Job, Policy
from harvester.loop import run_loop
from harvester.testing.service import ArcGisSite
from tests.e2e.claims import HASTY, SMALL, TILES, files, held, poisoned

OUTPUTS = ("out.mbtiles", "out", "out.tpkx")
POINTS = 3
"""Operations of a run at which the disk fails, spread evenly over all of them."""


class FailingDisk(Disk):
    """Fails with an errno from the Nth operation on (0: never); ``names``: only operations of these names."""

    def __init__(self, number: int = 0, error: int = errno.ENOSPC, names: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.steps = 0
        self._number = number
        self._error = error
        self._names = names

    def step(self, name: str, path: Path) -> None:
        if self._names and name not in self._names:
            return
        self.steps += 1
        if self._number and self.steps >= self._number:
            raise OSError(self._error, os.strerror(self._error), str(path))


def harvest(url: str, out: Path, disk: Disk) -> CacheError | int:
    """One run on this disk: its exit code, or the error that ended it before its first tile request."""
    job = Job(source=url, output=out, policies=(Policy(lods=((0, 3),)),))
    try:
        return run_loop(harvest_job(job, disk=disk)).exit_code
    except CacheError as error:
        return error


FAILURES = {
    "a full disk": (errno.ENOSPC, frozenset({"write", "sqlite_commit", "open", "make_dirs", "truncate"})),
    "an error of sync": (errno.EIO, frozenset({"sync", "sync_folder", "sqlite_commit"})),
    "a disk that went read-only": (errno.EROFS, frozenset[str]()),
}


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("failure", FAILURES)
def test_a_disk_that_fails_at_any_operation_ends_with_4_and_the_run_goes_on_when_it_is_well(
    serve, cli, tmp_path, name, failure
):
    """Rows 31, 32, 35."""
    service = serve()
    error, names = FAILURES[failure]
    counting = FailingDisk(names=names)
    assert harvest(service.url, tmp_path / f"whole-{name}", counting) == 0
    assert counting.steps > 0
    for number in sorted({1 + counting.steps * point // POINTS for point in range(POINTS)}):
        out = tmp_path / f"{number}-{name}"
        ended = harvest(service.url, out, FailingDisk(number, error, names))
        assert ended == 4 or isinstance(ended, CacheError)
        assert poisoned(out, service.site) == set()
        rest = cli("run", service.url, *SMALL, "-o", out, *HASTY)
        assert (rest.code, rest.json["stored"]) == (0, TILES)
        assert len(held(out)) == TILES
        assert poisoned(out, service.site) == set()
        assert {found for found in files(tmp_path) if found.startswith(out.name)} == {out.name, f"{out.name}.ledger"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no RLIMIT_FSIZE")
@pytest.mark.parametrize("name", OUTPUTS)
def test_files_that_may_not_grow_end_the_run_with_4_in_two_lines(serve, cli, tmp_path, name):
    """A real limit of the system's, in a process of its own."""
    service = serve(ArcGisSite(padding=20_000))
    arguments = ("run", service.url, *SMALL, "-o", name, *HASTY)
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000)); "
        "from harvester.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 4, ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 2
    assert "600,000 bytes" in ended.stderr and "ulimit -f" in ended.stderr
    assert poisoned(tmp_path / name, service.site) == set()
    rest = cli(*arguments)
    assert (rest.code, rest.json["stored"]) == (0, TILES)
    assert poisoned(tmp_path / name, service.site) == set()


# ------------------------------------------------------------------------------------------------ no place to write to


def no_place(tmp_path: Path, name: str) -> tuple[Path, bytes]:
    """A place where nothing can be written, and what must stay there."""
    if name == "below a file":
        (tmp_path / "file").write_bytes(b"mine")
        return tmp_path / "file" / "out.mbtiles", b"mine"
    if name == "a folder of other things":
        (tmp_path / "out.mbtiles").mkdir()
        (tmp_path / "out.mbtiles" / "letter.txt").write_bytes(b"mine")
        return tmp_path / "out.mbtiles", b"mine"
    if name == "another file":
        (tmp_path / "out.tpkx").write_bytes(b"mine")
        return tmp_path / "out.tpkx", b"mine"
    if name == "a folder without write permission":
        if os.name == "nt":
            pytest.skip("folders have no such permission on Windows")
        if os.geteuid() == 0 and Path("/sys/kernel").is_dir():
            return Path("/sys/out.mbtiles"), b""  # even root may not make files there
        (tmp_path / "closed").mkdir(mode=0o500)
        return tmp_path / "closed" / "out.mbtiles", b""
    if not Path("/proc/self").exists():
        pytest.skip("this system has no /proc")
    return Path("/proc/harvester-out.mbtiles"), b""


@pytest.mark.parametrize(
    "name",
    [
        "below a file",
        "a folder of other things",
        "another file",
        "a folder without write permission",
        "a file system that takes nothing",
    ],
)
@pytest.mark.parametrize("mode", ["merge", "overwrite"])
def test_an_output_that_cannot_be_written_is_exit_4_before_the_first_tile(serve, cli, tmp_path, name, mode):
    """Row 35."""
    service = serve()
    out, mine = no_place(tmp_path, name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = cli("run", service.url, *SMALL, "-o", out, *HASTY, "--mode", mode)
    assert result.code == 4
    assert result.json["error"]["hint"]
    assert len(result.err.strip().splitlines()) == 2
    assert service.log.count("tile") == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert list(before.values()) == ([mine] if mine else [])


def test_a_report_that_cannot_be_written_is_known_before_the_first_tile(serve, cli, tmp_path):
    service = serve()
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY, "--report", "nowhere/report.json")
    assert (result.code, result.json["error"]["code"]) == (2, "usage")
    assert service.log.count("tile") == 0
    assert list(tmp_path.iterdir()) == []


def test_an_output_whose_name_is_too_long_is_told_before_the_first_tile(serve, cli, tmp_path):
    service = serve()
    result = cli("run", service.url, *SMALL, "-o", f"{'r' * 300}.tpkx", *HASTY)
    assert result.code in (2, 4)
    assert result.json["error"]["hint"]
    assert service.log.count("tile") == 0
    assert list(tmp_path.iterdir()) == []


def test_so_is_one_that_its_folder_does_not_take(serve, cli, tmp_path):
    service = serve()
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY, "--report", f"{'r' * 300}.json")
    assert result.code in (2, 4)
    assert result.json["error"]["hint"]
    assert service.log.count("tile") == 0
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ what was there before


def spoil(path: Path, how: str) -> None:
    """Damage a cache: its (or its bundles') head, or its second half."""
    for file in [path] if path.is_file() else [*path.rglob("*.bundle")]:
        data = bytearray(file.read_bytes())
        if how == "head":
            start = 0
            if file.suffix == ".tpkx":
                with zipfile.ZipFile(file) as package:
                    inside = next(entry for entry in package.infolist() if entry.filename.endswith(".bundle"))
                start = inside.header_offset + 30 + len(inside.filename)
            data[start + 16 : start + 64] = b"\xff" * 48
        elif how == "half":
            del data[len(data) // 2 :]
        else:
            data[:] = b"\x00" * len(data)
        file.write_bytes(data)


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("how", ["head", "half", "zeros"])
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_damaged_cache_is_refused_with_4_or_mended_and_never_called_whole(serve, cli, tmp_path, name, how):
    """Row 36."""
    service = serve()
    out = tmp_path / name
    assert cli("run", service.url, *SMALL, "-o", name, "-q").code == 0
    spoil(out, how)
    before = snapshot(out)
    checked = cli("verify", name, "--json")
    assert checked.code in (1, 4)
    result = cli("run", service.url, *SMALL, "-o", name, *HASTY)
    if result.code == 4:
        assert result.json["error"]["hint"]
        assert len(result.err.strip().splitlines()) == 2
        assert snapshot(out) == before
        if "--mode overwrite" in result.json["error"]["hint"]:
            assert cli("run", service.url, *SMALL, "-o", name, "--mode", "overwrite", *HASTY).code == 0
    else:
        assert result.code == 0
        assert cli("verify", name, "--deep").code == 0
        assert held(out) == {tile: service.site.body(tile) for tile in held(out)}
        assert len(held(out)) == TILES


@pytest.mark.parametrize("ledger", ["ledger", "no ledger"])
@pytest.mark.parametrize(
    ("format", "left"), [("compactv2", 0), ("compactv2", 40), ("compactv2", 131_135), ("compact", 59)]
)
def test_a_bundle_cut_inside_its_index_is_told_before_the_first_tile_request(
    serve, cli, tmp_path, format, left, ledger
):
    """Also by the same command again, and by a plan without its tiles: verify calls the cache damaged, too."""
    service = serve()
    command = ("run", service.url, "-o", "out", "--format", format, *HASTY)
    assert cli(*command, *SMALL).code == 0
    (bundle,) = (tmp_path / "out" / "_alllayers" / "L03").glob("*.bundle")
    bundle.write_bytes(bundle.read_bytes()[:left])
    if ledger == "no ledger":
        (tmp_path / "out.ledger").unlink()
    before = snapshot(tmp_path / "out")
    service.log.clear()
    for lods in (SMALL, SMALL, ("--lods", "0-2")):
        result = cli(*command, *lods)
        assert (result.code, result.json["error"]["code"]) == (4, "damaged"), result.out
        assert bundle.name in result.json["error"]["message"]
        assert service.log.count("tile") == service.log.count("tilemap") == 0
        assert snapshot(tmp_path / "out") == before
    assert cli(*command, *SMALL, "--mode", "overwrite").code == 0
    assert len(held(tmp_path / "out")) == TILES


@pytest.mark.parametrize(
    ("name", "left"),
    [
        *(
            (OUTPUTS[0], left)
            for left in (0, 1, 100, 512, 4096, 20_000, "garbage", "garbage behind the head", "zeros behind the head")
        ),
        *((name, "half") for name in OUTPUTS),
    ],
)
def test_a_damaged_ledger_is_rebuilt_from_the_cache(serve, cli, tmp_path, name, left):
    """Row 40: absent tiles are asked again, stored ones are not."""
    service = serve(ArcGisSite(absent=lambda tile: tile.level == 3 and tile.col == 2))
    assert cli("run", service.url, *SMALL, "-o", name, "-q").code == 0
    ledger = tmp_path / f"{name}.ledger"
    data = ledger.read_bytes()
    if left == "garbage":
        data = b"no ledger of ours" * 1000
    elif left == "garbage behind the head":
        data = data[:100] + b"no ledger of ours" * 1000
    elif left == "half":
        data = data[: len(data) // 2]
    elif left == "zeros behind the head":
        data = data[:512] + bytes(len(data) - 512)
    else:
        data = data[:left]
    ledger.write_bytes(data)
    service.log.clear()
    result = cli("run", service.url, *SMALL, "-o", name, *HASTY)
    assert (result.code, result.json["stored"], result.json["absent"]) == (0, TILES - 8, 8)
    assert service.log.count("tile") <= 8
    assert cli("verify", name, "--deep").code == 0
    if left != 0:
        assert any("rebuilt" in text for text in result.json["notices"])


def test_what_does_not_begin_as_a_ledger_is_put_aside_where_its_cache_is(serve, cli, tmp_path):
    service = serve()
    command = ("run", service.url, *SMALL, "-o", OUTPUTS[0], *HASTY)
    assert cli(*command).code == 0
    ledger = tmp_path / f"{OUTPUTS[0]}.ledger"
    for number in ("", "-2"):
        ledger.write_bytes(b"my accounts\n" * 1000)
        rebuilt = cli(*command, "--json")
        assert rebuilt.code == 0
        assert any("rebuilt" in text and f"{ledger.name}.damaged{number}" in text for text in rebuilt.json["notices"])
        assert (tmp_path / f"{ledger.name}.damaged{number}").read_bytes() == b"my accounts\n" * 1000
        assert cli("verify", OUTPUTS[0]).code == 0


@pytest.mark.parametrize("there", [True, False])
def test_what_does_not_begin_as_a_ledger_is_somebodys_where_no_cache_goes_on(serve, cli, tmp_path, there):
    service = serve()
    command = ("run", service.url, *SMALL, "-o", OUTPUTS[0], *HASTY)
    if there:
        assert cli(*command).code == 0
        command += ("--mode", "overwrite")
    ledger = tmp_path / f"{OUTPUTS[0]}.ledger"
    ledger.write_bytes(b"my accounts\n" * 1000)
    refused = cli(*command)
    assert refused.code == 4 and ledger.name in refused.err and "made anew from the cache" in refused.err
    assert ledger.read_bytes() == b"my accounts\n" * 1000
    ledger.rename(tmp_path / "accounts.txt")
    assert cli(*command).code == 0


def test_a_ledger_that_is_gone_is_made_anew(serve, cli, tmp_path):
    service = serve()
    assert cli("run", service.url, *SMALL, "-o", "out", "-q").code == 0
    (tmp_path / "out.ledger").unlink()
    service.log.clear()
    assert cli("run", service.url, *SMALL, "-o", "out", *HASTY).json["kept"] == TILES
    assert service.log.count("tile") == 0


def test_a_cache_of_another_format_is_refused(serve, cli, tmp_path):
    """Row 37."""
    service = serve()
    assert cli("run", service.url, *SMALL, "-o", "out", "-q").code == 0
    before = snapshot(tmp_path / "out")
    shutil.copyfile(tmp_path / "out.ledger", tmp_path / "copy")
    result = cli("run", service.url, *SMALL, "-o", "out", "--format", "mbtiles", *HASTY)
    assert result.code == 4
    assert "compactv2" in result.err
    assert snapshot(tmp_path / "out") == before
    assert (tmp_path / "out.ledger").read_bytes() == (tmp_path / "copy").read_bytes()
