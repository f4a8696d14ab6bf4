"""A run writes to its output, its ledger, its lock and what it was told to write to: nothing else on the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harvester.testing.service import ArcGisSite
from tests.e2e.claims import files

WATCH = """
import json, os, sys

written = set()

def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        if isinstance(path, (str, bytes)) and (flags & writes if mode is None else set("wax+") & set(mode)):
            written.add(os.path.abspath(os.fsdecode(path)))
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate"):
        if not isinstance(arguments[0], int):
            written.add(os.path.abspath(os.fsdecode(arguments[0])))
    elif event in ("os.rename", "os.link", "os.symlink"):
        written.update(os.path.abspath(os.fsdecode(one)) for one in arguments[:2])
    elif event == "sqlite3.connect":
        place = os.fsdecode(arguments[0]).removeprefix("file://").partition("?")[0]
        written.add(os.path.abspath(place))

sys.addaudithook(watch)
from harvester.cli.frame import run
from harvester.cli.main import VERBS

code = run(sys.argv[1:], VERBS)
sys.stderr.write("\\n" + json.dumps(sorted(written)) + "\\n")
sys.exit(code)
"""


@pytest.mark.parametrize("name", ["out.mbtiles", "out.gpkg", "out.pmtiles", "out.tpkx", "out.tpk", "out", "exploded"])
def test_a_run_makes_no_file_outside_its_output_and_what_it_was_told_to_write(serve, tmp_path, name):
    """I11: the process itself says which files it opened for writing, made, renamed or removed."""
    service = serve(ArcGisSite(tilemap="on"))
    home, work, scratch = tmp_path / "home", tmp_path / "work", tmp_path / "scratch"
    for folder in (home, work, scratch):
        folder.mkdir()
    form = ("--format", "exploded") if name == "exploded" else ()
    done = subprocess.run(
        [
            *(sys.executable, "-B", "-c", WATCH, "run", service.url, "--lods", "0-3", "-o", name, *form, "-q"),
            *("--log-file", "log.txt", "--report", "report.json"),
        ],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            **dict.fromkeys(("HOME", "USERPROFILE", "XDG_CACHE_HOME", "APPDATA"), str(home)),
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch)),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
    )
    assert done.returncode == 0, done.stderr
    own = tuple(str(work / mine) for mine in (name, "log.txt", "report.json"))
    opened = json.loads(done.stderr.splitlines()[-1])
    # Where Linux gives a file without a name (the folder itself is opened), the lock gets its name once it is filled.
    unnamed = {path for path in opened if path == str(work) or path.startswith("/proc/self/fd/")}
    assert [path for path in opened if path not in unnamed and not path.startswith((*own, os.devnull))] == []
    assert files(work) == {name, f"{name}.ledger", "log.txt", "report.json"}
    assert files(home) == files(scratch) == set()
