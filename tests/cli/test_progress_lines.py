"""The progress line of ``--progress json`` has every figure of the event."""

from __future__ import annotations

import dataclasses
import json

from harvester.cli.progress import JsonLines
from harvester.events import Counts, Progress


def test_a_progress_line_has_every_figure(capsys):
    event = Progress(
        counts=Counts(100, 40, 0, 5, 1, 54), ended=58, requests=70, retries=3, throttled=2, bytes=9999, seconds=4.5678,
        tiles_per_second=12.34, eta_seconds=3.6, concurrency=8, paused_seconds=1.24,
    )  # fmt: skip
    JsonLines()(event)
    line = json.loads(capsys.readouterr().err)
    fields = {field.name for field in dataclasses.fields(Progress)} - {"counts"}
    assert set(line) == fields | set(Counts._fields) | {"type"}
    assert (line["ended"], line["pending"], line["tiles_per_second"], line["eta_seconds"]) == (58, 54, 12.3, 4)
