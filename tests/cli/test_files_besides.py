"""Reports, logs and other files that a command writes besides: never over a cache or its files, never a wait."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harvester.durable import lock
from harvester.tiling.tile import Tile
from tests.cli.test_taken_names import lies_there, posix
from tests.delta.making import make, picture
from tests.e2e.claims import HASTY, held

TILES = {Tile(1, row, col): picture(2 * row + col) for row in range(2) for col in range(2)}
NAMES = (
    "",
    ".ledger",
    ".lock",
    ".new",
    ".new.ledger",
    ".old",
    ".part",
    ".work/x",
    ".new/x",
    "-journal",
    ".ledger-journal",
)


def refused(cli, folder: Path, *arguments: object) -> None:
    before = lies_there(folder)
    result = cli(*arguments)
    assert result.code == 2, (arguments, result.out, result.err)
    assert any(words in result.err for words in ("Name another file", "is a directory", "does not exist")), result.err
    assert lies_there(folder) == before


@pytest.mark.parametrize("option", ["--report", "--log-file"])
@pytest.mark.parametrize("output", ["out.mbtiles", "out.tpkx", "out"])
def test_a_report_or_log_never_takes_the_place_of_the_cache_or_what_belongs_to_it(cli, serve, tmp_path, option, output):
    service = serve()
    run = ("run", service.url, "--lods", "0-1", "-o", output, *HASTY)
    for name in NAMES:
        refused(cli, tmp_path, *run, option, output + name)
    asked = service.log.count("tile")
    assert asked == 0 and cli(*run).code == 0
    for name in (*NAMES, *(("/conf.xml", "/report.json") if output == "out" else ())):
        refused(cli, tmp_path, *run, option, f"./{output}{name}")
    (tmp_path / "job.toml").write_text(f'source = "{service.url}"\noutput = "{output}"\n[[policy]]\nlods = "0-1"\n')
    refused(cli, tmp_path, "run", "job.toml", option, output, *HASTY)
    assert len(held(tmp_path / output)) == 5


def test_a_report_beside_the_cache_and_one_that_is_a_link_elsewhere_are_written(cli, serve, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.json").symlink_to("elsewhere/report.json")
    run = ("run", serve().url, "--lods", "0-1", "-o", "out", *HASTY)
    assert cli(*run, "--report", "link.json", "--log-file", "out.log").code == 0
    assert (tmp_path / "elsewhere" / "report.json").is_file() and (tmp_path / "link.json").is_symlink()
    (tmp_path / "over.json").symlink_to("out.ledger")
    refused(cli, tmp_path, *run, "--report", "over.json")


def test_no_verb_writes_over_the_cache_that_it_reads(cli, serve, tmp_path):
    for output in ("out.mbtiles", "out"):
        assert cli("run", serve().url, "--lods", "0-1", "-o", output, *HASTY).code == 0
        for name in ("", ".ledger", *(("/conf.cdi",) if output == "out" else ())):
            place = output + name
            refused(cli, tmp_path, "report", output, "--html", place)
            refused(cli, tmp_path, "holes", output, "-o", place)
            refused(cli, tmp_path, "tile", output, "1/0/0", "-o", place)
            refused(cli, tmp_path, "verify", output, "--log-file", place)
            refused(cli, tmp_path, "convert", output, "other.mbtiles", "--log-file", place)


@posix
@pytest.mark.parametrize("option", ["--report", "--log-file"])
def test_a_pipe_that_nobody_reads_is_told_at_once(cli, serve, tmp_path, option):
    os.mkfifo(tmp_path / "pipe")
    service = serve()
    before = lies_there(tmp_path)
    result = cli("run", service.url, "--lods", "0-1", "-o", "out.mbtiles", *HASTY, option, "pipe")
    assert result.code == 2 and "a pipe that nobody reads" in result.err
    assert lies_there(tmp_path) == before and service.log.count("tile") == 0


@posix
@pytest.mark.parametrize("verb", [("report", "--html"), ("holes", "-o"), ("tile", "1/0/0", "-o")])
def test_no_other_verb_waits_for_the_reader_of_a_pipe(cli, serve, tmp_path, verb):
    assert cli("run", serve().url, "--lods", "0-1", "-o", "out.mbtiles", *HASTY).code == 0
    os.mkfifo(tmp_path / "pipe")
    result = cli(verb[0], "out.mbtiles", *verb[1:], "pipe")
    assert result.code == 4 and "a pipe that nobody reads" in result.err


@posix
@pytest.mark.parametrize("option", ["--report", "--log-file"])
def test_a_pipe_with_a_reader_gets_all_of_it(cli, serve, tmp_path, option):
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []

    def drain() -> None:
        read.append((tmp_path / "pipe").read_bytes())

    draining = threading.Thread(target=drain)
    draining.start()
    keeps = os.open(tmp_path / "pipe", os.O_WRONLY)  # waits for the reader, and is its only writer until the run is
    try:
        result = cli("run", serve().url, "--lods", "0-1", "-o", "out.mbtiles", *HASTY, option, "pipe", "--debug")
    finally:
        os.close(keeps)
        draining.join()
    assert result.code == 0, result.err
    assert (b'"complete": true' if option == "--report" else b"finished with 0") in read[0]


def test_a_cache_under_two_names_has_one_lock_and_one_ledger(cli, serve, tmp_path):
    service = serve()
    run = ("run", service.url, "--lods", "0-1", *HASTY)
    for output, link in (("o", "link"), ("o.mbtiles", "link.mbtiles"), ("o.tpkx", "link.tpkx")):
        assert cli(*run, "-o", output).code == 0
        (tmp_path / "links").mkdir(exist_ok=True)
        (tmp_path / "links" / link).symlink_to(tmp_path / output)
        asked = service.log.count("tile")
        result = cli(*run, "-o", f"links/{link}")
        assert (result.code, service.log.count("tile")) == (0, asked)
        assert cli("verify", f"links/{link}").code == 0
        assert [path.name for path in (tmp_path / "links").iterdir()] == [link]
        with lock(tmp_path / f"{output}.lock"):
            for command in ((*run, "-o", f"links/{link}"), ("convert", "in.mbtiles", f"links/{link}")):
                make(tmp_path / "in.mbtiles", TILES, format="mbtiles")
                result = cli(*command)
                assert result.code == 4 and "locked by another run (pid" in result.err
        assert cli(*run, "-o", f"links/{link}", "--mode", "overwrite").code == 0
        assert (tmp_path / "links" / link).is_symlink() and len(held(tmp_path / output)) == 5
        (tmp_path / "links" / link).unlink()


AREA = '{"type": "Polygon", "coordinates": [[[0, 0], [50, 0], [50, 50], [0, 0]]]}'


@pytest.mark.parametrize("option", ["--report", "--log-file"])
def test_nothing_that_a_run_reads_is_written_over_with_its_report_or_log(cli, serve, tmp_path, option):
    service = serve()
    (tmp_path / "area.geojson").write_text(AREA)
    (tmp_path / "job.toml").write_text(
        f'source = "{service.url}"\noutput = "out.mbtiles"\n[[policy]]\nlods = "0-1"\naoi = "area.geojson"\n'
    )
    (tmp_path / "ca.pem").write_text("")
    (tmp_path / "hard.json").hardlink_to(tmp_path / "area.geojson")
    for name in ("job.toml", "./area.geojson", *(["hard.json"] if option == "--log-file" else [])):
        refused(cli, tmp_path, "run", "job.toml", option, name, *HASTY)
    run = ("run", service.url, "--lods", "0-1", "-o", "out.mbtiles", *HASTY)
    refused(cli, tmp_path, *run, "--aoi", "area.geojson", option, "area.geojson")
    refused(cli, tmp_path, *run, "--ca-bundle", "ca.pem", option, "ca.pem")
    assert service.log.count("tile") == 0
    assert cli("run", "job.toml", "--report", "report.json", "--log-file", "run.log", *HASTY).code == 0


def test_a_report_and_a_log_are_two_files_and_a_log_is_none_of_a_verbs_areas(cli, serve, tmp_path):
    run = ("run", serve().url, "--lods", "0-1", "-o", "out.mbtiles", *HASTY)
    refused(cli, tmp_path, *run, "--report", "both", "--log-file", "./both")
    assert cli(*run).code == 0
    (tmp_path / "area.geojson").write_text(AREA)
    for verb in (("convert", "out.mbtiles", "part.mbtiles"), ("plan", serve().url)):
        refused(cli, tmp_path, *verb, "--aoi", "area.geojson", "--log-file", "area.geojson")


@pytest.mark.parametrize("inner", ["a/b", "a/b.mbtiles", "a.work/b", "a.new/b.mbtiles"])
def test_no_cache_is_made_inside_of_another_one_not_even_of_one_that_is_being_made(cli, serve, tmp_path, inner):
    run = ("run", serve().url, "--lods", "0-1", *HASTY)
    assert cli(*run, "-o", "a/").code == 0
    make(tmp_path / "in.mbtiles", TILES, format="mbtiles")
    for verb in ((*run, "-o", inner), ("convert", "in.mbtiles", inner)):
        before = lies_there(tmp_path)
        result = cli(*verb)
        assert result.code == 2 and "which belongs to the cache" in result.err, result.err
        assert lies_there(tmp_path) == before
    for path in (tmp_path / "a").iterdir():  # a run that has just begun has a ledger, and no cache yet
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert cli(*run, "-o", inner).code == 2
    (tmp_path / "a.ledger").unlink()
    assert cli(*run, "-o", inner).code == 0


def test_a_report_and_a_log_may_go_to_one_device(cli, serve):
    """Nothing in it can be lost."""
    run = ("run", serve().url, "--lods", "0-1", "-o", "out.mbtiles", *HASTY)
    assert cli(*run, "--report", os.devnull, "--log-file", os.devnull).code == 0


@posix
def test_a_report_and_a_log_may_go_to_one_pipe(serve, tmp_path):
    run = ("run", serve().url, "--lods", "0-1", "-o", tmp_path / "out.mbtiles", *HASTY)
    both = ("--report", "/dev/stderr", "--log-file", "/dev/stderr", "--quiet")
    done = subprocess.run([sys.executable, "-m", "harvester", *map(str, run), *both], capture_output=True, check=False)
    assert (done.returncode, b'"stored": 5' in done.stderr) == (0, True), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no RLIMIT_FSIZE")
def test_a_log_that_takes_no_more_stops_nothing_and_is_told_of_at_the_end(serve, tmp_path):
    """As on a full disk: what the limit leaves is enough for the cache, and none for a log that is longer already."""
    (tmp_path / "run.log").touch()
    os.truncate(tmp_path / "run.log", 3_000_000)
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)); "
        "from harvester.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    run = ("run", serve().url, "--lods", "0-1", "-o", "out.mbtiles", *HASTY, "--log-file", "run.log")
    done = subprocess.run(
        [sys.executable, "-c", program, *run], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stored"] == 5
    assert done.stderr == f"note: --log-file {tmp_path / 'run.log'}: File too large: lines of it are missing\n"


def test_what_has_the_name_of_a_half_written_report_is_a_persons_and_stays(cli, serve, tmp_path):
    run = ("run", url := serve().url, "--lods", "0-1", "-o", "out.mbtiles", *HASTY)
    written = {
        "report.json": (*run, "--report", "report.json"),
        "holes.geojson": ("holes", "out.mbtiles", "-o", "holes.geojson"),
        "report.html": ("report", "out.mbtiles", "--html", "report.html"),
        "tile.png": ("tile", url, "0/0/0", "-o", "tile.png"),
    }
    for name, command in written.items():
        (tmp_path / f"{name}.part").write_text("mine")
        result = cli(*command)
        assert result.code == 0 and (tmp_path / name).stat().st_size, result.err
        assert (tmp_path / f"{name}.part").read_text() == "mine"
        assert [each.name for each in tmp_path.glob(f"{name}*")] in ([name, f"{name}.part"], [f"{name}.part", name])


def test_a_dash_is_the_standard_output_and_no_file_and_never_a_cache(cli, serve, tmp_path):
    service = serve()
    told = cli("run", service.url, "--lods", "0-1", "-o", "out.mbtiles", "--report", "-")
    assert (told.code, told.json["stored"]) == (0, 5)
    body = cli("tile", service.url, "0/0/0", "-o", "-", "--json")
    assert (body.code, body.json["verdict"]) == (0, "whole")
    assert cli("holes", "out.mbtiles", "-o", "-").json["features"] == []
    assert cli("report", "out.mbtiles", "--html", "-").out.startswith("<!")
    for words in (("run", service.url), ("merge", "out.mbtiles"), ("diff", "out.mbtiles", "out.mbtiles")):
        assert cli(*words, "-o", "-").code == 2
    assert cli("convert", "out.mbtiles", "-").code == 2
    assert cli("info", "out.mbtiles", "--log-file", "-").code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mbtiles", "out.mbtiles.ledger"]
