"""A signal gives the documented exit code from the first moment on: while modules are imported, while the source is
opened, and when all is done. The imports themselves, as Python tells them, say where the process is."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signal can be sent to one process there")

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}

FIRST = "harvester.cli.common"
"""Imported first of all after the handlers are set."""


@pytest.fixture
def silent():
    """A server that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/arcgis/rest/services/A/MapServer"


def heed():
    """Whoever runs the tests in the background has Ctrl-C ignored, by them and by what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ignore():
    """As ``nohup`` and shells do for what they start in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def start(tmp_path, *arguments, prepare=heed):
    return subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "harvester", *arguments], preexec_fn=prepare,
        cwd=tmp_path, env={**os.environ, "COLUMNS": "200"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def module_of(line):
    return line.rpartition("|")[2].strip() if line.startswith("import time:") else ""


def stopped_at(process, module, number):
    """Send a signal when a module was imported; gives exit code and what was said."""
    guard = threading.Timer(300, process.kill)
    guard.start()
    try:
        for line in process.stderr:
            if module_of(line) == module:
                process.send_signal(number)
                break
        else:
            raise AssertionError(f"{module} is not imported")
        out, err = process.communicate(timeout=120)
        return process.returncode, out, [line for line in err.splitlines() if not module_of(line) and line.strip()]
    finally:
        guard.cancel()
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "module",
    [FIRST, "harvester.cli.frame", "harvester.cli.options", "harvester.cli.progress",
     "harvester.engine.run", "numpy", "harvester.assemble.run"],
)  # fmt: skip
def test_a_run_that_is_stopped_while_it_starts_says_so_and_leaves_no_file(tmp_path, silent, module, number):
    process = start(tmp_path, "run", silent, "-o", "out.mbtiles")
    code, out, said = stopped_at(process, module, number)
    assert (code, out) == (SIGNALS[number], "")
    assert said == [f"error: stopped by {signal.Signals(number).name}", "Nothing was done yet."]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "module", ["harvester.cli.progress", "harvester.export.server_cache", "harvester.assemble.run"]
)
def test_so_does_an_export(tmp_path, silent, module, number):
    process = start(tmp_path, "export", silent, "out")
    code, out, said = stopped_at(process, module, number)
    assert (code, out) == (SIGNALS[number], "")
    assert said == [f"error: stopped by {signal.Signals(number).name}", "Nothing was done yet."]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("verb", ["run", "scales"])
def test_a_command_that_waits_for_the_source_is_stopped_without_a_traceback(tmp_path, number, verb):
    stop_while_it_waits(tmp_path, number, verb, heed)


@pytest.mark.parametrize("verb", ["run", "scales"])
def test_one_for_which_ctrl_c_is_ignored_hears_a_sigterm_all_the_same(tmp_path, verb):
    stop_while_it_waits(tmp_path, signal.SIGTERM, verb, ignore)


def stop_while_it_waits(tmp_path, number, verb, prepare):
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"http://127.0.0.1:{server.getsockname()[1]}/arcgis/rest/services/A/MapServer"
        process = start(tmp_path, verb, place, *(("-o", "out.mbtiles") if verb == "run" else ()), prepare=prepare)
        try:
            connection, _ = server.accept()
            with connection:
                process.send_signal(number)
                _, err = process.communicate(timeout=120)
        finally:
            process.kill()
            process.wait()
    said = [line for line in err.splitlines() if not module_of(line) and line.strip()]
    assert process.returncode == SIGNALS[number]
    early = [f"error: stopped by {signal.Signals(number).name}", "Nothing was fetched yet."]
    assert [line for line in said if not line.startswith("note: stopping")] == (early if verb == "run" else ["stopped"])
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_done_keeps_its_code_and_a_second_signal_finds_the_documented_one(tmp_path, serve):
    """After its end the handlers of before are back, not the system's."""
    program = (
        "import os, signal, sys\n"
        "from harvester.cli import frame, main\n"
        "shown = frame.show_json\n"
        "def show_json(document):\n"
        "    shown(document); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGTERM)\n"
        "frame.show_json = show_json\n"
        "main.main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "run", serve().url, "--lods", "0-2", "-o", "out.mbtiles", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert json.loads(done.stdout)["complete"] is True
    assert (done.returncode, done.stderr.splitlines()[-1:]) == (143, ["stopped"])
