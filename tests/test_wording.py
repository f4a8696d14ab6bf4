"""Numbers as a person writes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import harvester
from harvester.caches.formats import FORMATS
from harvester.wording import a_format, box_words, counted, plain_number

PACKAGE = Path(harvester.__file__).parent


def test_one_thing_is_not_many():
    assert [counted(number, "tile") for number in (0, 1, 2, 1000)] == ["0 tiles", "1 tile", "2 tiles", "1,000 tiles"]
    assert [counted(number, "pending tile") for number in (1, 5)] == ["1 pending tile", "5 pending tiles"]
    assert [counted(number, "retry") for number in (1, 5)] == ["1 retry", "5 retries"]


def test_a_format_has_the_article_that_is_spoken_before_it():
    spoken = {a_format(name) for name in FORMATS}
    assert {words for words in spoken if words.startswith("an ")} == {"an exploded", "an mbtiles", "an xyz"}
    assert {"a gpkg", "a pmtiles", "a compactv2", "a tpkx", "a vtpk"} <= spoken


@pytest.mark.parametrize(
    ("value", "decimals", "said"),
    [
        (-2.9e-06, 3, "0"), (-2.9e-06, 7, "-0.0000029"), (20037508.342787, 3, "20037508.343"), (100.0, 0, "100"),
        (1e-12, 7, "0"), (577790.554289, 6, "577790.554289"), (5000.0, 6, "5000"), (1.5e15, 3, "1500000000000000"),
    ],
)  # fmt: skip
def test_a_number_has_no_exponent_and_no_more_decimals_than_mean_something(value, decimals, said):
    assert plain_number(value, decimals) == said


def test_a_box_is_in_millimetres_or_in_centimetres_of_a_degree():
    assert box_words((-2.9e-06, 0.0, 20037508.342787, 5.12345), degrees=False) == "0, 0, 20037508.343, 5.123"
    assert box_words((-105.123456789, 39.5, 0.1, -2.9e-09), degrees=True) == "-105.1234568, 39.5, 0.1, 0"


def test_no_text_for_a_person_puts_a_number_before_a_plural_by_hand():
    """``1 tiles``: what is counted goes through ``counted``."""
    by_hand = re.compile(r"(?<!/)(?<! of )\{[^{}]*:,\} (?:[a-z]+ )?(?:tiles|requests|retries|runs|layers)\b")
    shown = [*PACKAGE.glob("cli/*.py"), *PACKAGE.glob("why/*.py"), *PACKAGE.glob("report_page/*.py")]
    found = [
        f"{path.name}: {hit}" for path in shown for hit in by_hand.findall(path.read_text(encoding="utf-8"))
    ]  # fmt: skip
    assert found == []
