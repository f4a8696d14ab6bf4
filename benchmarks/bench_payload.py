"""Judging a tile of 15 KB, against the one pass over its bytes that no check of a PNG can do without (CRC-32)."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable
from functools import cache
from zlib import crc32

from PIL import Image

from harvester.edges import Outcome, TileFormat
from harvester.payload import decode_check, judge

SIDE = 256


@cache
def tile(form: str) -> bytes:
    """A picture of ``SIDE`` x ``SIDE`` pixels in about 15 KB: a patch of noise on a plain ground."""
    patch = {"PNG": 118, "JPEG": 150, "WEBP": 162}[form]
    picture = Image.new("L" if form == "PNG" else "RGB", (SIDE, SIDE))
    noise = Image.frombytes("L", (patch, patch), random.Random(3).randbytes(patch * patch))
    picture.paste(noise.convert(picture.mode), (9, 9))
    out = io.BytesIO()
    picture.save(out, form)
    return out.getvalue()


def work(n: int, form: str = "PNG") -> None:
    """Judge the same tile ``n`` times."""
    body = tile(form)
    for _ in range(n):
        verdict = judge(body, stated=TileFormat.UNKNOWN, width=SIDE, height=SIDE)
    assert verdict.outcome is Outcome.WHOLE


def floor(n: int) -> None:
    """The CRC of the same bytes ``n`` times."""
    body = tile("PNG")
    for _ in range(n):
        crc32(body)


def decode(n: int) -> None:
    """Decode the same tile ``n`` times: what a check costs that looks at pixels."""
    for _ in range(n):
        assert decode_check(tile("PNG"), "png") is None


def test_the_tiles_judged_are_of_the_size_that_is_stated() -> None:
    for form in ("PNG", "JPEG", "WEBP"):
        assert 12_000 < len(tile(form)) < 18_000, form
        work(3, form)
    decode(1)
    floor(1)


def microseconds(run: Callable[[], None], n: int) -> float:
    """The fastest of nine rounds of ``n``, per piece."""
    best = float("inf")
    for _ in range(9):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best / n * 1e6


def main() -> None:
    """Print microseconds a tile, and the ratio that must hold: judge / CRC-32 of a PNG <= 3."""
    n = 3000
    bare = microseconds(lambda: floor(n), n)
    for form in ("PNG", "JPEG", "WEBP"):
        took = microseconds(lambda form=form: work(n, form), n)  # type: ignore[misc]
        print(f"{form:5} {len(tile(form)):6} bytes {took:6.2f} us, {took / bare:.2f} x CRC-32 ({bare:.2f} us)")
    took = microseconds(lambda: decode(60), 60)
    print(f"decode {took:.0f} us, {took / bare:.0f} x CRC-32")


if __name__ == "__main__":
    main()
