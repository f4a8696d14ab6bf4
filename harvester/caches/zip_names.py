"""Which names the entries of a zip archive may have: those that every system can unpack, each into a file of its own.

Source: PKWARE APPNOTE 6.3, 4.4.17: no drive and no leading slash, and forward slashes only.
"""

from __future__ import annotations

import re
from pathlib import Path

from harvester.errors import CacheError

ORIGIN = "Get the package from its origin again."
RENAME = "Give it another name in the package, or take it out; then run the same command again."
RENAME_ONE = "Give one of the two another name in the package, or take it out; then run the same command again."

_SHOWN = 80
_DRIVE = re.compile(r"[A-Za-z]:")


def refused(path: Path, what: str, hint: str = ORIGIN) -> CacheError:
    """The CacheError for an archive that can't be used."""
    return CacheError(f"cannot read {path}: {what}", hint=hint, code="damaged")


class Names:
    """The names that an archive's entries have so far, from the last to the first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken: dict[str, str] = {}

    def add(self, name: str) -> None:
        """Raises CacheError, saying what is wrong, for a name that can't be unpacked, and one that is taken."""
        self._require_inside(name)
        other = self._taken.get(name.lower())
        if other is None:
            self._taken[name.lower()] = name
            return
        if other == name:
            raise refused(self._path, f"it has two entries named {name[:_SHOWN]!r}")
        raise refused(
            self._path,
            f"the names of its entries {name[:_SHOWN]!r} and {other[:_SHOWN]!r} differ by upper and lower case only,"
            " and Windows and macOS have room for one of them",
            RENAME_ONE,
        )

    def _require_inside(self, name: str) -> None:
        shown, slashed = name[:_SHOWN], name.replace("\\", "/")
        if not name:
            raise refused(self._path, "an entry has no name")
        if slashed.startswith("/") or _DRIVE.match(name) or ".." in slashed.split("/") or "\0" in name:
            raise refused(self._path, f"the entry {shown!r} leads out of a folder")
        for sign, what in (("\\", "a backslash"), (":", "a colon")):
            if sign in name:
                raise refused(self._path, f"the entry {shown!r} has {what} in its name", RENAME)
        parts = name.rstrip("/").split("/")
        if "" in parts:
            raise refused(self._path, f"the entry {shown!r} has an empty part in its name", RENAME)
        if "." in parts:
            raise refused(self._path, f"the entry {shown!r} has a part '.' in its name", RENAME)
