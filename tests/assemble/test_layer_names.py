"""Names of a web map's layers as names of caches: no layer's cache, nor any file that lies beside it while it is made,
is another's, on any file system."""

from __future__ import annotations

import unicodedata
from itertools import combinations, product
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harvester.assemble.place import COMPANIONS, plain, target_of_layer
from harvester.durable import MAX_NAME_BYTES, unique_names
from harvester.output import OutputPaths

FORMATS = ("compactv2", "tpkx", "mbtiles")

TRICKY = st.one_of(
    st.sampled_from(["a", "A", "con", "aux.txt", "a.", "a ", "a..", "", ".", "...", "a-2", "é", "e\u0301", "a\u200d"]),
    st.builds(
        lambda stem, ending, rest: stem + ending + rest,
        st.sampled_from(["a", "A", "a.tpkx", "x" * 173, "x" * 174, "ä" * 87, ""]),
        st.sampled_from([*COMPANIONS, *(ending.upper() for ending in COMPANIONS), ".new.ledger", ".ledger-journal"]),
        st.sampled_from(["", ".", " ", "\u3000", "\t", "y" * 20, "_"]),
    ),
    st.text(max_size=6),
)


def everything_of(target: Path) -> set[str]:
    """The names of all files that a run of this output may make, as a file system without case knows them."""
    names = set()
    for sealed, overwrite in product((False, True), repeat=2):
        paths = OutputPaths(out=target, sealed=sealed, overwrite=overwrite)
        mine = (
            paths.out,
            paths.lock,
            paths.final_ledger,
            paths.new,
            paths.new_ledger,
            paths.old,
            paths.work,
            paths.part,
        )
        for path in mine:
            names |= {path.name, path.name + "-journal", path.name + ".part"}
    return {unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold()) for name in names}


@given(st.lists(TRICKY, min_size=2, max_size=6), st.sampled_from(FORMATS))
@example(["a", "a.ledger"], "compactv2")
@example(["x", "x.lock", "X.LOCK. "], "compactv2")
@example(["a", "a.ledger\u3000"], "compactv2")
@example(["x" * 173, "x" * 173 + ".ledger"], "compactv2")
@example(["x" * 173, "x" * 173 + ".ledgeryyyy"], "compactv2")
@example(["a", "a.new", "a.new.ledger", "a-journal"], "compactv2")
def test_no_layers_files_are_those_of_another(names: list[str], format: str) -> None:
    safe = unique_names([plain(name) for name in names])
    all_files = [everything_of(target_of_layer(Path("maps"), name, format)) for name in safe]
    for one, other in combinations(all_files, 2):
        assert not one & other
    assert all(len(name.encode()) <= MAX_NAME_BYTES + 4 for name in safe)
    assert all(len(name.encode()) <= 255 for files in all_files for name in files)


@pytest.mark.parametrize("ending", COMPANIONS)
def test_the_name_of_a_companion_keeps_its_words(ending: str) -> None:
    assert plain(f"Roads{ending}") == f"Roads_{ending[1:]}"
    assert plain(f"Roads{ending.upper()}. ") == f"Roads_{ending[1:].upper()}"
    assert plain(f"Roads {ending[1:]}") == f"Roads {ending[1:]}"
