"""The script of a fault server: which requests it answers wrongly, and how; the same in Python and in TOML.

A script is a seed, an optional capacity and rules. For each request the first rule that fits answers; where none fits,
the service answers as it should. Whether a rule with a ``share`` fits is drawn from seed, rule, tile and try alone, not
from the order of arrival, so two runs see the same faults::

    seed = 7

    [capacity]                   # a knee: beyond it the host is busy
    concurrent = 16              # requests being answered at one time
    rate = 200                   # requests in the last second
    beyond = "429"               # a status, or "latency"
    retry_after = 1              # with a status: seconds, "date+5" (an HTTP date), or any text as it stands
    latency = 0.05               # with "latency": seconds more for each request beyond the knee

    [[rule]]
    tiles = ["3/2/*"]            # level/row/col, * for any
    tries = "1-2"                # of the same tile, from 1
    do = "status"
    status = 503
    retry_after = 2

    [[rule]]
    share = 0.02                 # of all tile requests
    do = "reset_inside"
    at = 0.5                     # after half of the body

A rule fits when everything it names fits:

=============== ==========================================================================================
``kind``        ``tile`` (default), ``tilemap``, ``document``, ``resource``, ``token``, ``info``, ``other``, ``any``
``tiles``       list of ``level/row/col``, ``*`` for any number
``levels``      ``"3"``, ``"0-5,7"``; ``rows`` and ``cols`` likewise
``path``        a shell pattern that the path must match, such as ``*/tilemap/*``
``tries``       which tries of the same tile, from 1: ``"1-2"``, ``"3-"``
``requests``    which requests of that kind, from 1, in the order of arrival
``on_connection`` which requests of their connection, from 1: ``"2-"`` are those that reuse one
``since``, ``until`` seconds after the server's first request
``share``       0..1: drawn by seed, rule, tile and try
``times``       at most so often
=============== ==========================================================================================

What it does is ``do`` with its parameters; see ``harvester.testing.acts``, or ``--help`` of ``harvester.testing.lab``.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

from harvester.errors import UsageError
from harvester.testing.kinds import nearest, require_kinds
from harvester.testing.log import Asked

OF_HTTP = frozenset({"status", "redirect", "informational"})
"""Acts whose ``status`` is that of HTTP; ``json_error`` has ArcGIS's own codes."""

_PART = r"[0-9*?\[\]!-]+"
_TILES = re.compile(f"{_PART}/{_PART}/{_PART}|\\*")
"""Numbers, or what shell patterns make of them."""

KINDS = ("tile", "tilemap", "document", "resource", "index", "token", "info", "other", "any")

Ranges = tuple[tuple[int, int | None], ...]
"""Inclusive ranges; None: open."""


def parse_ranges(text: str | int) -> Ranges:
    """``"0-5,7,9-"`` as ranges."""
    ranges: list[tuple[int, int | None]] = []
    for part in str(text).split(","):
        first, dash, last = part.strip().partition("-")
        ranges.append((int(first), (int(last) if last.strip() else None) if dash else int(first)))
    return tuple(ranges)


def _in(ranges: Ranges, value: int) -> bool:
    return any(first <= value and (last is None or value <= last) for first, last in ranges)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When (the first block of fields) and what (``do`` and the rest); the fields are the keys of the TOML table."""

    do: str
    kind: str = "tile"
    tiles: tuple[str, ...] = ()
    levels: str = ""
    rows: str = ""
    cols: str = ""
    path: str = ""
    tries: str = ""
    requests: str = ""
    on_connection: str = ""
    since: float | None = None
    until: float | None = None
    share: float = 1.0
    times: int | None = None

    status: int = 0
    """HTTP status, or the code of an ArcGIS error in a 200."""
    retry_after: float | str | None = None
    """Seconds, ``date+5`` or ``date-5`` for an HTTP date by the server's own clock, or any text as it stands."""
    skew: float = 0.0
    """Seconds by which the server's clock (``Date`` and ``date+n``) is ahead of ours."""
    at: float = 0.5
    """Where the body is cut: a share of it below 1, else a number of bytes; 0: before its first byte."""
    seconds: float = 0.0
    """How long: a stall (0: until the client goes), the pause between drops, the delay before a late close."""
    bytes: int = 0
    """How much: bytes in a drop, in a header, in a bomb, in an endless body; 0: the act's own number."""
    delay: float = 0.0
    """Seconds before anything is answered."""
    text: str = ""
    """The body, the message of an error, or the line of garbage."""
    to: str = ""
    """Where a redirect leads: a URL, ``loop``, or ``login``."""
    width: int = 0
    height: int = 0
    """Pixels of a tile of the wrong size; 0: twice the scheme's."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """More headers of the answer."""

    def __post_init__(self) -> None:
        from harvester.testing.acts import ACTS

        if self.do not in ACTS:
            raise UsageError(f"rule: do = {self.do!r} is not known", hint=nearest(self.do, ACTS))
        if self.kind not in KINDS:
            raise UsageError(f"rule: kind = {self.kind!r} is not known", hint=nearest(self.kind, KINDS))
        if not 0 <= self.share <= 1:
            raise UsageError(f"rule: share = {self.share!r}", hint="A share is a part of the requests, from 0 to 1.")
        if self.do in OF_HTTP and self.status and not 100 <= self.status <= 599:
            raise UsageError(f"rule: status = {self.status!r}", hint="An HTTP status is a number from 100 to 599.")
        object.__setattr__(self, "tiles", tuple(self.tiles))
        for pattern in self.tiles:
            if not _TILES.fullmatch(pattern):
                raise UsageError(
                    f"rule: tiles = {pattern!r:.60} names no tile", hint='Write level/row/col, such as "3/2/*".'
                )
        for name in ("levels", "rows", "cols", "tries", "requests", "on_connection"):
            value = getattr(self, name)
            object.__setattr__(self, name, str(value) if value != "" else "")
            try:
                ranges = parse_ranges(value) if value != "" else None
            except ValueError as error:
                raise UsageError(
                    f"rule: {name} = {value!r} is not a list of ranges", hint='Write "1", "0-5,7" or "3-".'
                ) from error
            object.__setattr__(self, f"_{name}", ranges)

    def fits(self, asked: Asked, *, started: float, draw: float) -> bool:
        """Whether this rule speaks of a request; ``started``: the server's first one; ``draw``: 0..1 for ``share``."""
        if self.kind not in ("any", asked.kind):
            return False
        tile = asked.tile
        levels, rows, cols = (tile.level, tile.row, tile.col) if tile is not None else (None, None, None)
        for name, value in (
            ("_levels", levels),
            ("_rows", rows),
            ("_cols", cols),
            ("_tries", asked.try_number),
            ("_requests", asked.serial_of_kind if self.kind != "any" else asked.serial),
            ("_on_connection", asked.serial_on_connection),
        ):
            ranges: Ranges | None = getattr(self, name)
            if ranges is not None and (value is None or not _in(ranges, value)):
                return False
        if self.tiles and (tile is None or not any(fnmatchcase(str(tile), pattern) for pattern in self.tiles)):
            return False
        if self.path and not fnmatchcase(asked.path, self.path):
            return False
        passed = asked.at - started
        if (self.since is not None and passed < self.since) or (self.until is not None and passed >= self.until):
            return False
        return draw < self.share


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How much the server bears: beyond ``concurrent`` requests at a time or ``rate`` in the last second it is busy."""

    concurrent: int | None = None
    rate: int | None = None
    beyond: str = "429"
    """A status, or ``latency``."""
    retry_after: float | str | None = None
    latency: float = 0.0
    """With ``latency``: seconds more for each request beyond the knee."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "beyond", str(self.beyond))
        if self.beyond != "latency" and not (self.beyond.isdigit() and len(self.beyond) == 3):
            raise UsageError(f"capacity: beyond = {self.beyond!r}", hint='Write a status such as "429", or "latency".')


