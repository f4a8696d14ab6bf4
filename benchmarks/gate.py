"""``python -m benchmarks.gate``: do the ratios of budgets.toml hold? Exit 1 when one doesn't."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from benchmarks.budgets import BUDGETS, Budget, BudgetError, read_budgets
from benchmarks.measure import Line
from benchmarks.rounds import at_least_one, chosen, run_groups
from benchmarks.suite import GROUPS

RUNS = 5
"""A median of fewer says nothing on a shared machine."""

BUSY_SHARE = 0.5
"""Of the cores: with more of them taken, one of server and client waits for its turn."""


def is_busy() -> bool:
    """True when others keep more than half of the machine's cores at work (where the system tells)."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > BUSY_SHARE * (os.cpu_count() or 1)


def missed(budgets: Sequence[Budget], lines: Mapping[str, Line], *, busy: bool = False) -> list[Budget]:
    """Budgets whose median misses its ``must``. Raises BudgetError for one that nothing measured."""
    for budget in budgets:
        if budget.name not in lines:
            raise BudgetError(f"{budget.name}: nothing measures it")
    judged = [budget for budget in budgets if not budget.goal and not (busy and budget.wall)]
    return [budget for budget in judged if budget.standing(lines[budget.name].median) < 1]


def report(budgets: Sequence[Budget], lines: Mapping[str, Line], *, busy: bool = False) -> str:
    """One line a budget: name, median with its spread, must, stretch, verdict."""
    rows = [("", "median", "spread", "", "must", "stretch", "")]
    for budget in budgets:
        line = lines[budget.name]
        rows.append(
            (
                budget.name,
                f"{line.median:.3g}",
                f"{line.low:.3g}-{line.high:.3g}",
                budget.direction,
                f"{budget.must:g}",
                f"{budget.stretch:g}",
                budget.verdict(line.median, busy=busy),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description="Do the ratios hold?")
    parser.add_argument(
        "names", nargs="*", metavar="GROUP", help="only these groups (default: all with a budget but the long ones)"
    )
    parser.add_argument("--runs", type=at_least_one, default=RUNS, help=f"rounds of each group (default {RUNS})")
    options = parser.parse_args(argv)
    names = set(options.names) or {group.name for group in GROUPS if not group.long}
    held = read_budgets(BUDGETS)
    if wrong := sorted(set(options.names) - {one.group for one in held}):
        there = ", ".join(dict.fromkeys(one.group for one in held))
        parser.error(f"no budget is in {', '.join(wrong)}; there are budgets in {there}")
    budgets = [one for one in held if one.group in names]
    busy = is_busy()
    if busy and any(budget.wall for budget in budgets):
        print("the machine is busy: what depends on the wall clock is measured and not judged", file=sys.stderr)
    lines = run_groups(chosen(list(dict.fromkeys(budget.group for budget in budgets))), options.runs)
    if doubtful := missed(budgets, lines, busy=busy):
        # A shared machine has bad minutes: as many rounds again, and the median of all of them decides.
        again = run_groups(chosen(list(dict.fromkeys(budget.group for budget in doubtful))), options.runs)
        for name, line in again.items():
            lines[name].values += line.values
    print(report(budgets, lines, busy=busy))
    bad = missed(budgets, lines, busy=busy)
    if bad:
        print(f"missed: {', '.join(budget.name for budget in bad)}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
