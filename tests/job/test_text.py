"""The short texts of options: what they mean, and that nonsense is a usage error and never another one."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.errors import UsageError
from harvester.job_text import (
    parse_bbox,
    parse_bytes,
    parse_duration,
    parse_header,
    parse_lods,
    parse_scale,
    parse_scales,
    parse_shard,
)

PARSERS: list[Callable[[str], Any]] = [
    parse_lods, parse_scales, parse_scale, parse_bbox, parse_duration, parse_bytes, parse_shard, parse_header
]  # fmt: skip


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@given(text=st.text(max_size=40) | st.text("0123456789-,.;:/eE+ nainfNSWsmhGMiBK", max_size=30))
@settings(max_examples=150, deadline=None)
def test_no_text_does_worse_than_a_usage_error(parse: Callable[[str], Any], text: str) -> None:
    with contextlib.suppress(UsageError):
        parse(text)


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
def test_nothing_is_a_usage_error(parse: Callable[[str], Any]) -> None:
    for text in ("", " ", ",", "1" * 5000 + "x"):
        with pytest.raises(UsageError):
            parse(text)


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("0-12,14", ((0, 12), (14, 14))),
        (" 3 ", ((3, 3),)),
        ("3, 3-3,5 - 7", ((3, 3), (5, 7))),
        ("0;2", ((0, 0), (2, 2))),
    ],
)
def test_lods_are_levels_and_inclusive_ranges(text: str, ranges: tuple[tuple[int, int], ...]) -> None:
    assert parse_lods(text) == ranges


def test_a_range_the_wrong_way_round_shows_the_swap() -> None:
    with pytest.raises(UsageError, match="backwards") as caught:
        parse_lods("12-3")
    assert "3-12" in caught.value.hint


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=9, unique=True))
@settings(max_examples=50)
def test_written_ranges_are_read_again(pairs: list[tuple[int, int]]) -> None:
    ranges = tuple(dict.fromkeys((min(pair), max(pair)) for pair in pairs))
    assert parse_lods(",".join(f"{first}-{last}" for first, last in ranges)) == ranges


def test_scales_are_denominators_with_semicolons_or_commas_between() -> None:
    assert parse_scales("577790.554289;288895.277144") == (577790.554289, 288895.277144)
    assert parse_scales("1:5000, 2500") == (5000.0, 2500.0)
    for bad in ("0", "-5", "nan", "inf", "1e999", "5 6"):
        with pytest.raises(UsageError):
            parse_scales(bad)


def test_a_box_may_cross_the_antimeridian() -> None:
    assert parse_bbox("170,-20,-170,-10") == (170, -20, -170, -10)
    assert parse_bbox("-105.3, 39.6, -104.6, 40") == (-105.3, 39.6, -104.6, 40.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2,3", "four numbers"),
        ("39,104,40,105", "swapped"),
        ("500000,4000000,500010,4000010", "not in degrees"),
        ("10,51,11,50", "south above"),
        ("10,50,10,51", "no width"),
        ("180,50,-180,51", "no width"),
        ("10,50,nan,51", "degrees"),
        ("10,50,1e999,51", "not finite"),
        ("-400,50,10,51", "out of range"),
    ],
)
def test_a_box_that_is_none_says_why(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_bbox(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 7200),
        ("90s", 90),
        ("15m", 900),
        ("1h30m", 5400),
        ("1.5 h", 5400),
        ("45", 45),
        ("2d", 172800),
        ("0.5", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "2x", "h", "1h30", "1 2", "1e999", "99999d", "2 hours and a half"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("10GB", 10**10),
        ("500MiB", 500 << 20),
        ("1.5k", 1500),
        ("7", 7),
        ("2 TiB", 2 << 40),
        ("3gb", 3 * 10**9),
        ("1B", 1),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert parse_bytes(text) == count


def test_shards_count_from_one() -> None:
    assert parse_shard("2/5") == (2, 5)
    for bad in ("0/5", "6/5", "2", "2/0", "-1/5", "1/99999999", "a/b"):
        with pytest.raises(UsageError):
            parse_shard(bad)


def test_a_header_is_a_name_and_a_value() -> None:
    assert parse_header("Referer: https://gis.example.org") == ("Referer", "https://gis.example.org")
    assert parse_header("X-Key:a:b") == ("X-Key", "a:b")


@pytest.mark.parametrize(
    "text", ["NoColon", ": x", "A B: x", "K: secret\r\nEvil: 1", "K: secret\0", "Host: x", "K: secret\u2028"]
)
def test_a_bad_header_is_refused_without_showing_its_value(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_header(text)
    assert "secret" not in caught.value.message + caught.value.hint


def test_nothing_overflows_into_infinity() -> None:
    with pytest.raises(UsageError):
        parse_bytes("9" * 400)
    assert math.isfinite(parse_duration("1e2"))


@pytest.mark.parametrize("text", ["577,790.554289", "1:577,790", "577'790", "577 790", "1,000,000"])
def test_thousands_separators_in_a_scale_are_told_with_the_plain_number(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_scale(text)
    plain = text.replace("1:", "").translate({ord(c): None for c in ",' "})
    assert caught.value.hint == f"Did you mean {plain}?"


def test_a_comma_between_scales_is_a_separator_unless_semicolons_are() -> None:
    assert parse_scales("500,250,125") == (500, 250, 125)
    assert parse_scales("577790.554289,288895.277144") == (577790.554289, 288895.277144)
    assert parse_scales("577790;288895") == (577790, 288895)
    with pytest.raises(UsageError, match="thousands separators"):
        parse_scales("577,790.554289;288,895.277144")