@dataclass(frozen=True, kw_only=True)
class Script:
    """A seed, a capacity and rules; the first rule that fits a request answers it."""

    rules: tuple[Rule, ...] = ()
    seed: int = 0
    capacity: Capacity | None = None
    latency: float = 0.0
    """Seconds before every tile and tilemap answer, right or wrong."""

    def draw(self, index: int, asked: Asked) -> float:
        """A number in 0..1 that depends on seed, rule, tile (or target) and try alone."""
        what = f"{self.seed}/{index}/{asked.kind}/{asked.tile or asked.target}/{asked.try_number}"
        return int.from_bytes(hashlib.blake2b(what.encode(), digest_size=8).digest(), "big") / 2**64

    @classmethod
    def from_toml(cls, text: str) -> Script:
        """Read a script, but for its ``[service]`` table. Raises UsageError with table, key and nearest known key."""
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"script: not TOML: {error}", hint="See https://toml.io.") from error
        document.pop("service", None)
        tables = document.pop("rule", [])
        if not isinstance(tables, list):
            raise UsageError(
                "script: rule is one table", hint="Write [[rule]] with two brackets: there may be several."
            )
        rules = tuple(_record(Rule, table, f"rule {index}") for index, table in enumerate(tables))
        capacity = document.pop("capacity", None)
        script: Script = _record(
            cls,
            {
                **document,
                "rules": rules,
                "capacity": None if capacity is None else _record(Capacity, capacity, "capacity"),
            },
            "script",
        )
        return script

    def to_toml(self) -> str:
        """This script as TOML; ``from_toml`` gives an equal one."""
        lines = [f"seed = {self.seed}", f"latency = {self.latency!r}"]
        if self.capacity is not None:
            lines += ["", "[capacity]", *_lines(self.capacity)]
        for rule in self.rules:
            lines += ["", "[[rule]]", *_lines(rule)]
        return "\n".join(lines) + "\n"


def _lines(record: Any) -> Iterable[str]:
    """The fields that differ from their defaults, one ``key = value`` a line."""
    plain = {item.name: item.default for item in fields(record)}
    for item in fields(record):
        value = getattr(record, item.name)
        if value is None or value == plain[item.name] or value in ((), {}):
            continue
        if isinstance(value, Mapping):
            yield f"{item.name} = {{ {', '.join(f'{_toml(k)} = {_toml(v)}' for k, v in value.items())} }}"
        else:
            yield f"{item.name} = {_toml(list(value) if isinstance(value, tuple) else value)}"


def _toml(value: object) -> str:
    """A string, number or list as TOML writes it: as JSON does, but with no surrogate pairs and no bare DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _record(cls: type[Any], table: Any, where: str) -> Any:
    kinds = {item.name: str(item.type) for item in fields(cls)}
    require_kinds(table, kinds, where, [_IN_TOML.get(name, name) for name in kinds])
    try:
        return cls(**table)
    except UsageError as error:
        raise UsageError(f"{where}:{error.message.partition(':')[2]}", hint=error.hint) from error
    except TypeError as error:
        raise UsageError(f"{where}: {error}", hint=f"Keys: {', '.join(kinds)}") from error


_IN_TOML = {"rules": "rule"}
"""Fields that TOML spells otherwise: each rule is a table ``[[rule]]``."""
