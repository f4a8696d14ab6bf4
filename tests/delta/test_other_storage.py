"""A cache folder is replaced whole by one of another storage format; added to is one of its own only."""

from __future__ import annotations

from itertools import permutations

import pytest

import harvester
from harvester.audit import verify
from harvester.caches.open import open_cache
from harvester.delta.join import convert, merge
from harvester.errors import CacheError
from harvester.loop import run_loop
from harvester.testing.service import ArcGisSite, FaultyService
from tests.delta.making import files, held, make, some

FOLDERS = ("compact", "compactv2", "exploded")

OLD, NEW = some("2/0/0", "2/1/1", first=20), some("1/0/0", "2/1/1")

STORAGE = {"compact": "COMPACT", "compactv2": "COMPACT_V2", "exploded": "EXPLODED"}

SCALES = [591657527.591555 / 2**level for level in range(3)]


@pytest.mark.parametrize(("old", "new"), list(permutations(FOLDERS, 2)))
def test_convert_and_merge_replace_a_folder_of_another_format_wholly(tmp_path, old, new):
    source = make(tmp_path / "in.mbtiles", NEW, format="mbtiles")
    for number, verb in enumerate((convert, lambda path, out, **how: merge([path], out, **how))):
        out = make(tmp_path / f"out-{number}", OLD, format=old)
        before = files(out)
        with pytest.raises(CacheError, match=f"is an? {old} cache, not {new}"):
            run_loop(verb(source, out, format=new))
        assert files(out) == before
        run_loop(verb(source, out, format=new, overwrite=True))
        assert held(out) == NEW
        with open_cache(out) as reader:
            assert reader.info.format == new
            assert not list(reader.check())
        fresh = tmp_path / f"fresh-{number}"
        run_loop(verb(source, fresh, format=new))
        assert files(out).keys() == files(fresh).keys()


@pytest.mark.parametrize("format", ["compact", "exploded"])
def test_what_is_no_part_of_the_old_cache_keeps_it_from_being_replaced(tmp_path, format):
    source = make(tmp_path / "in.mbtiles", NEW, format="mbtiles")
    out = make(tmp_path / "out", OLD, format=format)
    (out / "notes.txt").write_text("mine")
    before = files(out)
    with pytest.raises(CacheError, match=r"notes\.txt"):
        run_loop(convert(source, out, format="compactv2", overwrite=True))
    assert files(out) == before


def test_a_conversion_that_fails_leaves_the_folder_of_the_other_format(tmp_path):
    out = make(tmp_path / "out", OLD, format="exploded")
    before = files(out)
    with pytest.raises(CacheError):
        run_loop(convert(tmp_path / "missing.mbtiles", out, format="compactv2", overwrite=True))
    assert files(out) == before


def test_an_export_with_overwrite_replaces_a_dataset_of_another_storage_format(tmp_path):
    with FaultyService(ArcGisSite(name="Streets")) as service:
        for number, format in enumerate(("compact", "compactv2", "exploded", "compact")):
            how = "OVERWRITE" if number else "MERGE"
            scales = SCALES[: 1 + number % 2]
            path = harvester.export_map_server_cache(
                service.url, tmp_path, "CACHE_DATASET", "COPY_DATA", STORAGE[format], scales, -1, None, None, how
            )
            with open_cache(path) as reader:
                assert reader.info.format == format
                assert list(reader.levels()) == list(range(len(scales)))
            finding = verify(tmp_path / "Streets" / "Layers")
            assert (finding.exit_code, finding.planned) == (0, 1 + 4 * (number % 2))
        with pytest.raises(CacheError, match="is a compact cache, not exploded"):
            harvester.export_map_server_cache(
                service.url, tmp_path, "CACHE_DATASET", "COPY_DATA", "EXPLODED", SCALES, overwrite="MERGE"
            )
