"""A signal that comes while a command's loop closes, or after it, gives the documented exit code and no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signal can be sent to one process there")

AT = """
import os, signal, sys
file, name, number, loop = sys.argv[1:5]
sys.argv = ["harvester", *sys.argv[5:]]
if loop == "asyncio":
    sys.modules["uvloop"] = None
signal.signal(signal.SIGINT, signal.default_int_handler)
ended = False

def watch(frame, event, arg):
    global ended
    code = frame.f_code
    if not ended:
        ended = code.co_name == "harvest_job" and event == "return" and "Report" in type(arg).__name__
        return
    if os.path.basename(code.co_filename) == file and code.co_name == name:
        sys.setprofile(None)
        os.write(2, b"sent\\n")
        os.kill(os.getpid(), int(number))

sys.setprofile(watch)
from harvester.cli.main import main
main()
"""
"""The signal comes where this function is called, or returns, once all tiles are there."""

PLACES = [
    ("run.py", "stopping_on_signals"), ("loop.py", "heed"), ("runners.py", "close"),
    ("base_events.py", "shutdown_asyncgens"), ("socket.py", "_real_close"), ("loop.py", "__exit__"),
    ("frame.py", "run"), ("early_stop.py", "over"),
]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("place", PLACES, ids=lambda place: "-".join(place))
def test_a_signal_while_the_loop_closes_or_later_leaves_no_trace(serve, tmp_path, place, loop, number):
    process = subprocess.run(
        [sys.executable, "-c", AT, *place, str(int(number)), loop, "run", serve().url, "--lods", "0-1", "--quiet",
         "-o", "o.mbtiles"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    said = [line for line in process.stderr.splitlines() if line.strip()]
    if place[0] == "base_events.py" and loop == "uvloop":
        assert (process.returncode, said) == (0, [])  # it has its own
        return
    assert said[0] == "sent"
    assert (process.returncode, said[1:]) in [(128 + number, ["stopped"]), (128 + number, []), (0, [])]
