"""The page of a run: one HTML file with its tables, plots and maps inside, readable on a phone, light or dark."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

from harvester.audited import Audited
from harvester.errors import HarvesterError
from harvester.redact import redact_text
from harvester.report_page.coverage import Coverage, draw_maps
from harvester.report_page.plots import reason_bars, run_columns, state_bar
from harvester.report_page.stored import FAILURES_SHOWN, StoredRun
from harvester.version import __version__
from harvester.wording import counted, with_detail

if TYPE_CHECKING:
    from harvester.coverage_picture import Backdrop

RUNS_SHOWN = 40
"""Runs in the plot and the table; earlier ones are counted, and ``report --list`` has them all."""

OPEN_TILES = 12
"""So few failed tiles are shown at once; more of them unfold."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The browser itself refuses whatever would be loaded from elsewhere."""

NUMBERS = ("planned", "stored", "absent", "failed", "pending")


def html_page(
    audited: Audited,
    runs: Sequence[StoredRun],
    chosen: StoredRun,
    *,
    backdrop: Backdrop | None = None,
    clock: Callable[[], float] = time.time,
) -> str:
    """The page of one of a cache's runs; the maps show the cache as it is now. Nothing in it is a secret."""
    document = chosen.document
    name = audited.out.name
    maps = _maps(audited, backdrop)
    scales = {lod.level: lod.scale for lod in audited.scheme.lods}
    sections = [
        _figures(document),
        _error(document),
        _lods(document, scales),
        _coverage(maps, scales),
        _failures(document, name),
        _runs(runs, chosen),
        _notices(document),
    ]
    style = resources.files("harvester.report_page").joinpath("style.css").read_text("utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(name)}: run {chosen.number}</title>\n<style>\n{style}</style></head>\n<body><main>\n"
        f"{_header(audited, runs, chosen)}\n{''.join(section for section in sections if section)}"
        f"<footer>Made {_when(clock())} by harvester {__version__} from the ledger of {_text(name)}"
        f"{'. Map: made with Natural Earth' if maps is not None and maps.has_backdrop else ''}.</footer>\n"
        "</main></body></html>\n"
    )


def _text(value: object) -> str:
    """Anything as text of the page: without secrets, and never as markup."""
    return escape(redact_text(str(value)))


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %z")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _section(title: str, body: str, *, kind: str = "") -> str:
    return f'<section class="{kind}"><h2>{escape(title)}</h2>\n{body}\n</section>\n'


# ---------------------------------------------------------------------------------------------- head


def _verdict(run: StoredRun) -> tuple[str, str]:
    document = run.document
    if not run.did_end:
        return "bad", "did not end"
    if run.complete:
        return "good", "complete"
    trouble = [f"{document[name]:,} {name}" for name in ("failed", "pending") if document[name]]
    return ("bad" if document["failed"] else "warn"), "incomplete" + (": " + ", ".join(trouble) if trouble else "")


def _header(audited: Audited, runs: Sequence[StoredRun], run: StoredRun) -> str:
    document = run.document
    took = "" if document["seconds"] is None else f", took {_duration(document['seconds'])}"
    kind, verdict = _verdict(run)
    last = runs[-1].number
    return (
        f'<header><h1>{_text(audited.out.name)}</h1><span class="pill {kind}">{verdict}</span>'
        f'<p class="where">Run {run.number} of {last}, {_when(run.started)}{took}<br>'
        f"{_text(document['source'] or 'unknown source')} → {_text(document['output'])} ({_text(document['format'])}, "
        f"{_text(audited.scheme.crs)})</p></header>"
    )


