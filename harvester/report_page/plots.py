"""Inline SVG: a bar of states, bars of failure reasons, a column for each run. Colours come from the page's style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from harvester.report_page.stored import StoredRun

STATES = ("stored", "unchanged", "absent", "failed", "pending")
"""In the order in which a bar shows them."""

LEAST_SHARE = 0.012
"""Of a bar's width: a single failed tile among a million is still seen."""

COLUMN, GAP, HEIGHT, FOOT, HEAD = 34, 10, 120, 36, 18
"""Sizes of the columns of runs, in pixels."""


def state_bar(counts: Mapping[str, Any], label: str) -> str:
    """Shares of the states of planned tiles, trouble never too thin to be seen."""
    planned = counts["planned"] or 0
    shares = [(state, counts[state]) for state in STATES if counts[state]]
    widths = _widths([number / planned for _, number in shares]) if planned else []
    told = ", ".join(f"{number:,} {state}" for state, number in shares) or "nothing planned"
    x = 0.0
    parts = []
    for (state, number), width in zip(shares, widths, strict=bool(planned)):
        parts.append(
            f'<rect class="{state}" x="{x:.3f}" width="{width:.3f}" height="10">'
            f"<title>{number:,} {state}</title></rect>"
        )
        x += width
    return (
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}: {told}">{"".join(parts)}</svg>'
    )


def _widths(shares: Sequence[float]) -> list[float]:
    """Shares in percent of the bar, none below LEAST_SHARE, together 100."""
    raised = [max(share, LEAST_SHARE) for share in shares]
    return [100 * share / sum(raised) for share in raised]


def reason_bars(reasons: Sequence[tuple[str, int]]) -> str:
    """One bar for each reason, the commonest first."""
    most = max((number for _, number in reasons), default=1)
    rows = "".join(
        f'<tr><th scope="row">{escape(reason)}</th><td class="wide">'
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-hidden="true">'
        f'<rect class="failed" width="{max(1.0, 100 * number / most):.3f}" height="10"/></svg></td>'
        f'<td class="number">{number:,}</td></tr>'
        for reason, number in reasons
    )
    return f'<table class="reasons">{rows}</table>'


def run_columns(runs: Sequence[StoredRun], chosen: StoredRun, labels: Sequence[str]) -> str:
    """Runs from left to right: what was there before, what each fetched, what it left; ``labels`` go below them."""
    most = max((run.document["planned"] or 0 for run in runs), default=0) or 1
    width = len(runs) * (COLUMN + GAP) + GAP
    columns = [
        _column(run, GAP + i * (COLUMN + GAP), most, is_chosen=run is chosen, label=label)
        for i, (run, label) in enumerate(zip(runs, labels, strict=True))
    ]
    base = HEAD + HEIGHT
    return (
        f'<svg class="runs" width="{width}" height="{base + FOOT}" viewBox="0 0 {width} {base + FOOT}" role="img" '
        f'aria-label="Runs of this cache">{"".join(columns)}'
        f'<line class="axis" x1="0" x2="{width}" y1="{base}" y2="{base}"/></svg>'
    )


def _column(run: StoredRun, x: int, most: int, *, is_chosen: bool, label: str) -> str:
    document = run.document
    base = HEAD + HEIGHT
    middle = x + COLUMN / 2
    text = f'<text class="{"chosen" if is_chosen else ""}" x="{middle}" y="{base + 15}">{run.number}</text>'
    text += f'<text class="small" x="{middle}" y="{base + 29}">{escape(label)}</text>'
    parts: list[tuple[str, int]]
    if document["fetched"] is None:
        parts = [(state, document[state] or 0) for state in STATES]
    else:
        before = document["stored"] + document["unchanged"] - document["fetched"]
        parts = [("kept", max(0, before)), ("fetched", document["fetched"])]
        parts += [(state, document[state]) for state in ("absent", "failed", "pending")]
    y = float(base)
    drawn = []
    for name, number in parts:
        if number:
            high = max(2.0, HEIGHT * number / most)
            y = max(float(HEAD), y - high)
            drawn.append(
                f'<rect class="{name}" x="{x}" y="{y:.2f}" width="{COLUMN}" height="{high:.2f}">'
                f"<title>run {run.number}: {number:,} {name}</title></rect>"
            )
    if not run.did_end:
        drawn.append(
            f'<text class="alarm" x="{middle}" y="{y - 5:.2f}">✕<title>run {run.number} did not end</title></text>'
        )
    return f"<g>{''.join(drawn)}{text}</g>"
