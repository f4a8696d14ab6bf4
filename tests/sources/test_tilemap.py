"""Tilemap answers: what is believed, and what sends us to the tiles themselves."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.edges import Answer, Fault, Host, Request, WindowAnswer
from harvester.sources.open import open_source
from harvester.sources.tilemap import read_window
from harvester.testing import ArcGisSite, FaultyService
from harvester.tiling.tile import BlockKey, Tile
from harvester.transport.session import Access, Session

HOST = Host(scheme="https", name="gis.example.org", port=443)


def window(level: int = 10, row: int = 256, col: int = 512, size: int = 128) -> Request:
    return Request(HOST, "/tilemap", Tile(level, row, col), size)


def said(value: object, status: int = 200) -> Answer:
    return Answer(status, {}, json.dumps(value).encode() if not isinstance(value, bytes) else value, 0.0)


def map_of(left: int, top: int, width: int, height: int, data: list[Any], **more: Any) -> dict[str, Any]:
    return {"location": {"left": left, "top": top, "width": width, "height": height}, "data": data, **more}


def test_data_is_row_major_from_the_top_left() -> None:
    data = [0] * 16384
    data[3 * 128 + 5] = 1
    answer = read_window(window(), said(map_of(512, 256, 128, 128, data, adjusted=False, valid=True)))
    assert answer is not None and (answer.level, answer.top, answer.left) == (10, 256, 512)
    assert answer.present.shape == (128, 128) and answer.present.dtype == np.bool_
    assert np.argwhere(answer.present).tolist() == [[3, 5]]


def test_an_adjusted_window_speaks_of_its_own_part_only() -> None:
    answer = read_window(window(), said(map_of(512, 256, 4, 8, [1] * 32, adjusted=True)))
    assert answer is not None and answer.present.shape == (8, 4) and answer.present.all()


def test_a_moved_window_is_clipped_to_what_was_asked() -> None:
    data = [int(col >= 2 and row >= 3) for row in range(8) for col in range(8)]
    answer = read_window(window(), said(map_of(510, 253, 8, 8, data, adjusted=True)))
    assert answer is not None and (answer.top, answer.left) == (256, 512)
    assert answer.present.shape == (5, 6) and answer.present.all()


@pytest.mark.parametrize("status", [200, 400, 422])
def test_422_for_an_aligned_window_is_an_empty_block(status: int) -> None:
    answer = read_window(window(), said({"error": {"code": 422}}, status))
    if status == 400:
        assert answer is None
    else:
        assert answer is not None and answer.present.shape == (128, 128) and not answer.present.any()


FULL = [1] * 16384


@pytest.mark.parametrize(
    "answer",
    [
        said(map_of(512, 256, 128, 128, FULL, valid=False)),
        said(map_of(512, 256, 128, 128, FULL[:-1])),
        said(map_of(512, 256, 128, 128, [1])),
        said(map_of(512, 256, 128, 128, [])),
        said(map_of(512, 256, 128, 128, [2] * 16384)),
        said(map_of(512, 256, 128, 128, [True] * 16384)),
        said(map_of(512, 256, 128, 128, ["1"] * 16384)),
        said(map_of(512, 256, 0, 0, [])),
        said(map_of(512, 256, -1, -1, [1])),
        said(map_of(0, 0, 128, 128, FULL)),
        said(map_of(10**30, 256, 1, 1, [1])),
        said({"data": FULL}),
        said({"location": {"left": 512, "top": 256}, "data": FULL}),
        said({"location": None, "data": FULL}),
        said([1, 2]),
        said(b"<html>Internal error</html>"),
        said(b""),
        said(b"[" * 100_000),
        said(b"\xff\xfe"),
        said({"error": {"code": 500}}),
        said({"error": {"code": 498}}),
        said(map_of(512, 256, 128, 128, FULL), 404),
        said(map_of(512, 256, 128, 128, FULL), 500),
        said(json.dumps(map_of(512, 256, 128, 128, FULL)).encode() + b" " * (2 << 20)),
        Answer(200, {}, b"", 0.0, True, Fault.TRUNCATED),
        Answer(422, {}, b"", 0.0, True, Fault.TRUNCATED),
    ],
)
def test_what_cannot_be_trusted_is_no_answer(answer: Answer) -> None:
    assert read_window(window(), answer) is None


@settings(max_examples=200, deadline=None)
@given(
    body=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["location", "data", "left", "top", "width", "height", "error", "code"]), inner
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
    status=st.sampled_from([200, 200, 422, 404]),
)
def test_reading_never_raises_and_stays_in_the_window(body: bytes, status: int) -> None:
    answer = read_window(window(), Answer(status, {}, body, 0.0))
    if answer is not None:
        rows, cols = answer.present.shape
        assert answer.top >= 256 and answer.top + rows <= 384 and answer.left >= 512 and answer.left + cols <= 640


def lies(tile: Tile) -> bool:
    return (tile.row * 7 + tile.col) % 3 != 0


@pytest.mark.parametrize(
    ("tilemap", "trusted"),
    [("on", True), ("adjusted", True), ("moved", True), ("422", True)]
    + [(word, False) for word in ("short", "single", "invalid", "error", "html")],
)
def test_every_way_in_which_a_service_answers(tilemap: str, trusted: bool) -> None:
    async def main() -> WindowAnswer | None:
        site = ArcGisSite(tilemap=tilemap, absent=lambda tile: not lies(tile))
        async with FaultyService(site) as service, Session(Access(environ={})) as session:
            source = await open_source(service.url, session)
            request = source.window(BlockKey(9, 128, 256))
            assert request is not None
            answer = await session.exchange("GET", request.host.origin + request.path, cap=1 << 20)
            return source.read_window(request, answer)

    answer = asyncio.run(main())
    assert (answer is not None) is trusted
    if answer is not None:
        rows, cols = answer.present.shape
        truth = [[lies(Tile(9, answer.top + i, answer.left + j)) for j in range(cols)] for i in range(rows)]
        if tilemap == "422":
            assert not answer.present.any()
        elif tilemap != "moved":
            assert answer.present.tolist() == truth


@pytest.mark.shared_data
def test_captured_tilemaps(shared_data: Path) -> None:
    folder = shared_data / "tilemap"
    stockholm = (folder / "stockholm_10_300_562_32_32.json").read_bytes()
    answer = read_window(window(10, 300, 562, 32), said(stockholm))
    assert answer is not None and answer.present.shape == (32, 32)
    assert answer.present[0, :3].tolist() == [True, True, False]
    assert int(answer.present.sum()) == json.loads(stockholm)["data"].count(1)
    empty = read_window(window(10, 256, 512, 128), said((folder / "error_422.json").read_bytes()))
    assert empty is not None and not empty.present.any()
    adjusted = read_window(window(5, 7, 7, 8), said((folder / "itwin_adjusted.json").read_bytes()))
    assert adjusted is not None and adjusted.present.shape == (8, 4)
    small = read_window(window(5, 9, 9, 4), said((folder / "itwin_4x4.json").read_bytes()))
    assert small is not None and np.argwhere(small.present).tolist() == [[1, 1], [2, 2]]
