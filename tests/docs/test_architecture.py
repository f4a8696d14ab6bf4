"""ARCHITECTURE.md speaks of the tree as it is: every room is in its table, and the layers are those that are held."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")

NO_ROOMS = {"__init__.py", "__main__.py", "version.py"}


def named() -> list[str]:
    table = TEXT.partition("| room |")[2].partition("\n\n")[0]
    return [name for line in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", line.split("|")[1])]


def rooms() -> list[str]:
    found = [path.name for path in (ROOT / "harvester").glob("*.py")]
    return found + [f"{path.parent.name}/" for path in (ROOT / "harvester").glob("*/__init__.py")]


def test_every_room_is_in_the_table() -> None:
    assert [room for room in rooms() if room not in NO_ROOMS and not any(fnmatch(room, name) for name in named())] == []


def test_the_table_names_no_room_that_is_not_there() -> None:
    assert [name for name in named() if not any(fnmatch(room, name) for room in rooms())] == []


def test_the_modules_that_the_table_names_are_in_their_rooms() -> None:
    table = TEXT.partition("| room |")[2].partition("\n\n")[0]
    rows = [line.split("|", 2)[1:] for line in table.splitlines()[2:]]
    named = [
        (room, name) for first, text in rows for room in re.findall(r"`(\w+)/`", first)
        for name in re.findall(r"`([a-z_]+)(?:\.py)?`", text)
    ]  # fmt: skip
    assert len(named) > 50
    assert [found for found in named if not (ROOT / "harvester" / found[0] / f"{found[1]}.py").is_file()] == []


def test_the_layers_are_those_that_the_linter_holds() -> None:
    text = TEXT.partition("## Who may import whom")[2].split("```")[1]
    told = [re.split(r"[:|]", re.sub(r"\s", "", layer)) for layer in text.split(">")]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    held = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert told == [re.split(r"[:|]", re.sub(r"[\s()]", "", layer)) for layer in held]
