"""Whatever a cache went through by our own verbs, it holds each of its pictures once, and no other."""

from __future__ import annotations

import random
import sqlite3

import pytest

from harvester.caches import pmtiles_layout as layout
from harvester.caches.open import open_cache
from harvester.testing.service import ArcGisSite
from harvester.tiling.tile import Tile
from tests.e2e.claims import HASTY

KINDS = 30
"""Different pictures of the services; a plan has more tiles by far."""


def bodies(path):
    with open_cache(path) as reader:
        return {
            tile: body for level in reader.levels() for key in reader.blocks(level) for tile, body in reader.tiles(key)
        }


def pictures(path):
    """The pictures that lie in the cache, each as often as it is stored."""
    if path.suffix == ".mbtiles":
        connection = sqlite3.connect(path)
        found = [body for (body,) in connection.execute("SELECT tile_data FROM tiles_data")]
        connection.close()
        return found
    with path.open("rb") as file:
        header = layout.parse_header(file.read(layout.FIRST_READ))
    held = sorted(set(bodies(path).values()))
    assert (header.contents, header.data_length) == (len(held), sum(map(len, held)))
    return held


@pytest.mark.parametrize("name", ["out.mbtiles", "out.pmtiles"])
@pytest.mark.parametrize("seed", range(4))
def test_each_picture_is_stored_once_after_any_chain_of_verbs(cli, serve, tmp_path, name, seed):
    draw = random.Random(f"{name} {seed}")
    out, site = tmp_path / name, ArcGisSite()

    def kind(version, tile):
        return site.body(Tile(6, 0, random.Random(f"{version} {tile}").randrange(KINDS)))

    versions = [2]
    service = serve(ArcGisSite(tile=lambda tile: kind(versions[-1], tile)))
    for version in (2, 1, 0):
        versions.append(version)
        assert cli("run", service.url, "--lods", "0-4", "-o", f"other{version}.tpkx", *HASTY).code == 0

    def run(*more):
        lods = draw.choice(("0-2", "0-4", "3-5", "5"))
        assert cli("run", service.url, "--lods", lods, "-o", name, "--dedup", *more, *HASTY).code in (0, 1)

    def convert(*more):
        source = f"other{draw.randrange(3)}.tpkx"
        assert cli("convert", source, name, "--dedup", *more, "-q").code == 0

    def merge():
        assert (
            cli("merge", f"other{draw.randrange(3)}.tpkx", f"other{draw.randrange(3)}.tpkx", "-o", name, "-q").code == 0
        )

    def apply():
        assert cli("diff", name, f"other{draw.randrange(3)}.tpkx", "-o", "delta.mbtiles", "-q").code == 0
        assert cli("apply", "delta.mbtiles", name, "-q").code == 0
        (tmp_path / "delta.mbtiles").unlink()

    acts = [
        run, convert, merge, apply, lambda: run("--max-tiles", "150"), lambda: run("--mode", "overwrite"),
        lambda: convert("--mode", "overwrite"),
    ]  # fmt: skip
    draw.choice((run, convert))()
    for act in draw.choices(acts, k=7):
        act()
        # A run that ended early leaves the unfinished; then, as now and then, another one completes it.
        if (tmp_path / f"{name}.work").exists() or (tmp_path / f"{name}.new").exists():
            mode = "overwrite" if (tmp_path / f"{name}.new").exists() else "merge"
            done = cli("run", service.url, "--lods", "0-5", "-o", name, "--dedup", "--mode", mode, *HASTY)
            assert done.code == 0
        stored, shown = pictures(out), bodies(out)
        assert len(stored) == len(set(stored))
        assert set(stored) == set(shown.values())
        assert cli("verify", name, "-q").code in (0, 1)
