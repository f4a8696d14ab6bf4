"""What is kept of a run: one JSON file a group, the pictures, and the table in README.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Line
from benchmarks.plots import draw

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
README = FOLDER / "README.md"

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


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
    text = readme.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme.name} has no place for the table: {BEGIN} ... {END}")
    readme.write_text("\n".join((head + BEGIN, *rows, END + tail)), encoding="utf-8")


def number(value: float) -> str:
    """Three or four digits, those that matter."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