def _figures(document: Mapping[str, Any]) -> str:
    seconds, size = document["seconds"], document["bytes"]
    cards = [(name, _number(document[name]), "") for name in ("planned", "stored", "absent")]
    if document["unchanged"]:
        cards.insert(2, ("unchanged", _number(document["unchanged"]), ""))
    cards.append(("failed", _number(document["failed"]), "bad" if document["failed"] else ""))
    cards.append(("pending", _number(document["pending"]), "warn" if document["pending"] else ""))
    if document["fetched"] is not None:
        cards.append(("fetched by this run", _number(document["fetched"]), ""))
        cards.append(("requests", _number(document["requests"]), ""))
        if document["retries"] or document["throttled"]:
            cards.append(("retries, throttled", f"{document['retries']:,}, {document['throttled']:,}", ""))
        cards.append(("received", _size(size), ""))
        seconds = (document.get("took") or {}).get("fetching") or seconds  # sealing asks for no tile
        if seconds and document["tile_requests"]:
            cards.append(("tile requests a second", f"{document['tile_requests'] / seconds:,.0f}", ""))
    inside = "".join(f'<div class="{kind}"><b>{value}</b><span>{name}</span></div>' for name, value, kind in cards)
    return f'<section class="figures">{inside}</section>\n'


def _error(document: Mapping[str, Any]) -> str:
    error = document.get("error")
    if error is None:
        return ""
    return f'<section class="error"><p><b>{_text(error["message"])}</b></p><p>{_text(error["hint"])}</p></section>\n'


# ---------------------------------------------------------------------------------------------- LODs and maps


def _lods(document: Mapping[str, Any], scales: Mapping[int, float]) -> str:
    if not document["lods"]:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{lod["level"]}</th><td>{_scale(scales, lod["level"])}</td>{_cells(lod)}'
        f'<td class="wide">{state_bar(lod, "LOD " + str(lod["level"]))}</td></tr>'
        for lod in document["lods"]
    )
    head = "".join(f"<th>{name}</th>" for name in NUMBERS)
    foot = "".join(f"<td>{_number(document[name])}</td>" for name in NUMBERS)
    table = (
        f'<div class="scroll"><table class="lods"><thead><tr><th scope="col" class="text">LOD</th><th>scale 1:</th>'
        f'{head}<th></th></tr></thead><tbody>{rows}</tbody><tfoot><tr><th scope="row">all</th><td></td>{foot}'
        f'<td class="wide">{state_bar(document, "all LODs")}</td></tr></tfoot></table></div>'
    )
    shown = [state for state in ("stored", "unchanged", "absent", "failed", "pending") if document[state]]
    return _section("Levels of detail", table + _legend(shown))


def _scale(scales: Mapping[int, float], level: int) -> str:
    return f"{scales[level]:,.0f}" if level in scales else "–"


def _cells(counts: Mapping[str, Any]) -> str:
    cells = []
    for name in NUMBERS:
        kind = "zero" if not counts[name] else name if name in ("failed", "pending") else ""
        cells.append(f'<td class="{kind}">{_number(counts[name])}</td>')
    return "".join(cells)


def _legend(names: Sequence[str]) -> str:
    return '<p class="legend">' + "".join(f'<span><i class="{name}"></i>{name}</span>' for name in names) + "</p>"


def _maps(audited: Audited, backdrop: Backdrop | None) -> Coverage | None:
    """The maps; a CRS that nobody knows has none."""
    try:
        return draw_maps(audited.scheme, audited.blocks, backdrop)
    except HarvesterError:
        return None


def _coverage(maps: Coverage | None, scales: Mapping[int, float]) -> str:
    if maps is None:
        return ""
    figures = "".join(
        f'<figure><img class="map" alt="Map of LOD {one.level}" width="{one.width}" height="{one.height}" '
        f'src="{one.image}"><figcaption><b>LOD {one.level}</b> 1:{_scale(scales, one.level)}'
        f"{', enlarged' if one.enlarged else ''}</figcaption></figure>"
        for one in maps.lods
    )
    swatches = "".join(f'<span><i style="background:rgb{one.colour}"></i>LOD {one.level}</span>' for one in maps.lods)
    return _section(
        "Coverage now",
        f'<figure><img class="map" alt="Map of all LODs" width="{maps.width}" height="{maps.height}" '
        f'src="{maps.image}"></figure><p class="legend">{swatches}'
        f'<span><i class="absent"></i>absent (hatched)</span><span><i class="pending"></i>pending</span>'
        f'<span><i class="failed"></i>failed</span></p><div class="maps">{figures}</div>',
    )


