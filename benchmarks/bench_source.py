"""What a source costs a tile: saying what to ask, judging the answer, and reading a block's tilemap window."""

from __future__ import annotations

import json
import time

import numpy as np

from harvester.edges import Answer, Outcome
from harvester.sources.arcgis import ArcGisSource
from harvester.sources.arcgis_document import parse_service
from harvester.sources.auth import Credentials
from harvester.sources.service_url import parse_service_url
from harvester.testing import ArcGisSite, tile_png
from harvester.tiling.tile import BLOCK_TILES, BlockKey, Tile

KEY = BlockKey(12, 1280, 2560)


def source() -> ArcGisSource:
    """A mercator service with a tilemap, behind a token."""
    url = parse_service_url("https://gis.example.org/arcgis/rest/services/Streets/MapServer")
    document = parse_service(ArcGisSite(tilemap="on").describe(), url)
    return ArcGisSource(document, url, Credentials(token="token"))


def work(n: int) -> dict[str, float]:
    """Microseconds of CPU for each of ``n`` tiles asked and judged (15 KB PNG), and for a window of 16,384 tiles."""
    asker = source()
    body = tile_png(KEY.level, KEY.row, KEY.col, 256, 256, padding=14_000)
    answer = Answer(200, {"content-type": "image/png", "content-length": str(len(body))}, body, 0.01)
    began = time.process_time()
    requests = [asker.request(KEY.tile(index % BLOCK_TILES), 0) for index in range(n)]
    asked = time.process_time()
    whole = sum(asker.judge(request, answer).outcome is Outcome.WHOLE for request in requests)
    judged = time.process_time()
    assert whole == n and requests[0].tile == Tile(*KEY)
    window = asker.window(KEY)
    assert window is not None
    data = [index % 3 % 2 for index in range(BLOCK_TILES)]
    location = {"left": KEY.col, "top": KEY.row, "width": 128, "height": 128}
    said = Answer(200, {}, json.dumps({"adjusted": False, "location": location, "data": data}).encode(), 0.01)
    before = time.process_time()
    read = asker.read_window(window, said)
    after = time.process_time()
    assert read is not None and read.present.ravel().tolist() == np.array(data, dtype=bool).tolist()
    return {
        "request_us": (asked - began) / n * 1e6,
        "judge_us": (judged - asked) / n * 1e6,
        "window_us": (after - before) * 1e6,
    }


def test_a_tile_is_asked_and_judged_and_a_window_read() -> None:
    assert set(work(200)) == {"request_us", "judge_us", "window_us"}


if __name__ == "__main__":
    print(work(20_000))
