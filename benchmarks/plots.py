"""Pictures of what was measured, as SVG: where the ratios stand, and time and memory over the size of a job."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.budgets import BUDGETS, Budget, read_budgets

WIDTH = 760
LEFT, RIGHT, TOP = 330, 60, 34
BAR, GAP = 14, 10
INK, GROUND, OURS, MUST, STRETCH = "#222", "#fff", "#3b7dd8", "#c0392b", "#2e8b57"
FONT = 'font-family="sans-serif" font-size="12"'


def draw(results: Path) -> list[Path]:
    """Draw whatever the results of the groups allow; gives the files."""
    lines = {
        str(line["name"]): line
        for path in sorted(results.glob("*.json"))
        for line in json.loads(path.read_text()).get("lines", ())  # the soak keeps none
    }
    made = []
    budgets = [budget for budget in read_budgets(BUDGETS) if budget.name in lines]
    if budgets:
        made.append(results / "ratios.svg")
        made[-1].write_text(ratios_svg(budgets, lines))
    series = {
        format: [
            (int(name.split(".")[2]), line, lines[name.removesuffix("peak") + "cpu"])
            for name, line in lines.items()
            if name.startswith(f"memory.{format}.") and name.endswith(".peak")
        ]
        for format in ("mbtiles", "compactv2")
    }
    if any(series.values()):
        made.append(results / "memory.svg")
        made[-1].write_text(memory_svg(series))
    return made


def ratios_svg(budgets: Sequence[Budget], lines: Mapping[str, Mapping[str, object]]) -> str:
    """One bar a budget, 1.0 where it just holds (logarithmic), with the spread as a whisker."""
    span = WIDTH - LEFT - RIGHT
    low, high = 1 / 8, 8.0

    def x(value: float) -> float:
        return LEFT + span * (math.log(min(max(value, low), high)) - math.log(low)) / (math.log(high) - math.log(low))

    parts = [_text(LEFT, 18, "better than must, to the right of 1 (green: stretch)")]
    for at, budget in enumerate(budgets):
        y = TOP + at * (BAR + GAP)
        line = lines[budget.name]
        median, least, most = (budget.standing(_number(line, key)) for key in ("median", "min", "max"))
        parts.append(_text(LEFT - 8, y + 12, budget.name, anchor="end"))
        start, end = sorted((x(1.0), x(median)))
        parts.append(_box(start, y, max(1.0, end - start), BAR, OURS if median >= 1 else MUST))
        parts.append(_line(x(least), y + BAR / 2, x(most), y + BAR / 2, INK))
        parts.append(_line(x(budget.standing(budget.stretch)), y, x(budget.standing(budget.stretch)), y + BAR, STRETCH))
        parts.append(_text(WIDTH - RIGHT + 6, y + 12, f"{_number(line, 'median'):.3g}"))
    height = TOP + len(budgets) * (BAR + GAP) + 8
    parts.append(_line(x(1.0), TOP - 6, x(1.0), height - 8, INK))
    return _svg(height, parts)


def memory_svg(series: Mapping[str, Sequence[tuple[int, Mapping[str, object], Mapping[str, object]]]]) -> str:
    """Peak memory and CPU of a tile over the number of tiles (logarithmic)."""
    height, base, left, gap = 260, 220, 60, 60
    half = (WIDTH - left - gap - 20) / 2
    parts: list[str] = []
    for panel, (title, pick) in enumerate((("peak memory, MB", 1), ("CPU, us a tile", 2))):
        start = left + panel * (half + gap)
        points = {name: [(n, _number(row[pick - 1], "median")) for n, *row in rows] for name, rows in series.items()}
        most = max(value for rows in points.values() for _, value in rows) * 1.1
        parts.append(_text(start, 18, title))
        parts += [_line(start, base, start + half, base, INK), _line(start, 30, start, base, INK)]
        parts += [_text(start - 6, base, "0", anchor="end"), _text(start - 6, 40, f"{most:.0f}", anchor="end")]
        for power in (4, 5, 6):
            parts.append(_text(start + half * (power - 4) / 2.2, base + 18, f"1e{power}"))
        for at, (name, rows) in enumerate(points.items()):
            colour = (OURS, STRETCH)[at % 2]
            places = [
                (start + half * (math.log10(n) - 4) / 2.2, base - (base - 30) * value / most)
                for n, value in sorted(rows)
            ]
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in places]
            parts.append(_text(start + 90 + 90 * at, 34, name, colour=colour))
    return _svg(height, parts)


def _number(line: Mapping[str, object], key: str) -> float:
    value = line[key]
    assert isinstance(value, int | float)
    return float(value)


def _svg(height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" {FONT}>'
    return "\n".join([head, _box(0, 0, WIDTH, height, GROUND), *parts, "</svg>", ""])


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="1.5"/>'
