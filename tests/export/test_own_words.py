"""What an export advises can be done: its own parameters are named, not a run's options."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import harvester
from harvester.errors import HarvesterError
from harvester.export.own_words import CALL, COMMAND, told
from harvester.testing.service import ArcGisSite, FaultyService
from tests.caches.making import mercator
from tests.delta.making import make, some

SCALE = "591657527.591555"

LINE = {
    "geometryType": "esriGeometryPolyline",
    "spatialReference": {"wkid": 3857},
    "features": [{"geometry": {"paths": [[[0, 0], [0, 1e6]]]}}],
}

OUTSIDE = "30000000 30000000 31000000 31000000"


@pytest.fixture
def service():
    with FaultyService(ArcGisSite(name="Streets")) as running:
        yield running


def refusal(*args, **options) -> str:
    with pytest.raises(HarvesterError) as raised:
        harvester.export_map_server_cache(*args, **options)
    return raised.value.hint


def test_calls_are_told_of_their_keywords(service, tmp_path):
    target = tmp_path / "out"
    make(target / "Streets" / "Layers", some("0/0/0"), format="compact", scheme=mercator(size=512))
    more = {"scales": SCALE, "storage_format_type": "COMPACT"}
    assert 'overwrite="OVERWRITE"' in refusal(service.url, target, **more)
    assert "storage_format_type" in refusal(service.url, target, scales=SCALE, storage_format_type="COMPACT_V2")
    for hint in (
        refusal(service.url, tmp_path / "line", scales=SCALE, area_of_interest=LINE),
        refusal(service.url, tmp_path / "outside", scales=SCALE, export_extent=OUTSIDE),
    ):
        assert hint and "--" not in hint


def test_the_command_is_told_of_its_options(service, tmp_path):
    target = tmp_path / "out"
    make(target / "Streets" / "Layers", some("0/0/0"), format="compact", scheme=mercator(size=512))

    def hint(*arguments: str) -> str:
        command = [sys.executable, "-m", "harvester", "export", service.url, *arguments, "--json"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode in (2, 4), ended.stderr
        text: str = json.loads(ended.stdout)["error"]["hint"]
        return text

    assert "--overwrite OVERWRITE" in hint(str(target), "--scales", SCALE)
    for advice in (
        hint(str(target), "--scales", SCALE, "--storage-format-type", "COMPACT_V2"),
        hint(str(tmp_path / "line"), "--scales", SCALE, "--area-of-interest", json.dumps(LINE)),
        hint(str(tmp_path / "outside"), "--scales", SCALE, "--export-extent", OUTSIDE),
    ):
        assert advice and not any(option in advice for option in ("--format", "--mode", "--no-extent"))


def test_what_is_translated_is_still_said_somewhere():
    package = Path(harvester.__file__).parent
    said = "\n".join(file.read_text("utf-8") for file in package.rglob("*.py") if file.name != "own_words.py")
    assert CALL.keys() == COMMAND.keys()
    assert [words for words in COMMAND if words not in said] == []


@pytest.mark.parametrize(
    ("run_s", "call_s"),
    [
        ("the budget --max-tiles 2 is used up", "the budget max_tiles=2 is used up"),
        ("the budget --max-duration 1s is used up", "the budget max_duration='1s' is used up"),
        (
            "Run the same command again: it goes on with what is missing.",
            "Make the same call again: it goes on with what is missing.",
        ),
        ("Check address; behind a proxy use --proxy.", "Check address; behind a proxy use proxy."),
        ("--tilemap off asks for all", "tilemap='off' asks for all"),
        ("harvester run X --max-tiles 5 -o out. Or use --rate.", "harvester run X --max-tiles 5 -o out. Or use rate."),
    ],
)
def test_a_run_s_words_are_a_call_s(run_s, call_s):
    assert told(run_s, CALL) == call_s
    assert told(run_s, COMMAND) == run_s


def test_a_budget_and_a_host_that_is_not_there_are_told_in_keywords(service, tmp_path):
    with pytest.raises(HarvesterError) as used_up:
        harvester.export_map_server_cache(service.url, tmp_path, max_tiles=2)
    with pytest.raises(HarvesterError) as nowhere:
        harvester.export_map_server_cache("http://127.0.0.1:1/arcgis/rest/services/x/MapServer", tmp_path)
    for error in (used_up.value, nowhere.value):
        assert "--" not in f"{error} {error.hint}" and "command" not in f"{error} {error.hint}"
    assert "max_tiles=2" in str(used_up.value) and "same call" in used_up.value.hint
