"""``harvester report``: what the last (or any earlier) run did: text, JSON, HTML."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harvester.cli.common import STDOUT, Common
from harvester.cli.frame import say, show, show_bytes, show_json, verb
from harvester.redact import redact_text

if TYPE_CHECKING:
    from harvester.audited import Audited
    from harvester.report_page import StoredRun


@verb(
    "report",
    example="harvester report streets.tpkx --html report.html\nharvester report streets.tpkx --list",
)
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path, readable=False))
@click.option("--run", "number", type=int, metavar="N", help="An earlier run, by its number.  [the last]")
@click.option("--list", "listed", is_flag=True, help="List all runs of this cache.")
@click.option(
    "--html",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write one HTML file that needs nothing else: tables, plots, a map of each LOD; - is stdout.",
)
def command(common: Common, output: Path, number: int | None, listed: bool, target: Path | None) -> int:
    """Show what the last (or any earlier) run of a cache did, from its ledger; no network is needed."""
    from harvester.audited import Audited
    from harvester.output import require_elsewhere
    from harvester.report_page import choose_run, stored_runs

    is_page = str(target) == STDOUT
    if target is not None and not is_page:
        require_elsewhere(target, "--html", output)
    with Audited(output) as audited:
        runs = stored_runs(audited)
        chosen = choose_run(runs, number)
        if target is not None:
            _write_page(audited, runs, chosen, target)
        if is_page:
            return 0
        if common.json:
            show_json({"output": str(output), "runs": [run.heading() for run in runs]} if listed else chosen.document)
        elif listed:
            show(_list(runs))
        elif target is None or not common.quiet:
            show(_text(audited, runs, chosen))
    if not common.quiet:
        if target is not None:
            say(f"written: {target}")
        beside = output.with_name(output.name + ".new.ledger") if output.name else None
        if beside is not None and beside.exists():
            say(f"note: a replacement is being made: harvester report {output}.new")
    return 0


def _write_page(audited: Audited, runs: Sequence[StoredRun], chosen: StoredRun, target: Path) -> None:
    from harvester.demo.backdrop import WorldBackdrop
    from harvester.durable import Disk
    from harvester.report_page import html_page

    page = html_page(audited, runs, chosen, backdrop=WorldBackdrop(audited.scheme.crs))
    if str(target) == STDOUT:
        show_bytes(page.encode("utf-8"))
    else:
        Disk().write_named(target.absolute(), page.encode("utf-8"))


def _text(audited: Audited, runs: Sequence[StoredRun], run: StoredRun) -> str:
    from harvester.cli.tables import summary, table

    document = run.document
    lines = [f"run {run.number} of {runs[-1].number}: began {_when(run.started)}"]
    error = document.get("error")
    if error is not None:
        lines += [f"error: {error['message']}", error["hint"]]
    lines += [f"note: {text}" for text in document.get("notices", ())]
    report = run.report(audited.scheme)
    if report is not None:
        lines.append(summary(report))
    elif document["planned"] is not None:
        names = ("planned", "stored", "absent", "failed", "pending")
        rows = [[lod["level"], *(lod[name] for name in names)] for lod in document["lods"]]
        rows.append(["all", *(document[name] for name in names)])
        lines += ["", "what the ledger holds now:", table(["LOD", *names], rows)]
    return redact_text("\n".join(lines))


def _list(runs: Sequence[StoredRun]) -> str:
    from harvester.cli.tables import duration, size, table

    rows: list[list[Any]] = []
    for run in runs:
        document = run.document
        took = "-" if document["seconds"] is None else duration(document["seconds"])
        end = "complete" if run.complete else "incomplete" if run.did_end else "did not end"
        numbers = [document[name] for name in ("planned", "fetched", "absent", "failed", "pending")]
        got = "-" if document["bytes"] is None else size(document["bytes"])
        rows.append([run.number, _when(run.started), took, *numbers, got, end])
    head = ["run", "began", "took", "planned", "fetched", "absent", "failed", "pending", "bytes", "end"]
    return table(head, rows, left=frozenset({1, len(head) - 1}))


def _when(seconds: float) -> str:
    """A moment in the reader's own time."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
