"""A reader of stdout that goes away: the work is done all the same, and the exit code is not that of an incomplete
run."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("levels", ["0", "0-23"])
def test_a_report_that_nobody_reads_is_no_incomplete_run(serve, spawn, cli, levels):
    """A short document waits in a buffer, a long one meets the closed pipe at once."""
    service = serve()
    process = spawn(
        "run", service.url, "--lods", levels, "-o", "out.mbtiles", "--json", "-q", "--bbox", "1,1,1.00001,1.00001"
    )
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=120) == 141
    process.stdout = process.stderr = None
    assert cli("verify", "out.mbtiles", "-q").code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux'")
@pytest.mark.parametrize(
    ("redirected", "code"),
    [(">&-", 0), ("2>&-", 0), (">&- 2>&- <&-", 0), ("2>/dev/full", 0), (">/dev/full", 4)],
)
def test_streams_that_are_closed_or_full_stop_no_run_and_never_meet_a_cache(serve, cli, tmp_path, redirected, code):
    """Without care the next file opened would be number 1, and what is printed would go into the cache."""
    service = serve()
    words = (
        f"{shlex.quote(sys.executable)} -m harvester run {service.url} --lods 0-2 -o out.mbtiles --json {redirected}"
    )
    found = subprocess.run(["sh", "-c", words], cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=120)
    assert found.returncode == code
    assert "Traceback" not in found.stderr
    if code:
        assert "cannot write to the standard output" in found.stderr
    assert cli("verify", "out.mbtiles", "-q").code == 0
