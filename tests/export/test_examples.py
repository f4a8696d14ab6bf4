"""The examples run as they stand: the script on a web map of the demo's services, the toolbox on a stand-in for
arcpy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import harvester
from harvester.demo.running import running_world
from harvester.testing import schemes
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.tiling.tile import Tile
from tests.export.dialog import EXAMPLES, SCALES, filled, loaded, told

pytestmark = pytest.mark.slow

# ---------------------------------------------------------------------------------------------- the script


def test_the_script_exports_every_layer_of_a_web_map_by_its_own_scales(tmp_path):
    area = {"type": "Polygon", "coordinates": [[[5, 55], [15, 55], [15, 65], [5, 65], [5, 55]]]}
    (tmp_path / "north.geojson").write_text(json.dumps(area))
    with running_world() as world:
        layers = [
            {"id": name, "title": title, "url": world.service(name), "layerType": "ArcGISTiledMapServiceLayer"}
            for name, title in (("World", "Base: map"), ("Europe", "Europe"))
        ]
        (tmp_path / "map.json").write_text(json.dumps({"operationalLayers": layers}))
        found = subprocess.run(
            [sys.executable, EXAMPLES / "cache_my_maps.py", "map.json", "out", "--policy", "600000000:290000000",
             "--policy", "37000000:34000000:north.geojson"],
            cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "NO_PROXY": "127.0.0.1"}, check=False,
        )  # fmt: skip
    assert found.returncode == 0, found.stderr
    with harvester.open_cache(tmp_path / "out" / "Base_ map" / "World.tpk") as cache:
        assert list(cache.levels()) == [0, 1, 4]
        assert cache.read(1, 1, 1) is not None
        assert cache.read(4, 4, 8) is not None
        assert cache.read(4, 9, 9) is None
    with harvester.open_cache(tmp_path / "out" / "Europe" / "Europe.tpk") as cache:
        assert list(cache.levels()) == [0]


def test_the_script_ends_with_the_exit_code_of_what_went_wrong(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = loaded("cache_my_maps.py")
    rule = Rule(do="status", status=500, kind="tile", tiles=("1/0/0",))
    with FaultyService(ArcGisSite(), Script(rules=(rule,))) as service:
        assert script.main([service.url, "out", "--policy", "600000000:290000000:none.shp"]) == 2
        assert "none.shp" in capsys.readouterr().err
        service.script = Script()
        assert script.main([service.url, "out", "--policy", "600000000:290000000", "--instances", "2"]) == 0
        assert service.log.max_concurrency("tile") <= 2
        with pytest.raises(SystemExit) as ended:
            script.main([service.url.replace("Streets", "No"), "out", "--policy", "2:1"])
    assert ended.value.code == 3


def test_vector_layers_are_told_once_and_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = loaded("cache_my_maps.py")
    grid = schemes.WEB_MERCATOR_512
    with FaultyService(ArcGisSite()) as rasters, FaultyService(ArcGisSite(kind="vector", grid=grid)) as vectors:
        layers = [
            {"id": "1", "title": "Roads", "url": vectors.url, "layerType": "VectorTileLayer",
             "styleUrl": f"{vectors.url}/resources/styles/root.json"},
            {"id": "2", "title": "Base", "url": rasters.url, "layerType": "ArcGISTiledMapServiceLayer"},
        ]  # fmt: skip
        (tmp_path / "map.json").write_text(json.dumps({"operationalLayers": layers}))
        arguments = ["out", "--policy", "600000000:500000000", "--policy", "300000000:290000000"]
        assert script.main(["map.json", *arguments]) == 0
        out = capsys.readouterr().out
        assert sum(line.startswith("skipped Roads: vector tiles") for line in out.splitlines()) == 1
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"Base"}
        assert script.main([vectors.url, *arguments]) == 3
        assert not vectors.log.tiles()


def test_a_layer_of_which_no_scale_is_in_a_policy_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = loaded("cache_my_maps.py")
    with FaultyService(ArcGisSite()) as world, FaultyService(ArcGisSite(grid=schemes.UTM_PHILADELPHIA)) as city:
        layers = [
            {"id": title, "title": title, "url": each.url, "layerType": "ArcGISTiledMapServiceLayer"}
            for title, each in (("World", world), ("City", city))
        ]
        Path("map.json").write_text(json.dumps({"operationalLayers": layers}))
        assert script.main(["map.json", "out", "--policy", "600000000:290000000"]) == 0
    assert "skipped City: none of its scales is in a policy\n" in capsys.readouterr().out


def test_a_policy_that_no_layer_has_a_scale_for_is_refused_before_anything_is_fetched(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = loaded("cache_my_maps.py")
    with FaultyService(ArcGisSite()) as service:
        assert script.main([service.url, "out", "--policy", "600000000:290000000", "--policy", "1:2"]) == 2
        assert not service.log.tiles()
    assert "no layer has a scale in 2:1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_layers_of_one_name_get_folders_of_their_own():
    script = loaded("cache_my_maps.py")
    names = ["Roads", "roads", "../x", "", "Straße"]
    found = script.folders_for([{"name": name} for name in names])
    assert found == ["Roads", "roads-2", "_x", "layer", "Straße"]


# ---------------------------------------------------------------------------------------------- the toolbox


def test_the_scales_of_the_service_can_be_ticked(tool, service, tmp_path):
    parameters = filled(tool, service, tmp_path)
    tool.updateParameters(list(parameters.values()))
    scales = parameters["scales"]
    assert scales.settings["multiValue"] is True
    assert scales.filter.type == "ValueList"
    assert scales.filter.list[:3] == SCALES[:3]
    scales.values = [SCALES[1], "7"]
    parameters["input_service"].hasBeenValidated = False
    tool.updateParameters(list(parameters.values()))
    assert scales.values == [SCALES[1]]
    tool.updateMessages(list(parameters.values()))
    assert parameters["input_service"].error == ""


def test_the_service_is_asked_once_while_the_person_fills_in_the_rest(tool, service, tmp_path):
    parameters = filled(tool, service, tmp_path)
    for _ in range(3):
        tool.updateParameters(list(parameters.values()))
        tool.updateMessages(list(parameters.values()))
        for name in ("input_service", "program", "token_env"):
            parameters[name].hasBeenValidated = True
    assert service.log.count("document") == 1


def test_a_service_without_scales_says_why_in_the_dialog(tool, service, tmp_path):
    parameters = filled(tool, service, tmp_path, input_service=service.url.replace("Streets", "No"))
    tool.updateParameters(list(parameters.values()))
    tool.updateMessages(list(parameters.values()))
    assert parameters["scales"].filter.list == []
    assert "404" in parameters["input_service"].error
    service.site.name = "No"
    parameters["input_service"].hasBeenValidated = False
    tool.updateParameters(list(parameters.values()))
    assert parameters["scales"].filter.list[0] == SCALES[0]
    parameters["program"].value = str(tmp_path / "no-such-program")
    tool.updateParameters(list(parameters.values()))
    tool.updateMessages(list(parameters.values()))
    assert "could not be asked" in parameters["input_service"].error


def test_a_vector_tile_service_is_told_in_the_dialog_with_the_command_that_takes_it(tool, tmp_path):
    with FaultyService(ArcGisSite(kind="vector", grid=schemes.WEB_MERCATOR_512, name="Roads")) as service:
        parameters = filled(tool, service, tmp_path, input_service=service.url)
        tool.updateParameters(list(parameters.values()))
        tool.updateMessages(list(parameters.values()))
        assert parameters["scales"].filter.list == []
        assert f"harvester run {service.url} -o NAME.vtpk" in parameters["input_service"].error


def test_an_exploded_package_cannot_be_chosen(tool, service, tmp_path):
    parameters = filled(tool, service, tmp_path)
    for kind, offered in (("TILE_PACKAGE", False), ("CACHE_DATASET", True)):
        parameters["export_cache_type"].value = kind
        tool.updateParameters(list(parameters.values()))
        assert ("EXPLODED" in parameters["storage_format_type"].filter.list) is offered


def test_the_tool_exports_the_ticked_scales_inside_the_layer_and_shows_how_far_it_is(arcpy, tool, service, tmp_path):
    arcpy.layers["Project"] = {
        "spatialReference": {"wkid": 4326},
        "features": [{"geometry": {"xmin": 10, "ymin": 10, "xmax": 60, "ymax": 60}}],
    }
    parameters = filled(tool, service, tmp_path / "out", area_of_interest="Project", scales=SCALES[1:3])
    tool.execute(list(parameters.values()), None)
    assert set(service.log.tiles()) == {Tile(1, 0, 1), Tile(2, 1, 2)}
    assert Path(parameters["output"].value) == tmp_path / "out" / "Streets.tpkx"
    assert Path(parameters["output"].value).exists()
    kinds = [word for word, *_ in arcpy.said]
    assert kinds.index("progressor") < kinds.index("position")
    assert ("position", 100) in arcpy.said
    assert "error" not in kinds
    assert arcpy.env.autoCancelling is False


def test_cancel_saves_the_state_and_the_next_run_goes_on(arcpy, tool, service, tmp_path):
    service.script = Script(rules=(Rule(do="answer", kind="tile", delay=0.02),))
    arcpy.env.cancel_after = 0
    parameters = filled(
        tool, service, tmp_path / "out", scales=SCALES[:8], num_of_caching_service_instances=4,
        export_cache_type="CACHE_DATASET",
    )  # fmt: skip
    tool.execute(list(parameters.values()), None)
    assert any("goes on with what is missing" in text for word, text, *_ in arcpy.said if word == "warning")
    assert parameters["output"].value is None
    stopped = len(service.log.tiles())
    assert 0 < stopped < 5000
    assert not (tmp_path / "out" / "Streets" / "Layers.lock").exists()
    with harvester.open_cache(tmp_path / "out" / "Streets" / "Layers") as cache:
        kept = sum(1 for level in cache.levels() for key in cache.blocks(level) for _ in cache.tiles(key))
    assert kept > 0


def test_failed_tiles_and_a_refused_job_fail_the_tool_with_what_harvester_says(arcpy, tool, service, tmp_path):
    service.site.absent = lambda tile: True
    parameters = filled(tool, service, tmp_path / "out", scales=SCALES[:2])
    with pytest.raises(arcpy.ExecuteError, match="exit code 3"):
        tool.execute(list(parameters.values()), None)
    assert any("404" in text for word, text, *_ in arcpy.said if word == "error")
    parameters = filled(tool, service, tmp_path / "out", scales=["3"])
    with pytest.raises(arcpy.ExecuteError, match="exit code 2"):
        tool.execute(list(parameters.values()), None)


def test_a_program_that_is_not_there_fails_the_tool_and_is_named(arcpy, tool, service, tmp_path):
    program = str(tmp_path / "no-such-program")
    parameters = filled(tool, service, tmp_path / "out", scales=SCALES[:2], program=program)
    with pytest.raises(arcpy.ExecuteError, match="could not be started"):
        tool.execute(list(parameters.values()), None)
    (text,) = told(arcpy, "error")
    assert program in text
    assert "HARVESTER_EXE" in text


def test_an_error_is_said_once(arcpy, tool, service, tmp_path):
    parameters = filled(tool, service, tmp_path / "out", scales=["3"])
    with pytest.raises(arcpy.ExecuteError):
        tool.execute(list(parameters.values()), None)
    found = told(arcpy, "error", "warning", "message")
    assert sum("no LOD at scale 3" in text for text in found) == 1
    assert sum("The LODs are 0" in text for text in found) == 1


def test_cancel_before_the_first_tile_does_not_speak_of_what_was_fetched(arcpy, tool, service, tmp_path):
    service.script = Script(rules=(Rule(do="answer", kind="document", delay=600),))
    arcpy.env.cancel_when = lambda: service.log.count("document")
    parameters = filled(tool, service, tmp_path / "out", scales=SCALES[:2])
    tool.execute(list(parameters.values()), None)
    found = told(arcpy, "error", "warning", "message")
    assert sum("Nothing was fetched yet" in text for text in found) == 1
    assert not any("is kept" in text for text in found)
    assert not service.log.tiles()


def test_the_program_starts_without_the_variables_of_arcgis_pros_python(tool, monkeypatch):
    surroundings = tool.execute.__globals__["_surroundings"]
    for name in ("PYTHONHOME", "PYTHONPATH", "CONDA_PREFIX", "PROJ_LIB", "GDAL_DATA"):
        monkeypatch.setenv(name, "/of/arcgis/pro")
    monkeypatch.setenv("ARCGIS_TOKEN", "kept")
    environment = surroundings()["env"]
    assert "/of/arcgis/pro" not in environment.values()
    assert environment["ARCGIS_TOKEN"] == "kept"


def test_the_toolbox_imports_nothing_of_harvester():
    text = (EXAMPLES / "harvester.pyt").read_text(encoding="utf-8")
    assert "import harvester" not in text
    assert "from harvester" not in text
