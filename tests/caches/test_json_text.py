"""JSON documents of which some values change: every other text in them stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.caches.json_text import require_single, with_values
from harvester.errors import CacheError

ODD = (
    '\ufeff{ "big":12345678901234567890123.5, "far" : 1E400, "less":-1e999, "dec":0.10000000000000000555,\r\n'
    ' "one":1.0, "half":"\\ud83d", "slash":"a\\/b", "mine":1, "mine":2, "nan":NaN,'
    ' "in":{"level" :0,"x":[1.50, 1E400 ]}, "zoom":3 }\n'
)
NAMES = st.text('abcäß"\\', max_size=2)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def test_what_is_not_changed_keeps_its_text() -> None:
    data = ODD.encode()
    document = json.loads(ODD[1:])
    assert with_values(data, document, "x.json") == data
    document["zoom"] = 5
    document["in"]["level"] = 7
    document["new"] = {"a": ["ä"]}
    told = with_values(data, document, "x.json").decode()
    assert told == ODD.replace('"zoom":3', '"zoom":5,"new":{"a":["ä"]}').replace('"level" :0', '"level" :7')


@given(old=st.dictionaries(NAMES, JSON, max_size=5), new=JSON, indent=st.sampled_from([None, 1]))
def test_the_document_says_what_it_is_to_say_whatever_it_was(old: Any, new: Any, indent: int | None) -> None:
    for document in (new, {**old, "zoom": new}, {**old, **(new if isinstance(new, dict) else {})}):
        told = with_values(json.dumps(old, indent=indent).encode(), document, "x.json")
        assert json.loads(told) == document


def test_elements_of_a_list_keep_their_text_and_their_blanks() -> None:
    data = b'{"lods" : [ {"level": 0, "scale": 1.00}, {"level": 1, "scale": 1E400} ] }'
    lods = json.loads(data)["lods"]
    more = {"lods": [*lods, {"level": 2}]}
    assert with_values(data, more, "x") == data.replace(b"1E400}", b'1E400},{"level":2}')
    between = {"lods": [lods[0], {"level": 5}, lods[1]]}
    assert b'[{"level": 0, "scale": 1.00},{"level":5},{"level": 1, "scale": 1E400}]' in with_values(data, between, "x")


def test_an_element_of_the_same_id_keeps_what_is_not_changed_of_it() -> None:
    data = b'[{"id":"water","mine":1.0},{"id":"roads","mine":1E400,"maxzoom":3}]'
    new = json.loads(data)
    new[1]["maxzoom"] = 5
    assert with_values(data, new, "x") == data.replace(b":3", b":5")


@pytest.mark.parametrize("text", ['{"zoom":1,"zoom":2}', '{"zoom":1,"a":0,"Zoom":1}'])
def test_a_member_that_stands_there_twice_is_not_changed(text: str) -> None:
    with pytest.raises(CacheError, match="'zoom' twice"):
        with_values(text.encode(), {**json.loads(text), "zoom": 3}, "x.json")
    with pytest.raises(CacheError, match="'zoom' twice"):
        require_single(text.encode(), {"": {"zoom"}}, "x.json")
    with pytest.raises(CacheError, match="'zoom' twice"):
        require_single(b'{"tileInfo":' + text.encode() + b"}", {"tileinfo": {"zoom"}}, "x.json")
    require_single(text.encode(), {"": {"a"}}, "x.json")
    require_single(b"[" + text.encode() + b"]", {"": {"zoom"}}, "x.json")


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_no_number_of_json_is_not_written(value: float) -> None:
    with pytest.raises(CacheError, match="cannot write x"):
        with_values(b'{"a":1}', {"a": value}, "x.json")


def test_a_document_in_latin_1_becomes_one_in_utf_8() -> None:
    assert with_values('{"a":"ä","n":1}'.encode("latin-1"), {"a": "ä", "n": 2}, "x") == '{"a":"ä","n":2}'.encode()


def test_a_document_that_is_nested_too_deeply_is_refused_in_words() -> None:
    deep: Any = []
    for _ in range(200000):
        deep = [deep]
    with pytest.raises(CacheError, match="nested too deeply"):
        with_values(b'{"a":[]}', {"a": deep}, "x")
