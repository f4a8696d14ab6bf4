"""Is a value of a script's table what its key wants? Said in the words of whoever writes TOML."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from harvester.errors import UsageError


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names what is known, or the one that was most likely meant."""
    names = list(known)
    close = get_close_matches(word, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(names)}"


def require_kinds(table: object, kinds: Mapping[str, str], where: str, known: Iterable[str] | None = None) -> None:
    """Check keys and values of a table; ``kinds`` are the annotations of its fields. Raises UsageError by key."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} is no table", hint=f"Write [{where}] on a line of its own, and its keys below.")
    for key, value in table.items():
        if key not in kinds:
            raise UsageError(f"{where}: unknown key {key!r}", hint=nearest(key, known or kinds))
        wanted = _KINDS.get(kinds[key])
        if wanted is not None and not wanted[0](value):
            raise UsageError(f"{where}: {key} = {value!r:.60}", hint=f"{key} is {wanted[1]}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "str": (lambda value: isinstance(value, str) or _is_whole(value), "a text in quotes"),
    "int": (_is_whole, "a whole number"),
    "int | None": (_is_whole, "a whole number"),
    "float": (_is_number, "a number"),
    "float | None": (_is_number, "a number"),
    "float | str | None": (lambda value: isinstance(value, str) or _is_number(value), "a number or a text in quotes"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "tuple[str, ...]": (_is_texts, 'a list of texts, such as ["3/2/*"]'),
    "set[str]": (_is_texts, 'a list of texts, such as ["one"]'),
    "Mapping[str, str]": (
        lambda value: isinstance(value, Mapping) and all(isinstance(item, str) for item in value.values()),
        'a table of texts, such as { "X-Name" = "value" }',
    ),
}
"""By a field's annotation: what its value may be, and how that is said."""
