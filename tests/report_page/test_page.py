"""The page of a run: one whole file, nothing from elsewhere, nothing secret, everything counted."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harvester.audited import Audited
from harvester.edges import State
from harvester.report_page import choose_run, html_page, stored_runs
from harvester.report_page.page import RUNS_SHOWN
from harvester.report_page.plots import run_columns, state_bar
from harvester.tiling.tile import Tile

from .making import document, failures, make_ledger

VOID = {"meta", "img", "br", "rect", "line"}


class Page(HTMLParser):
    """Checks that tags nest, and keeps what a browser would show or load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.loads: list[str] = []
        self.scripts = 0
        self.rects: list[dict[str, Any]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag == "rect":
            self.rects.append(dict(attrs))
        if tag not in VOID or (tag == "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "rect":
            self.rects.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style",):
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page_of(out: Path, number: int | None = None) -> str:
    with Audited(out) as audited:
        runs = stored_runs(audited)
        return html_page(audited, runs, choose_run(runs, number), clock=lambda: 1_700_000_000.0)


def test_the_page_is_one_file_that_loads_nothing(tmp_path: Path) -> None:
    text = page_of(make_ledger(tmp_path / "out.mbtiles", [document()]))
    page = Page(text)
    assert page.scripts == 0
    assert page.loads and all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert "url(" not in text and "@import" not in text
    assert "default-src 'none'" in text
    assert 'name="viewport"' in text and "prefers-color-scheme: dark" in text


def test_every_lod_has_its_map_and_its_bar(tmp_path: Path) -> None:
    out = make_ledger(tmp_path / "out.mbtiles", [document()], states={Tile(0, 0, 0): State.STORED})
    page = Page(page_of(out))
    maps = [Image.open(io.BytesIO(base64.b64decode(load.partition(",")[2]))) for load in page.loads]
    assert [image.format for image in maps] == ["PNG"] * 3
    assert maps[0].width > maps[1].width == maps[2].width
    assert "LOD 0 1:591,657,528" in page.words and "LOD 1 1:295,828,764" in page.words


def test_the_same_ledger_gives_the_same_page(tmp_path: Path) -> None:
    out = make_ledger(tmp_path / "out.mbtiles", [document()])
    assert page_of(out) == page_of(out)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "complete"),
        ({"complete": False, "stored": 3, "failed": 2}, "incomplete: 2 failed"),
        ({"complete": False, "stored": 3, "pending": 2}, "incomplete: 2 pending"),
    ],
)
def test_the_verdict_is_said_first(tmp_path: Path, changes: dict[str, Any], verdict: str) -> None:
    page = Page(page_of(make_ledger(tmp_path / "out.mbtiles", [document(**changes)])))
    assert f"out.mbtiles {verdict} Run 1 of 1" in page.words


def test_a_run_that_did_not_end_says_so_and_shows_what_is_there(tmp_path: Path) -> None:
    out = make_ledger(tmp_path / "out.mbtiles", [None], states={Tile(0, 0, 0): State.STORED})
    words = Page(page_of(out)).words
    assert "did not end Run 1 of 1" in words
    assert "run 1 did not end: it was killed" in words
    assert "5 planned 1 stored" in words
    assert "fetched by this run" not in words


def test_an_earlier_run_without_an_end_has_a_page_too(tmp_path: Path) -> None:
    words = Page(page_of(make_ledger(tmp_path / "out.mbtiles", [None, document()]), 1)).words
    assert "did not end Run 1 of 2" in words and "– planned" in words


def test_failed_tiles_are_counted_by_reason_and_listed_up_to_a_thousand(tmp_path: Path) -> None:
    said = [*failures(900), *failures(600, "truncated")]
    changes = {"complete": False, "planned": 5000, "stored": 3500, "failed": 1500}
    text = page_of(make_ledger(tmp_path / "out.mbtiles", [document(failures=said, **changes)]))
    words = Page(text).words
    assert "The first 1,000 of 1,500 failed tiles" in words
    assert "http_500 900" in words and "truncated 100" in words
    assert len(re.findall(r"<tr><td>12</td>", text)) == 1000
    assert "harvester why out.mbtiles 12/0/0" in words


def test_nothing_of_a_source_becomes_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=1>"
    out = make_ledger(
        tmp_path / "a&b<c>.mbtiles",
        [
            document(
                source=evil, output=evil, format=evil, notices=[evil], complete=False, failed=1, stored=4,
                failures=failures(1, evil), error={"code": "x", "message": evil, "hint": evil},
            )
        ],
    )  # fmt: skip
    page = Page(page_of(out))
    assert page.scripts == 0
    assert all(load.startswith("data:") for load in page.loads)
    assert page.words.count(evil) >= 7


def test_a_body_that_came_for_many_tiles_is_told_with_its_hash(tmp_path: Path) -> None:
    repeat = {"hash": "ab" * 16, "tiles": 40, "share": 0.8, "sample": "4/3/2"}
    page = Page(page_of(make_ledger(tmp_path / "out.mbtiles", [document(repeats=[repeat])])))
    assert f'one body came for 40 tiles (80%, such as 4/3/2); if it means "no data": --placeholder {"ab" * 16}' in (
        page.words
    )


def test_secrets_that_slipped_into_the_ledger_are_masked(tmp_path: Path) -> None:
    secret = "https://gis.example.org/x?token=canary0123456789"
    said = document(
        source=secret, output=secret, notices=[secret], complete=False, failed=1, stored=4,
        failures=failures(1, secret), error={"code": "x", "message": secret, "hint": secret},
    )  # fmt: skip
    text = page_of(make_ledger(tmp_path / "out.mbtiles", [said]))
    assert "canary" not in text and text.count("token=***") >= 7


def test_runs_are_drawn_up_to_a_limit_and_the_chosen_one_always(tmp_path: Path) -> None:
    out = make_ledger(tmp_path / "out.mbtiles", [document(fetched=5 if i == 0 else 0) for i in range(RUNS_SHOWN + 5)])
    text = page_of(out, 2)
    assert "Not shown: 5 earlier runs" in Page(text).words
    assert text.count('<tr class="chosen">') == 1
    assert '<tr class="chosen"><th scope="row">2</th>' in text
    with Audited(out) as audited:
        runs = stored_runs(audited)
    drawn = run_columns(runs[:3], runs[0], ["a", "b", "c"])
    assert drawn.count("<rect") == 3 and '<rect class="fetched"' in drawn and '<rect class="kept"' in drawn


def test_one_failed_tile_of_a_million_is_seen_and_the_bar_stays_full() -> None:
    counts = {"planned": 10**6, "stored": 10**6 - 1, "unchanged": 0, "absent": 0, "failed": 1, "pending": 0}
    rects = Page(state_bar(counts, "LOD 3")).rects
    widths = {rect["class"]: float(rect["width"]) for rect in rects}
    assert widths["failed"] >= 1
    assert sum(widths.values()) == pytest.approx(100, abs=0.01)


def test_a_ledger_without_a_plan_has_a_page_without_a_map(tmp_path: Path) -> None:
    out = make_ledger(tmp_path / "out.mbtiles", [document(planned=0, stored=0, fetched=0, lods=[])], levels=())
    assert Page(page_of(out)).loads == []
