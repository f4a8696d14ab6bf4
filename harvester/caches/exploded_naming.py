"""How an exploded cache calls its folders and files: level in decimal, two digits; row and column in hex, eight."""

from __future__ import annotations

import re

from harvester.caches import bundle_v2

_LIKE_LEVEL, _LIKE_COLUMN = re.compile(r"[Ll][+-]?[0-9]+"), re.compile(r"[Cc][+-]?[0-9A-Fa-f]+")
_HEX = re.compile(r"[0-9a-f]{8}|[1-9a-f][0-9a-f]{8,11}")


class ExplodedNaming:
    """``Lnn/Rxxxxxxxx/Cxxxxxxxx``."""

    row_outer = True

    def level(self, level: int) -> str:
        """The name of a level's folder."""
        return bundle_v2.level_folder(level)

    def outer(self, number: int) -> str:
        """The name of the folder within a level."""
        return f"R{number:08x}"

    def inner(self, number: int) -> str:
        """The name of a tile's file."""
        return f"C{number:08x}"

    def size(self, level: int) -> int | None:
        """Rows, and columns, of a level: no scheme has an end."""
        return None

    def parse_level(self, name: str) -> int | None:
        """The level that a folder's name means; None for another name."""
        level = bundle_v2.parse_level_folder(name)
        return level if level is not None and self.level(level) == name else None

    def parse_outer(self, name: str) -> int | None:
        """The number that the name of an outer folder means; None for another name."""
        return int(name[1:], 16) if name[:1] == "R" and _HEX.fullmatch(name, 1) else None

    def parse_inner(self, name: str) -> int | None:
        """The number that a file's name means; None for another name."""
        return int(name[1:], 16) if name[:1] == "C" and _HEX.fullmatch(name, 1) else None

    def is_like_level(self, name: str) -> bool:
        """``L`` and a number, in either case and padded as it may be."""
        return _LIKE_LEVEL.fullmatch(name) is not None

    def is_like_inner(self, name: str) -> bool:
        """``C`` and a number in hex, in either case and padded as it may be."""
        return _LIKE_COLUMN.fullmatch(name) is not None
