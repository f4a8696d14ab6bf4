"""Runs as the ledger remembers them: the stored report document, or what is known of a run without end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harvester.audited import Audited
from harvester.durable import FILE, behind_links, kind_of
from harvester.engine.repeats import Repeat
from harvester.engine.stop import StopReason
from harvester.errors import CacheError, UsageError
from harvester.events import Counts
from harvester.ledger_reader import LedgerReader, Run
from harvester.report import FailedTile, LodReport, Report, Took
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.tile import Tile

FAILURES_SHOWN = 1000
"""As many as a report lists; the ledger has all of them."""

RUNS_NAMED = 20
"""Runs that an error message names one by one."""

UNKNOWN = ("fetched", "kept", "requests", "tile_requests", "retries", "throttled", "bytes", "seconds")
"""What only the report of a run that ended tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """One run. ``document`` is the stored report, or, where ``did_end`` is False, the same keys as far as they are
    known (None for the others)."""

    number: int
    started: float
    ended: float | None
    document: Mapping[str, Any]
    did_end: bool

    @property
    def complete(self) -> bool:
        """True when it left nothing failed or pending."""
        return bool(self.document["complete"])

    def report(self, scheme: TilingScheme) -> Report | None:
        """The report as a record again; None for a run that did not end."""
        return _report(self.document, scheme) if self.did_end else None

    def heading(self) -> dict[str, Any]:
        """What ``report --list --json`` says of it."""
        names = (
            "complete",
            "planned",
            "stored",
            "unchanged",
            "absent",
            "failed",
            "pending",
            "fetched",
            "kept",
            "bytes",
        )
        return {
            "run": self.number,
            "started": _iso(self.started),
            "ended": None if self.ended is None else _iso(self.ended),
            **{name: self.document[name] for name in names},
        }


def stored_runs(audited: Audited) -> list[StoredRun]:
    """All runs of a cache, the first one first. Raises CacheError without a ledger or without a run in it."""
    ledger = audited.ledger
    if ledger is None:
        raise CacheError(
            f"there is no ledger beside {audited.out}",
            hint="Its runs are not known; harvester info shows what it holds.",
            code="missing",
        )
    runs = ledger.runs()
    if not runs:
        raise CacheError(f"the ledger of {audited.out} knows of no run", hint="harvester info shows what it holds.")
    unmade = audited.unmade if audited.collecting else ""
    found = []
    for run in runs:
        document, did_end = run.report, run.report is not None
        if document is None:
            document = _unfinished(run, ledger, audited.out, run is runs[-1])
        elif unmade and run is runs[-1] and document["complete"]:
            # It had every tile and was killed over the package: what it wrote of itself did not come true.
            hint = "The same harvester run makes it without fetching a tile."
            error = {"code": "did_not_end", "message": unmade, "hint": hint}
            document, did_end = {**document, "complete": False, "error": error}, False
        found.append(StoredRun(number=run.id, started=run.started, ended=run.ended, document=document, did_end=did_end))
    return found


def choose_run(runs: Sequence[StoredRun], number: int | None) -> StoredRun:
    """The run of this number, or the last one. Raises UsageError."""
    if number is None:
        return runs[-1]
    for run in runs:
        if run.number == number:
            return run
    known = ", ".join(str(run.number) for run in runs[-RUNS_NAMED:])
    raise UsageError(f"there is no run {number}", hint=f"The runs are {known}; --list shows them.")


def _unfinished(run: Run, ledger: LedgerReader, out: Path, is_last: bool) -> dict[str, Any]:
    """The document of a run that left no report. What is in the ledger now is the last run's doing."""
    lods = ledger.counts() if is_last else {}
    counts = Counts(*(sum(column) for column in zip(*lods.values(), strict=True))) if lods else None
    failures = ledger.failures(FAILURES_SHOWN) if is_last else []
    return {
        "source": ledger.meta("source"),
        "output": run.output,
        "format": ledger.meta("format"),
        "complete": False,
        **(counts._asdict() if counts else dict.fromkeys(Counts._fields)),
        **dict.fromkeys(UNKNOWN),
        "lods": [{"level": level, **lod._asdict()} for level, lod in lods.items()],
        "failures": [
            {**failure.tile._asdict(), "reason": failure.reason}
            | ({"detail": failure.detail} if failure.detail else {})
            for failure in failures
        ],
        "error": {
            "code": "did_not_end",
            "message": f"run {run.id} did not end: it was killed{_or_runs_still(out) if is_last else ''}",
            "hint": "The same harvester run goes on with what is missing.",
        },
    }


def _or_runs_still(out: Path) -> str:
    """Who holds the lock, as far as a file that a killed run may have left can tell."""
    out = behind_links(out)
    place = out.with_name(out.name + ".lock")
    if kind_of(place) != FILE:  # to read a pipe is to wait for its other end
        return ""
    with suppress(OSError):
        holder = place.read_text("utf-8", "replace").strip().partition("\n")[0]
        return f", or still runs ({holder[:80]})" if holder else ", or still runs"
    return ""


def _report(document: Mapping[str, Any], scheme: TilingScheme) -> Report:
    error = document.get("error")
    stop = None
    if error is not None:
        # The exit code is not in the document; what matters here is only whether the run was complete all the same.
        code = 0 if document["complete"] else 3
        stop = StopReason(code=error["code"], message=error["message"], hint=error["hint"], exit_code=code)
    return Report(
        source=document["source"],
        output=document["output"],
        format=document["format"],
        lods=tuple(
            LodReport(
                level=lod["level"],
                scale=scheme.by_level[lod["level"]].scale if lod["level"] in scheme.by_level else 0.0,
                counts=Counts(*(lod[name] for name in Counts._fields)),
            )
            for lod in document["lods"]
        ),
        **{name: document[name] for name in UNKNOWN},
        took=Took(**document["took"]) if "took" in document else None,
        dedup_saved=document.get("dedup_saved"),
        failures=tuple(FailedTile(**failure) for failure in document["failures"]),
        notices=tuple(document.get("notices", ())),
        repeats=tuple(
            Repeat(one["hash"], one["tiles"], one["share"], Tile(*map(int, one["sample"].split("/"))))
            for one in document.get("repeats", ())
        ),
        stop=stop,
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
