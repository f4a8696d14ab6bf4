"""What budgets.toml says: one number each that must hold."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

BUDGETS = Path(__file__).parent / "budgets.toml"

DIRECTIONS = ("at least", "at most")


class BudgetError(ValueError):
    """budgets.toml is wrong, or names what nothing measures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One number that must hold. ``goal``: not reached yet; it is reported, and doesn't fail. ``wall``: it depends on
    the wall clock, so it is judged only where the machine had nothing else to do when the gate began."""

    name: str
    must: float
    stretch: float
    direction: str
    measures: str
    goal: bool
    wall: bool = False

    @property
    def group(self) -> str:
        """The group whose rounds read it."""
        return self.name.partition(".")[0]

    def standing(self, value: float) -> float:
        """How far beyond ``must``: 1 just holds, 2 is twice as good, whichever way is better."""
        return value / self.must if self.direction == "at least" else self.must / value

    def verdict(self, value: float, *, busy: bool = False) -> str:
        """In a word, or two."""
        if self.standing(value) >= self.standing(self.stretch):
            return "stretch"
        if self.standing(value) >= 1:
            return "holds"
        if busy and self.wall:
            return "busy machine"
        return "not yet" if self.goal else "MISSED"


def read_budgets(path: Path) -> list[Budget]:
    """The budgets, then the goals. Raises BudgetError for a wrong entry."""
    tables = tomllib.loads(path.read_text())
    if unknown := tables.keys() - {"budget", "goal"}:
        raise BudgetError(f"{path.name}: unknown table {', '.join(sorted(unknown))}")
    found = []
    for kind in ("budget", "goal"):
        for entry in tables.get(kind, []):
            try:
                budget = Budget(**entry, goal=kind == "goal")
            except TypeError as error:
                raise BudgetError(f"{path.name}, {entry.get('name', '?')}: {error}") from error
            if budget.direction not in DIRECTIONS:
                raise BudgetError(f"{path.name}, {budget.name}: direction is one of {', '.join(DIRECTIONS)}")
            if budget.must <= 0 or budget.standing(budget.stretch) < 1:
                raise BudgetError(f"{path.name}, {budget.name}: the stretch is easier than the must")
            found.append(budget)
    names = [budget.name for budget in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BudgetError(f"{path.name}: twice: {', '.join(sorted(twice))}")
    return found
