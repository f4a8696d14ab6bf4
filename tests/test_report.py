"""The report as a Python object speaks by the names of its JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

import harvester
from harvester.engine.repeats import Repeat
from harvester.report import LodReport, Report, WebMapReport
from harvester.report.repeated import repeated
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.tiling.tile import Tile
from tests.e2e.test_webmap import layer, webmap

NESTED = {"took", "lods", "failures", "notices"}


@pytest.fixture
def service():
    script = Script(rules=(Rule(do="status", status=400, tiles=("2/1/1",)),))
    with FaultyService(ArcGisSite(absent=lambda tile: tile == (2, 0, 0)), script) as running:
        yield running


def job_of(source: str, output: Any) -> harvester.Job:
    return harvester.Job(source=source, output=output, policies=(harvester.Policy(lods=((0, 2),)),))


def agrees(report: Any, document: dict[str, Any], names: set[str]) -> None:
    for name in names:
        value = getattr(report, name)
        assert document[name] == (round(value, 3) if name == "seconds" else value), name


def test_every_name_of_the_json_is_an_attribute(service, tmp_path):
    report = harvester.run(job_of(service.url, tmp_path / "out.mbtiles"))
    document = report.to_dict()
    agrees(report, document, set(document) - NESTED)
    assert (report.planned, report.stored, report.absent, report.failed, report.pending) == (21, 19, 1, 1, 0)
    assert (report.unchanged, report.fetched, report.kept, report.complete) == (0, 19, 0, False)
    assert json.loads(report.to_json()) == document
    for lod, row in zip(report.lods, document["lods"], strict=True):
        agrees(lod, row, set(row))
    (failure,) = report.failures
    agrees(failure, document["failures"][0], {"level", "row", "col", "reason"})


def test_a_web_maps_report_has_the_sums_of_its_layers(service, tmp_path):
    with FaultyService(ArcGisSite(name="Other")) as other:
        source = webmap(tmp_path, layer(service, "First"), layer(other, "Second"))
        report = harvester.run(job_of(str(tmp_path / source), tmp_path / "maps"))
    assert isinstance(report, WebMapReport)
    sums = set(report.layers[0].to_dict()) - NESTED - {"source", "output", "format", "complete", "error"}
    for name in sums:
        assert getattr(report, name) == sum(getattr(one, name) for one in report.layers), name
    assert (report.planned, report.failed, len(report.failures)) == (42, 1, 1)


@pytest.mark.parametrize("kind", [Report, WebMapReport, LodReport])
def test_every_attribute_says_what_it_is(kind):
    for name in ("planned", "stored", "unchanged", "absent", "failed", "pending"):
        assert getattr(kind, name).__doc__


def test_a_report_of_nothing_has_no_tiles():
    report = Report(source="s", output="o", format="tpkx")
    assert (report.planned, report.pending, report.lods) == (0, 0, ())
    assert WebMapReport(source="s", layers=()).counts == report.counts


# ------------------------------------------------------------------------------------------ one body for many tiles


def repeat_of(number: int, share: float) -> Repeat:
    return Repeat(f"{number:032x}", number, share, Tile(7, number, 3))


def test_of_many_bodies_that_came_back_two_are_named_in_one_line_and_the_others_counted():
    found = [repeat_of(8100, 0.15), repeat_of(1260, 0.0231), repeat_of(1100, 0.02), repeat_of(1000, 0.0183)]
    text = repeated(found)
    assert "\n" not in text
    assert text.startswith(
        f"one body came for 8,100 tiles (15%, such as 7/8100/3: --placeholder {8100:032x}), "
        f"another for 1,260 (2.3%, such as 7/1260/3: --placeholder {1260:032x}), 2 more in the JSON; "
    )
    assert "another" in repeated(found[:2]) and "JSON" not in repeated(found[:2])
    assert "another" not in repeated(found[:1])
    assert repeated([]) == ""


@pytest.mark.parametrize(("share", "words"), [(0.0996, "10%"), (0.0994, "9.9%"), (0.01, "1.0%"), (1.0, "100%")])
def test_small_shares_have_a_digit_more(share, words):
    assert f"({words}, such as" in repeated([repeat_of(40, share)])
