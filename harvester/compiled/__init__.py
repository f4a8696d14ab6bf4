"""The hot path compiled ahead of time, where somebody has done that (``make compiled``).

mypyc makes C extensions of the very sources that lie here: the same steps, an eighth less CPU for a tile. They are
used only if they were made of exactly these sources, by this Python, for this machine; else, and where the environment
says ``HARVESTER_COMPILED=0``, the sources run as they are.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MODULES = (
    "harvester.engine.asking",
    "harvester.engine.feed",
    "harvester.engine.flow",
    "harvester.engine.repeats",
    "harvester.engine.sharing",
    "harvester.engine.writer",
    "harvester.pacing.pacer",
    "harvester.pacing.refusals",
    "harvester.payload.ends",
    "harvester.payload.jpeg",
    "harvester.payload.judge",
    "harvester.payload.png",
    "harvester.sources.arcgis",
    "harvester.sources.vector",
    "harvester.transport.alarm",
    "harvester.transport.deadlines",
    "harvester.transport.head",
    "harvester.transport.lane",
    "harvester.transport.lanes",
    "harvester.transport.pieces",
    "harvester.transport.route",
    "harvester.transport.sending",
)
"""What runs for every tile, but for the writers: those work on whole batches."""

GROUP = "harvester_hot"
"""All of them call each other as C functions, so they are one library, which each of them loads."""

VARIABLE = "HARVESTER_COMPILED"

RECORD = "made-of.txt"
"""Checksums of the sources, a line each; written when all the rest is there."""

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(HERE)


def folder() -> str:
    """Where the extensions for this Python and machine lie."""
    return os.path.join(HERE, "made", EXTENSION_SUFFIXES[0].strip("."))


def source_of(module: str) -> str:
    """A module's source file."""
    return os.path.join(PACKAGE, *module.split(".")[1:]) + ".py"


def sums() -> str:
    """What ``RECORD`` says if it is of the sources that lie here."""
    import zlib

    lines = []
    for module in MODULES:
        with open(source_of(module), "rb") as file:
            lines.append(f"{zlib.crc32(file.read()):08x} {module}\n")
    return "".join(lines)


def is_fresh() -> bool:
    """True where there are extensions, of the sources that lie here."""
    try:
        with open(os.path.join(folder(), RECORD), encoding="ascii") as file:
            return file.read() == sums()
    except (OSError, ValueError):
        return False


def use(environ: Mapping[str, str]) -> bool:
    """Let the compiled modules be imported in place of the sources, if they may be; True then."""
    where = folder()
    fresh = environ.get(VARIABLE) != "0" and is_fresh()
    if fresh and in_use() is None:
        names = (*MODULES, f"{GROUP}__mypyc")
        files = {name: os.path.join(where, name + EXTENSION_SUFFIXES[0]) for name in names}
        sys.meta_path.insert(0, Compiled(files))
    return fresh


def in_use() -> Compiled | None:
    """What brings the compiled modules; None where the sources run."""
    return next((finder for finder in sys.meta_path if isinstance(finder, Compiled)), None)


class Compiled:
    """Finds the extensions: a ``MetaPathFinder`` without ``importlib.abc``, which every start would pay for."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """importlib: where a module lies; None for all others."""
        file = self._files.get(fullname)
        if file is None:
            return None
        spec = ModuleSpec(fullname, ExtensionFileLoader(fullname, file), origin=file)
        spec.has_location = True
        return spec
