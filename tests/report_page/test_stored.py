"""Runs as the ledger remembers them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvester.audited import Audited
from harvester.cli.tables import summary
from harvester.edges import State
from harvester.errors import CacheError, UsageError
from harvester.report_page import choose_run, stored_runs
from harvester.tiling.tile import Tile

from .making import INFO, document, failures, make_ledger


def runs_of(out: Path):
    with Audited(out) as audited:
        return stored_runs(audited)


def test_a_run_that_ended_keeps_its_document_as_it_was(tmp_path: Path) -> None:
    (run,) = runs_of(make_ledger(tmp_path / "out.mbtiles", [document()]))
    assert run.document == document()
    assert run.did_end and run.complete
    assert run.ended == run.started + 60


def test_the_document_as_a_report_says_the_same_again(tmp_path: Path) -> None:
    said = document(
        complete=False, stored=3, failed=2, failures=failures(2), notices=["a notice"],
        error={"code": "budget", "message": "used up", "hint": "again"},
    )  # fmt: skip
    said["lods"][1].update(stored=2, failed=2)
    (run,) = runs_of(make_ledger(tmp_path / "out.mbtiles", [said]))
    report = run.report(INFO.scheme)
    assert report is not None
    assert report.to_dict() == said
    assert "2 x http_500" in summary(report)


def test_a_body_that_came_for_many_tiles_is_still_told_later(tmp_path: Path) -> None:
    said = document(repeats=[{"hash": "ab" * 16, "tiles": 40, "share": 0.8, "sample": "4/3/2"}])
    (run,) = runs_of(make_ledger(tmp_path / "out.mbtiles", [said]))
    report = run.report(INFO.scheme)
    assert report is not None
    assert report.to_dict()["repeats"] == said["repeats"]
    assert f"one body came for 40 tiles (80%, such as 4/3/2: --placeholder {'ab' * 16})" in summary(report)


def test_a_stopped_run_that_was_complete_all_the_same_stays_complete(tmp_path: Path) -> None:
    said = document(error={"code": "budget", "message": "used up", "hint": ""})
    (run,) = runs_of(make_ledger(tmp_path / "out.mbtiles", [said]))
    report = run.report(INFO.scheme)
    assert report is not None and report.complete


def test_the_last_run_without_an_end_tells_what_the_ledger_holds(tmp_path: Path) -> None:
    states = {Tile(0, 0, 0): State.STORED, Tile(1, 1, 1): State.FAILED}
    _, last = runs_of(make_ledger(tmp_path / "out.mbtiles", [document(), None], states=states))
    assert not last.did_end and not last.complete and last.report(INFO.scheme) is None
    assert last.document.keys() - {"error"} == document().keys()
    assert [last.document[name] for name in ("planned", "stored", "failed", "pending")] == [5, 1, 1, 3]
    assert last.document["failures"] == [{"level": 1, "row": 1, "col": 1, "reason": "http_500"}]
    assert last.document["error"]["message"] == "run 2 did not end: it was killed"
    assert last.document["fetched"] is None


def test_an_earlier_run_without_an_end_is_not_given_what_later_runs_did(tmp_path: Path) -> None:
    killed, _ = runs_of(make_ledger(tmp_path / "out.mbtiles", [None, document()]))
    assert killed.document["planned"] is None and killed.document["lods"] == []


def test_a_lock_beside_it_means_that_the_run_may_still_run(tmp_path: Path) -> None:
    out = make_ledger(tmp_path / "out.mbtiles", [None])
    (tmp_path / "out.mbtiles.lock").write_text("\npid 77 on tower\n")
    assert "or still runs (pid 77 on tower)" in runs_of(out)[0].document["error"]["message"]


def test_the_last_run_is_meant_unless_another_is_named(tmp_path: Path) -> None:
    runs = runs_of(make_ledger(tmp_path / "out.mbtiles", [document(), document(fetched=0), None]))
    assert choose_run(runs, None).number == 3
    assert choose_run(runs, 2).document["fetched"] == 0
    with pytest.raises(UsageError) as raised:
        choose_run(runs, 4)
    assert "1, 2, 3" in raised.value.hint


def test_a_cache_without_ledger_or_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(CacheError):
        runs_of(make_ledger(tmp_path / "empty.mbtiles", []))
    with pytest.raises(CacheError):
        runs_of(tmp_path / "nothing.mbtiles")
