"""A reader of stdout that goes away: the work is done all the same, and the exit code is not that of an incomplete
run."""

from __future__ import annotations

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
