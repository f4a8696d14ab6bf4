"""The service of the long run: 5 % mixed faults, every request counted.

``python -m benchmarks.soak_service SEED`` prints its URL, serves until standard input ends, then prints what was asked.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from typing import Any

from harvester.testing.images import tile_png
from harvester.testing.log import Place
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.tiling.tile import Tile

SHARE = 0.05
"""Of all first tries; a second try is always answered rightly."""

BUSY_SHARE = 0.00005
"""Throttling and stalls make a run wait by design, so they come rarely and on top."""

BUSY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status", {"status": 429, "retry_after": 1}),
    ("status", {"status": 503}),
    ("stall", {}),
)

FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status", {"status": 500}),
    ("html", {}),
    ("json_error", {"status": 500}),
    ("empty", {}),
    ("wrong_size", {}),
    ("flipped", {"at": 0.5}),
    ("cut_image", {}),
    ("truncate", {}),
    ("truncate_unframed", {}),
    ("reset_inside", {}),
    ("close_before", {}),
    ("garbage", {}),
)
"""Equal parts of ``SHARE``."""

PADDING = 800
"""Brings a picture of one tile to about a kilobyte."""

LOG_KEPT = 1000


def script(seed: int) -> Script:
    """The faults, drawn by seed and tile. A share is drawn among what the rules before it left, hence the rest."""
    rules = [Rule(do=do, tries="1", share=BUSY_SHARE / len(BUSY), **more) for do, more in BUSY]
    each = SHARE / len(FAULTS)
    for number, (do, more) in enumerate(FAULTS):
        rules.append(Rule(do=do, tries="1", share=each / (1 - number * each), **more))
    return Script(rules=tuple(rules), seed=seed)


def body_of(tile: Tile) -> bytes:
    """What the service holds for a tile: a picture of its own."""
    return tile_png(tile.level, tile.row, tile.col, 256, 256, padding=PADDING)


class CountingSite(ArcGisSite):
    """Remembers how often each tile was asked; the service's own log is bounded."""

    def __init__(self) -> None:
        super().__init__(tile=body_of, etags=False)
        self.asked: Counter[Tile] = Counter()

    def place(self, method: str, target: str) -> Place:
        """What a request asks for, counted."""
        place = super().place(method, target)
        if place.kind == "tile" and place.tile is not None:
            self.asked[place.tile] += 1
        return place


def serve(seed: int) -> None:
    """Serve until standard input ends, then print what was asked."""
    site = CountingSite()
    with FaultyService(site, script(seed), keep=LOG_KEPT) as service:
        print(service.url, flush=True)
        ended = threading.Event()

        def wait() -> None:
            sys.stdin.read()
            ended.set()

        threading.Thread(target=wait, daemon=True).start()
        ended.wait()
        asked = site.asked
        print(json.dumps({"tiles": len(asked), "asked": sum(asked.values()), "most": max(asked.values())}), flush=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