# ---------------------------------------------------------------------------------------------- failures, runs, notices


def _failures(document: Mapping[str, Any], name: str) -> str:
    failures = document["failures"][:FAILURES_SHOWN]
    if not failures:
        return ""
    reasons = Counter(_text(failure["reason"] or "no reason kept") for failure in failures).most_common()
    of = ""
    if document["failed"] and document["failed"] > len(failures):
        of = f"<p>The first {len(failures):,} of {document['failed']:,} failed tiles; the ledger has all.</p>"
    rows = "".join(
        f"<tr><td>{failure['level']}</td><td>{failure['row']}</td><td>{failure['col']}</td>"
        f'<td class="text">{_text(with_detail(failure["reason"], failure.get("detail", "")))}</td></tr>'
        for failure in failures
    )
    first = failures[0]
    address = f"{first['level']}/{first['row']}/{first['col']}"
    return _section(
        "Failed tiles",
        f"{of}{reason_bars(reasons)}<details{' open' if len(failures) <= OPEN_TILES else ''}>"
        f"<summary>{counted(len(failures), 'tile')}</summary>"
        '<div class="tiles"><table><thead><tr><th>LOD</th><th>row</th><th>column</th><th class="text">reason</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div></details>"
        f"<p><br>Why one of them failed: <code>harvester why {_text(name)} {address}</code></p>",
    )


def _runs(runs: Sequence[StoredRun], chosen: StoredRun) -> str:
    shown = list(runs[-RUNS_SHOWN:])
    if chosen not in shown:
        shown = [chosen, *shown[1:]]
    labels = [datetime.fromtimestamp(run.started).astimezone().strftime("%m-%d") for run in shown]
    rows = "".join(_run_row(run, is_chosen=run is chosen) for run in reversed(shown))
    more = f"<p>Not shown: {counted(len(runs) - len(shown), 'earlier run')}.</p>" if len(runs) > len(shown) else ""
    head = "".join(f"<th>{name}</th>" for name in ("took", "planned", "fetched", "failed", "pending", "received"))
    return _section(
        "Runs",
        f'<div class="scroll">{run_columns(shown, chosen, labels)}</div>'
        f"{_legend(('kept', 'fetched', 'absent', 'failed', 'pending'))}{more}"
        f'<div class="scroll"><table><thead><tr><th class="text">run</th><th class="text">began</th>{head}'
        f'<th class="text">end</th></tr></thead><tbody>{rows}</tbody></table></div>',
    )


def _run_row(run: StoredRun, *, is_chosen: bool) -> str:
    document = run.document
    took = "–" if document["seconds"] is None else _duration(document["seconds"])
    received = "–" if document["bytes"] is None else _size(document["bytes"])
    error = document.get("error")
    end = "complete" if run.complete else "did not end" if not run.did_end else "incomplete"
    said = f": {_text(error['message'])}" if error is not None and run.did_end else ""
    numbers = "".join(f"<td>{_number(document[name])}</td>" for name in ("planned", "fetched", "failed", "pending"))
    return (
        f'<tr class="{"chosen" if is_chosen else ""}"><th scope="row">{run.number}</th><td class="text one-line">'
        f"{_when(run.started)}</td><td>{took}</td>{numbers}<td>{received}</td>"
        f'<td class="text said">{end}{said}</td></tr>'
    )


def _notices(document: Mapping[str, Any]) -> str:
    notices = [
        *document.get("notices", ()),
        *(
            f"one body came for {counted(one['tiles'], 'tile')} ({one['share']:.0%}, such as {one['sample']}); if it "
            f'means "no data": --placeholder {one["hash"]}'
            for one in document.get("repeats", ())
        ),
    ]
    if not notices:
        return ""
    return _section("Notices", "<ul>" + "".join(f"<li>{_text(notice)}</li>" for notice in notices) + "</ul>")
