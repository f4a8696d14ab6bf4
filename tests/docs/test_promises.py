"""The pages that promise something name tests, and those tests are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from harvester.caches.formats import FORMATS

ROOT = Path(__file__).resolve().parents[2]

PAGES = ("docs/what-happens-when.md", "SECURITY.md", "docs/read-by-others.md")

TITLES = {
    "mbtiles": "MBTiles", "gpkg": "GeoPackage", "pmtiles": "PMTiles", "compactv2": "compact cache V2",
    "compact": "compact cache V1", "exploded": "exploded cache", "xyz": "z/x/y folders", "tpk": "`.tpk`",
    "tpkx": "`.tpkx`", "vtpk": "`.vtpk`",
}  # fmt: skip
"""What the formats are called on the page of readers."""

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")

ROW = re.compile(r"^\|(?! when \||---)(.*)\|$", re.MULTILINE)


def defined_in(path: Path) -> set[str]:
    """Tests of a file: functions and classes, also a machine's ``TestX = Machine.TestCase`` and those in a class."""
    names = set()
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for node in (*body, *(inner for whole in body if isinstance(whole, ast.ClassDef) for inner in whole.body)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if name.lower().startswith("test")}


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = NAMED.findall((ROOT / page).read_text(encoding="utf-8"))
    assert named
    known = {path: defined_in(ROOT / path) if (ROOT / path).is_file() else set() for path, _ in named}
    assert [f"{path}::{name}" for path, name in named if name not in known[path]] == []


def test_every_promise_names_a_test() -> None:
    rows = ROW.findall((ROOT / PAGES[0]).read_text(encoding="utf-8"))
    assert len(rows) > 50
    assert [row for row in rows if not NAMED.search(row)] == []
    assert [row for row in rows if row.count("|") != 2] == []


def test_every_reader_of_others_names_a_test_and_no_format_is_without_one() -> None:
    text = (ROOT / PAGES[2]).read_text(encoding="utf-8")
    ours, _ = text.split("\n## ")[1:]
    rows = re.findall(r"^\| (?!format )([^|-].*)\|$", text, re.MULTILINE)
    assert len(rows) > 20
    assert [row for row in rows if not NAMED.search(row) or row.count("|") != 3] == []
    assert TITLES.keys() == FORMATS.keys()
    assert [title for title in TITLES.values() if title not in ours] == []
