"""Documents of strangers, as bytes and as JSON of any shape: a service, a map or a SourceError, nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from harvester.errors import SourceError, UsageError
from harvester.job import Job
from harvester.jobfile import read_job
from harvester.sources.arcgis_errors import MAX_ERROR_BYTES, stated_error
from harvester.sources.map_layers import layers_of
from harvester.sources.open import open_services
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.transport.session import Access, Session
from tests.fuzz.making import CHANGES, VALUES, changed
from tests.sources.documents import TILED, parse

LAYERS = st.lists(
    st.dictionaries(
        st.sampled_from(
            ["layerType", "url", "title", "itemId", "minScale", "maxScale", "layers", "type", "visibility"]
        ),
        VALUES | st.sampled_from(["ArcGISTiledMapServiceLayer", "GroupLayer", "file:///etc/passwd", "http://[", "//x"]),
        max_size=6,
    )
    | VALUES,
    max_size=4,
)

MAPS: st.SearchStrategy[Any] = VALUES | st.fixed_dictionaries(
    {"operationalLayers": LAYERS | VALUES},
    optional={"baseMap": VALUES | st.fixed_dictionaries({"baseMapLayers": LAYERS | VALUES}), "version": VALUES},
)

SOUND = json.dumps(TILED).encode()


@given(document=VALUES)
@settings(max_examples=150, deadline=None)
def test_no_document_makes_anything_but_a_source_error(document: Any) -> None:
    try:
        parse(document)
    except SourceError as error:
        assert error.message


@given(parts=st.dictionaries(st.sampled_from(sorted(TILED)), VALUES, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_several_wrong_fields_at_once_make_nothing_but_a_source_error(parts: Mapping[str, Any]) -> None:
    try:
        found = parse({**TILED, **parts})
    except SourceError as error:
        assert error.message
    else:
        assert 1 <= len(found.info.scheme.lods) <= 64


@given(document=MAPS)
@settings(max_examples=200, deadline=None)
def test_no_web_map_makes_anything_but_layers_or_a_source_error(document: Any) -> None:
    try:
        for layer in layers_of(document):
            assert isinstance(layer.title, str)
            assert isinstance(layer.url, str)
    except SourceError as error:
        assert error.message


@given(body=st.binary(max_size=120) | st.builds(lambda value: json.dumps(value).encode(), VALUES))
@settings(max_examples=150, deadline=None)
def test_no_answer_breaks_the_search_for_a_stated_error(body: bytes) -> None:
    stated_error(body)
    stated_error(b'{"error":' + body + b"}")


def test_what_begins_like_json_is_read_for_an_error_only_when_it_is_small() -> None:
    """Row 14: a tile may begin with a brace, too."""
    small = b'{"error": {"code": 498, "message": "' + b"x" * 1000 + b'"}}'
    assert stated_error(small) is not None
    assert stated_error(b"\xef\xbb\xbf \r\n" + small) is not None
    assert stated_error(b'{"error": {"code": 498, "message": "' + b"x" * MAX_ERROR_BYTES + b'"}}') is None
    assert stated_error(b"\x89PNG" + small) is None


@pytest.fixture(scope="module")
def service() -> Any:
    with FaultyService(ArcGisSite()) as running:
        yield running


async def opened(source: str) -> None:
    session = Session(Access.of(Job(source=source)))
    try:
        await open_services(source, session)
    finally:
        await session.close()


@given(changes=CHANGES, cut=st.floats(0.2, 3.0))
@settings(max_examples=25, deadline=None)
def test_a_garbled_document_over_the_wire_is_a_service_or_a_source_error(
    service: FaultyService, changes: list[tuple[float, int]], cut: float
) -> None:
    service.site.raw_document = changed(SOUND, changes, cut)
    try:
        asyncio.run(opened(service.url))
    except SourceError as error:
        assert error.message


@given(document=MAPS)
@settings(max_examples=40, deadline=None)
def test_a_web_map_file_of_any_content_is_layers_or_a_harvester_error(
    tmp_path_factory: pytest.TempPathFactory, document: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "map.json"
    # Addresses that could be asked are for other tests: here nothing may leave the machine.
    path.write_text(json.dumps(document).replace("http", "ftp"))
    try:
        asyncio.run(opened(str(path)))
    except (SourceError, UsageError) as error:
        assert error.message


KEYS = [
    "source",
    "output",
    "mode",
    "format",
    "shard",
    "policy",
    "limits",
    "auth",
    "headers",
    "lods",
    "bbox",
    "aoi",
    "x",
]
TOML_LINES = st.lists(
    st.builds(
        lambda key, value: f"{key} = {value}",
        st.sampled_from(KEYS),
        st.sampled_from(
            ['"a"', "1", "-1", "1e400", "nan", "[1, 2]", "{a = 1}", "true", "1979-05-27", '""', '"0-3"', "'''"]
        ),
    )
    | st.sampled_from(["[[policy]]", "[limits]", "[auth]", "[headers]", "[", "concurrency = 0", 'rate = "x"']),
    max_size=8,
)


@given(data=st.binary(max_size=100) | TOML_LINES.map(lambda lines: "\n".join(lines).encode()))
@settings(max_examples=150, deadline=None)
def test_no_job_file_makes_anything_but_a_usage_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "job.toml"
    path.write_bytes(data)
    try:
        read_job(path)
    except UsageError as error:
        assert error.message
