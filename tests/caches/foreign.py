"""Readers of other people, run in their own virtual environment (make tools); tests skip, saying so, without it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def ask(folder: Path, script: str, *arguments: object) -> Any:
    """Run a Python script there with these arguments; gives the JSON that it prints."""
    python = ROOT / ".venv-tools" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.is_file():
        pytest.skip("MapProxy, tpkutils and vtpk-reader are not set up: run `make tools`")
    file = folder / "ask.py"
    file.write_text(script, encoding="utf-8")
    done = subprocess.run(
        [python, file, *map(str, arguments)], capture_output=True, text=True, encoding="utf-8", timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


_LOAD_EACH = """
import hashlib, json, sys
from mapproxy.cache.compact import CompactCacheV1, CompactCacheV2
from mapproxy.cache.file import FileCache
from mapproxy.cache.tile import Tile
def load_each(cache, tiles):
    for level, row, col in json.loads(tiles):
        tile = Tile((col, row, level))
        there = cache.load_tile(tile)
        body = tile.image_result.as_buffer().read() if there else None
        yield hashlib.sha256(body).hexdigest() if there else None
"""

MAPPROXY = (
    _LOAD_EACH
    + """
kind, folder, tiles = sys.argv[1:]
print(json.dumps(list(load_each({"1": CompactCacheV1, "2": CompactCacheV2}[kind](folder), tiles))))
"""
)

MAPPROXY_FILES = (
    _LOAD_EACH
    + """
layout, folder, extension, tiles = sys.argv[1:]
print(json.dumps(list(load_each(FileCache(folder, extension, directory_layout=layout), tiles))))
"""
)

TPKUTILS = """
import hashlib, json, sys
from tpkutils import TPK
package = TPK(sys.argv[1])
tiles = [[t.z, t.y, t.x, hashlib.sha256(t.data).hexdigest()] for t in package.read_tiles()]
print(json.dumps({"tiles": tiles, "bounds": package.bounds, "name": package.name, "format": package.format,
                  "credits": package.credits, "tile_size": package.tile_size, "zooms": package.zoom_levels}))
"""
