"""What the ArcGIS Pro tool says when something goes wrong: in words of its own dialog, with what to do."""

from __future__ import annotations

import os
import stat

import pytest

from harvester.testing.script import Rule, Script
from tests.export.dialog import SCALES, filled, told


def program(folder, text):
    """A program that isn't harvester."""
    path = folder / "other"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.skipif(os.name == "nt", reason="a shell script is no program there")
@pytest.mark.parametrize("does", ["exit 0", "echo '[]'", "echo no; exit 1", "echo '{}'"])
def test_a_program_that_is_not_harvester_is_named_with_the_remedy(arcpy, tool, service, tmp_path, does):
    other = program(tmp_path, does)
    parameters = filled(tool, service, tmp_path / "out", scales=SCALES[:2], program=other)
    tool.updateParameters(list(parameters.values()))
    tool.updateMessages(list(parameters.values()))
    assert "is not harvester" in parameters["input_service"].error
    assert "HARVESTER_EXE" in parameters["input_service"].error
    parameters["scales"].values = SCALES[:2]
    with pytest.raises(arcpy.ExecuteError, match="it is not harvester"):
        tool.execute(list(parameters.values()), None)
    (text,) = told(arcpy, "error")
    assert other in text and "HARVESTER_EXE" in text


def test_what_to_do_is_said_of_the_boxes_of_the_dialog(arcpy, tool, service, tmp_path, monkeypatch):
    monkeypatch.delenv("NOPE", raising=False)
    parameters = filled(tool, service, tmp_path / "out", scales=SCALES[:1], token_env="NOPE")
    tool.updateParameters(list(parameters.values()))
    tool.updateMessages(list(parameters.values()))
    assert '"Environment variable that holds a token"' in parameters["input_service"].error
    assert "--" not in parameters["input_service"].error
    parameters["token_env"].value = None
    parameters["scales"].values = SCALES[:1]
    parameters["export_cache_type"].value = "CACHE_DATASET"
    tool.execute(list(parameters.values()), None)
    parameters["storage_format_type"].value = "COMPACT"
    with pytest.raises(arcpy.ExecuteError):
        tool.execute(list(parameters.values()), None)
    (text,) = told(arcpy, "error")
    assert '"Storage Format"' in text
    assert "--" not in text
    in_boxes = tool.execute.__globals__["_in_boxes"]
    assert in_boxes("replace it: --overwrite OVERWRITE") == 'replace it: tick "Replace an existing cache"'


def test_failed_tiles_are_named_and_where_the_others_are(arcpy, tool, service, tmp_path):
    service.script = Script(rules=(Rule(do="status", status=400, kind="tile", tiles=("1/0/1",)),))
    parameters = filled(tool, service, tmp_path / "out", scales=SCALES[:2])
    with pytest.raises(arcpy.ExecuteError, match="exit code 1"):
        tool.execute(list(parameters.values()), None)
    assert any(text.startswith("LOD 1, row 0, column 1: ") for text in told(arcpy, "error"))
    (text,) = [text for text in told(arcpy, "message") if "asks for the rest" in text]
    assert str(tmp_path / "out" / "Streets.tpkx") in text


@pytest.mark.skipif(os.name == "nt", reason="a shell script is no program there")
def test_cancel_while_the_program_starts_is_told_once_and_not_as_an_error(arcpy, tool, service, tmp_path):
    other = program(tmp_path, "echo 'error: stopped by SIGINT' >&2; echo 'Nothing was done yet.' >&2; exit 130")
    tool.execute(list(filled(tool, service, tmp_path / "out", scales=SCALES[:2], program=other).values()), None)
    assert told(arcpy, "error", "warning") == ["Stopped before anything was asked; nothing was written."]


@pytest.mark.parametrize(
    ("field", "values", "lods"),
    [("level", [1, 1, None], "1"), ("LEVEL", [2, "1", "attic"], "1, 2"), ("floor", [1], "")],
)
def test_a_field_that_picks_lods_is_told_with_the_area_of_interest(arcpy, tool, service, tmp_path, field, values, lods):
    ring = [[5e5, 5e6], [5e5, 6e6], [15e5, 6e6], [15e5, 5e6], [5e5, 5e6]]
    features = [{"attributes": {"OBJECTID": 1, field: value}, "geometry": {"rings": [ring]}} for value in values]
    arcpy.layers["Floors"] = {
        "geometryType": "esriGeometryPolygon", "spatialReference": {"wkid": 102100}, "features": features,
    }  # fmt: skip
    parameters = filled(tool, service, tmp_path / "out", area_of_interest="Floors", scales=SCALES[:4])
    tool.execute(list(parameters.values()), None)
    words = [text for text in told(arcpy, "warning") if "Area of Interest" in text]
    if not lods:
        assert not words
        return
    (text,) = words
    assert f'"{field}"' in text and f"LOD {lods} alone" in text and "ticked" in text and "without that field" in text
