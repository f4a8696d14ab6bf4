"""File names that every system takes, and no two of which any system takes for one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

MAX_NAME_BYTES = 180
"""File systems take 255 (bytes of UTF-8, or UTF-16 units); ``-12.tpkx.work.ledger-journal`` and the like need room."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]')
"""Windows' reserved characters, controls, line and paragraph separators, bidi overrides, lone surrogates."""

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])[ ]*(\.|$)", re.IGNORECASE)
"""Windows' device names, with any extension."""


def safe_name(text: str) -> str:
    """A file name for ``text`` that every file system takes, at most MAX_NAME_BYTES long; its own result stays so."""
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", text)).strip()
    if name.startswith("."):
        name = "_" + name.lstrip(".")
    if _RESERVED.match(name):
        name = "_" + name
    name = re.sub(r"[.\s]+$", "", name.encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore"))
    return name or "unnamed"


def unique_names(names: Sequence[str]) -> list[str]:
    """Safe names for all of them, none equal to another where case does not count: repeated ones get ``-2``, ``-3`` ...

    The first of its kind keeps its name, whatever comes before it.
    """
    safe = [safe_name(name) for name in names]
    wanted = {_folded(name) for name in safe}
    taken: set[str] = set()
    result: list[str] = []
    for name in safe:
        choice, number = name, 1
        while _folded(choice) in taken or (number > 1 and _folded(choice) in wanted):
            number += 1
            choice = f"{name}-{number}"
        taken.add(_folded(choice))
        result.append(choice)
    return result


def _folded(name: str) -> str:
    """Equal for names that some file system takes for one: no case, no form of accents, no invisible characters (HFS+
    passes over joiners and marks of direction when it compares)."""
    seen = "".join(letter for letter in unicodedata.normalize("NFD", name) if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFC", seen.casefold())
