"""Tables and summaries as plain text that any console, log and mail shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harvester.wording import counted, with_detail

if TYPE_CHECKING:
    from harvester.report import Report


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, left: frozenset[int] = frozenset()) -> str:
    """A table with right-aligned columns, those in ``left`` excepted; numbers get thousands separators."""
    texts = [[_cell(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(head), *texts]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()

    return "\n".join([line(head), line(["-" * width for width in widths]), *(line(row) for row in texts)])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6f}".rstrip("0").rstrip(".")
    return str(value)


def size(number: float) -> str:
    """Bytes for a person, in powers of ten."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for a person."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def summary(report: Report) -> str:
    """A run at one glance: tiles by LOD and state, what it took, and what is missing with the way on."""
    from harvester.engine.stop import TILEMAP_UNPROVEN

    counts = report.counts
    rows = [
        [lod.level, lod.scale, *(lod.counts[i] for i in (0, 1, 3, 4, 5))] for lod in report.lods
    ] + [["all", "", *(counts[i] for i in (0, 1, 3, 4, 5))]]  # fmt: skip
    lines = [
        "",
        table(["LOD", "scale 1:", "planned", "stored", "absent", "failed", "pending"], rows),
        "",
        f"{counted(report.fetched, 'tile')} fetched, {report.kept:,} kept, {counted(report.requests, 'request')}, "
        f"{counted(report.retries, 'retry')}, {size(report.bytes)} received, took {duration(report.seconds)}",
    ]
    if report.dedup_saved:
        lines.append(f"identical tiles stored once save {size(report.dedup_saved)}")
    if report.failures:
        reasons: dict[str, int] = {}
        for tile in report.failures:
            reasons[tile.reason] = reasons.get(tile.reason, 0) + 1
        told = ", ".join(
            f"{number:,} x {reason}" for reason, number in sorted(reasons.items(), key=lambda item: -item[1])
        )
        first = report.failures[0]
        lines.append(
            f"failed: {told}; the first: {with_detail(f'{first.level}/{first.row}/{first.col}', first.detail)}"
        )
    if report.repeats:
        from harvester.report.repeated import repeated

        lines.append(repeated(report.repeats))
    if report.complete:
        lines.append(f"complete: {report.output}")
    elif report.stop is not None and not counts.failed and not counts.pending:
        lines.append(f"NOT COMPLETE: {report.stop.message}")
    else:
        is_unproven = report.stop is not None and report.stop.code == TILEMAP_UNPROVEN
        asks = "some of them first" if is_unproven else "just for those"
        lines.append(f"INCOMPLETE: {counts.failed:,} failed, {counts.pending:,} pending; the same command asks {asks}")
    return "\n".join(lines)
