"""Strict reading of JSON documents that strangers wrote: each value checked, each error with the name of its field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from harvester.errors import SourceError

DAMAGED_HINT = "The service's document is not as it should be: tell its owner."

MAX_TEXT = 20_000
"""Characters kept of a description or attribution."""


class Fields:
    """One JSON object, and where it is: ``tileInfo.lods[3]``. Readers raise SourceError, naming document and field."""

    def __init__(self, value: object, document: str, where: str = "") -> None:
        if not isinstance(value, Mapping):
            raise SourceError(
                f"{document}: {where or 'the document'} is {_words(value)}, not an object", hint=DAMAGED_HINT
            )
        self.values: Mapping[str, Any] = value
        self._document = document
        self._where = where

    def path(self, name: str) -> str:
        """The full name of a field."""
        return f"{self._where}.{name}" if self._where else name

    def place(self, name: str) -> str:
        """Document and field, as messages begin."""
        return f"{self._document}: {self.path(name)}"

    def error(self, name: str, what: str, *, hint: str = DAMAGED_HINT) -> SourceError:
        """An error about one field."""
        return SourceError(f"{self.place(name)} {what}", hint=hint)

    def get(self, name: str) -> Any:
        """The value as it is; None where there is none."""
        return self.values.get(name)

    def child(self, name: str) -> Fields:
        """An object."""
        return Fields(self.get(name), self._document, self.path(name))

    def children(self, name: str, most: int) -> list[Fields]:
        """A list of 1..most objects."""
        value = self.get(name)
        if not isinstance(value, list):
            raise self.error(name, f"is {_words(value)}, not a list")
        if not 1 <= len(value) <= most:
            raise self.error(name, f"has {len(value)} entries, not 1 to {most}")
        return [Fields(item, self._document, f"{self.path(name)}[{index}]") for index, item in enumerate(value)]

    def number(self, name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number in low..high."""
        value = self.get(name)
        number = as_number(value)
        if number is None:
            raise self.error(name, f"is {_words(value)}, not a finite number")
        if not low <= number <= high:
            raise self.error(name, f"is {number!r}, not in {low:g} to {high:g}")
        return number

    def integer(self, name: str, *, low: int, high: int) -> int:
        """A whole number in low..high; ``256.0`` is one."""
        number = self.number(name, low=low, high=high)
        if number != int(number):
            raise self.error(name, f"is {number!r}, not a whole number")
        return int(number)

    def text(self, name: str) -> str:
        """A text, stripped; empty where there is none or where it is something else."""
        value = self.get(name)
        return value.strip()[:MAX_TEXT] if isinstance(value, str) else ""

    def flag(self, name: str) -> bool | None:
        """True or False as stated (``"true"`` too); None where nothing of the kind is."""
        value = self.get(name)
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        return value if isinstance(value, bool) else None

    def whole_or_none(self, name: str) -> int | None:
        """A whole number of 0 or more, None where there is none."""
        number = as_number(self.get(name))
        return int(number) if number is not None and number >= 0 and number == int(number) else None


def as_number(value: object) -> float | None:
    """A finite float of a JSON number; None for anything else (text, true, infinity, integers beyond floats)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _words(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return repr(value)[:60]
