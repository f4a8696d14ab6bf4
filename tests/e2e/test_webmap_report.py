"""What a run of a web map says: requests counted once, layers by their titles, the dead and the unbegun ones told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import harvester
from harvester.assemble.run import harvest_job
from harvester.durable import Disk
from harvester.engine import StopReason, StopSwitch
from harvester.loop import run_loop
from harvester.report import WebMapReport
from harvester.testing.service import ArcGisSite
from tests.e2e.claims import HASTY, files, held, poisoned
from tests.e2e.test_webmap import layer, webmap


def test_every_request_is_counted_once_whichever_layer_it_was_for(serve, cli, tmp_path):
    services = [serve(ArcGisSite(name=name)) for name in ("One", "Two", "Three")]
    source = webmap(tmp_path, *(layer(service, f"Layer {at}") for at, service in enumerate(services)))
    result = cli("run", source, "--lods", "0-2", "-o", "maps", *HASTY)
    assert result.code == 0
    seen = sum(len(service.log) for service in services)
    assert sum(one["requests"] for one in result.json["layers"]) == seen
    assert [one["tile_requests"] for one in result.json["layers"]] == [21, 21, 21]


def test_each_summary_is_under_its_layers_title_and_a_dead_layer_is_told_once_with_its_remedy(serve, cli, tmp_path):
    service, other = serve(), serve(ArcGisSite(name="Roads"))
    gone = service.origin + "/arcgis/rest/services/X/MapServer"
    source = webmap(tmp_path, layer(service, "Streets of 2026"), layer(gone, "Gone: far"), layer(other, "Roads"))
    result = cli("run", source, "--lods", "0", "-o", "maps", "--progress", "none")
    assert result.code == 3
    lines = result.err.splitlines()
    titles = [at for at, line in enumerate(lines) if line.startswith("layer ")]
    assert [lines[at] for at in titles] == ["layer Streets of 2026", "layer Roads"]
    for at, end in zip(titles, [*titles[1:], len(lines)], strict=True):
        assert sum(line.startswith("LOD") for line in lines[at:end]) == 1
    (at,) = (at for at, line in enumerate(lines) if line.startswith("error:"))
    assert lines[at].startswith(f"error: layer Gone: far is lost: {gone}")
    assert lines[at].count("Gone") == 1
    assert lines[at + 1].startswith("Check the address")
    document = cli("run", source, "--lods", "0", "-o", "maps", "--json", "-q").json
    assert [one["name"] for one in document["layers"]] == ["Streets of 2026", "Roads"]
    (skipped,) = document["skipped"]
    assert (skipped["name"], skipped["hint"]) == ("Gone: far", lines[at + 1])
    assert "Gone" not in skipped["reason"]
    for verb in ("scales", "plan"):
        told = cli(verb, source, *(("--lods", "0") if verb == "plan" else ()))
        assert len(re.findall("Gone", told.out + told.err)) == 1, verb


def test_a_layer_named_like_a_file_beside_another_cache_has_a_cache_of_its_own(serve, cli, tmp_path):
    names = ("a", "a.ledger", "A.LOCK", "a.new", "a.new.ledger", "con", "a.ledger\u3000")
    services = [serve(ArcGisSite(name=f"S{at}", variant=at)) for at in range(len(names))]
    source = webmap(tmp_path, *(layer(service, name) for service, name in zip(services, names, strict=True)))
    for mode in ("merge", "overwrite"):
        result = cli("run", source, "--lods", "0", "-o", "maps", "--format", "compactv2", "--mode", mode, *HASTY)
        assert (result.code, result.json["complete"]) == (0, True), result.err
        for service, one in zip(services, result.json["layers"], strict=True):
            assert len(held(tmp_path / one["output"])) == 1
            assert poisoned(tmp_path / one["output"], service.site) == set()
        outputs = {Path(one["output"]).name for one in result.json["layers"]}
        assert files(tmp_path / "maps") == outputs | {f"{name}.ledger" for name in outputs}


class PressingDisk(Disk):
    """Presses the switch when the first package gets its name."""

    def __init__(self, switch: StopSwitch) -> None:
        super().__init__()
        self._switch = switch

    def step(self, name: str, path: Path) -> None:
        if name == "replace" and path.suffix == ".tpkx" and self._switch.reason is None:
            self._switch.press(StopReason.signal("SIGTERM", 143))


@pytest.mark.parametrize("layers", [1, 3])
def test_a_run_stopped_between_two_layers_is_not_complete_and_names_those_that_were_not_begun(serve, tmp_path, layers):
    names = ("First", "Second", "Third")[:layers]
    services = [serve(ArcGisSite(name=name)) for name in names]
    source = webmap(tmp_path, *(layer(service, name) for service, name in zip(services, names, strict=True)))
    job = harvester.Job(
        source=str(tmp_path / source), output=tmp_path / "maps", policies=(harvester.Policy(lods=((0, 1),)),)
    )
    switch = StopSwitch()
    report = run_loop(harvest_job(job, switch=switch, disk=PressingDisk(switch)))
    assert isinstance(report, WebMapReport)
    assert [one.complete for one in report.layers] == [True]
    assert not (tmp_path / "maps" / "First.tpkx.lock").exists()
    if layers == 1:
        assert (report.complete, report.exit_code) == (True, 0), "it was finished: nothing was stopped"
        return
    assert (report.complete, report.exit_code) == (False, 143)
    assert [one.name for one in report.not_begun] == ["Second", "Third"]
    document = report.to_dict()
    assert document["error"]["message"] == "stopped by SIGTERM"
    assert [(one["name"], one["reason"]) for one in document["skipped"]] == [
        ("Second", "not begun"),
        ("Third", "not begun"),
    ]
    assert [service.log.count("tile") for service in services] == [5, 0, 0]
    again = harvester.run(job)
    assert (again.complete, again.kept, again.fetched) == (True, 5, 10)
