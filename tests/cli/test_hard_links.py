"""Copies that somebody made by hard links (``cp -al``): nothing is written through to them."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.cli.test_whose_it_is import refused
from tests.delta.making import SUFFIX, files, make, some
from tests.e2e.claims import HASTY


@pytest.mark.parametrize("format", ["mbtiles", "gpkg", "compact", "compactv2", "exploded", "xyz", "tpkx", "pmtiles"])
def test_a_copy_by_hard_links_does_not_change_with_the_cache(cli, serve, tmp_path, format):
    name = f"topo{SUFFIX[format]}"
    source, tiles = serve(), some("0/0/0", "1/1/1")
    backup = make(tmp_path / f"backup{SUFFIX[format]}", tiles, format=format)
    if backup.is_dir():
        shutil.copytree(backup, tmp_path / name, copy_function=os.link)
    else:
        os.link(backup, tmp_path / name)
    make(tmp_path / "more", {**tiles, **some("1/0/1", first=9)}, format="compactv2")
    assert cli("diff", name, "more", "-o", "delta.tpkx").code == 0
    before = files(backup) if backup.is_dir() else backup.read_bytes()
    verbs = (
        ("run", source.url, "--lods", "0-1", "-o", name, "--format", format, *HASTY),
        ("merge", "more", "-o", name, "--format", format),
        ("apply", "delta.tpkx", name),
    )
    for verb in verbs:
        if format in ("mbtiles", "gpkg", "compact", "compactv2"):
            refused(cli, tmp_path, *verb, code=4, words=("2 names", "hard links", "Put a copy"))
        elif verb[0] == "merge":
            assert cli(*verb).code == 0
    assert cli("convert", "more", name, "--format", format, "--mode", "overwrite").code == 0
    assert (files(backup) if backup.is_dir() else backup.read_bytes()) == before
