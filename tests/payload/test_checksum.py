"""The checksum is the same with isal and without it."""

from __future__ import annotations

import subprocess
import sys
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.payload.checksum import crc32

WITHOUT_ISAL = """
import sys
sys.modules["isal"] = None  # what an import finds where no wheel was installed
import zlib
from harvester.payload import checksum, judge, png
assert checksum.crc32 is png.crc32 is zlib.crc32
from harvester.edges import Outcome, TileFormat
body = sys.stdin.buffer.read()
for at in range(len(body)):
    broken = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    verdict = judge(broken, stated=TileFormat.PNG, width=48, height=48)
    print(verdict.outcome.value, verdict.reason)
print(judge(body, stated=TileFormat.PNG, width=48, height=48).outcome.value)
"""


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=4096), st.integers(0, 64), st.integers(0, 64))
def test_the_sum_is_zlibs_for_any_bytes_at_any_place(data: bytes, start: int, stop: int) -> None:
    view = memoryview(data)[start : len(data) - stop]
    assert crc32(view) == zlib.crc32(view)
    assert crc32(data) == zlib.crc32(data)


def test_without_isal_every_tile_is_judged_as_with_it(samples: dict[str, tuple[bytes, str]]) -> None:
    from harvester.edges import TileFormat
    from harvester.payload import judge

    body = next(body for body, kind in samples.values() if kind == "png" and len(body) < 8192)
    ended = subprocess.run([sys.executable, "-c", WITHOUT_ISAL], input=body, capture_output=True, check=True)
    expected = []
    for at in range(len(body)):
        broken = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        verdict = judge(broken, stated=TileFormat.PNG, width=48, height=48)
        expected.append(f"{verdict.outcome.value} {verdict.reason}")
    assert ended.stdout.decode().splitlines() == [*expected, "whole"]
    assert all(line.startswith("retry") for line in expected)
