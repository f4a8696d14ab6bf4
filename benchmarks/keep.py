"""What is kept of a run: one JSON file a group, the pictures, and the table in README.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Line
from benchmarks.plots import draw

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
README = FOLDER / "README.md"

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


PARTS = (
    ("fetching: sockets, HTTP, deadlines", "transport.lanes", 100.0),
    ("saying what to ask", "source.request", 1.0),
    ("judging the answer, every byte", "source.judge", 1.0),
    ("engine: flow, pacing, feed, batches, tally", "engine.alone", 1.0),
    ("MBTiles writer, durable", "mbtiles.15000.flat", 1.0),
    ("ledger, durable", "ledger.record", 1.0),
)
"""Where the CPU of one tile goes: what it is, the line that says it, and microseconds a unit of that line."""

WHOLE = ("a harvest into MBTiles", "end_to_end.mbtiles", 100.0)


def keep(group: str, measured: dict[str, object]) -> None:
    """Write what a group measured, in place of what it measured before."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{group}.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


def tell(groups: Sequence[str], results: Path = RESULTS, readme: Path = README) -> None:
    """Draw the pictures and put the table of all that is kept, by the order of the groups, into the README."""
    draw(results)
    lines = [
        Line(str(line["name"]), str(line["unit"]), [line["min"], line["median"], line["max"]])
        for group in groups
        if (results / f"{group}.json").is_file()
        for line in json.loads((results / f"{group}.json").read_text(encoding="utf-8"))["lines"]
    ]
    rows = ["| | median | min - max | unit |", "|---|---:|---:|---|"]
    rows += [
        f"| {line.name} | {number(line.median)} | {number(line.low)} - {number(line.high)} | {line.unit} |"
        for line in lines
    ]
    rows = [*shares({line.name: line.median for line in lines}), *rows]
    text = readme.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme.name} has no place for the table: {BEGIN} ... {END}")
    readme.write_text("\n".join((head + BEGIN, *rows, END + tail)), encoding="utf-8")


def shares(medians: Mapping[str, float]) -> list[str]:
    """The parts of one tile's CPU, each measured alone, and what the whole run takes beside them."""
    if any(name not in medians for _, name, _ in (*PARTS, WHOLE)):
        return []
    parts = [(what, medians[name] * factor) for what, name, factor in PARTS]
    whole = medians[WHOLE[1]] * WHOLE[2]
    parts.append(("opening, planning, closing; parts in each other's way", whole - sum(spent for _, spent in parts)))
    rows = ["| one tile of 15 KB | CPU, us | |", "|---|---:|---:|"]
    rows += [f"| {what} | {spent:.1f} | {spent / whole:.0%} |" for what, spent in parts]
    return [*rows, f"| **{WHOLE[0]}** | **{whole:.1f}** | |", ""]


def number(value: float) -> str:
    """Three or four digits, those that matter."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
