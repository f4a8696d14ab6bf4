"""What cannot be read of a cache: said before anything is made of it, and never left out in silence."""

from __future__ import annotations

from collections.abc import Iterator

from harvester.edges import CacheReader, Damage
from harvester.errors import CacheError

HINT = "harvester verify lists what is damaged; a run of the same job mends it, or make the cache anew."


def lost_in(reader: CacheReader, path: str) -> Iterator[Damage]:
    """The tiles that ``reader`` leaves out because they are damaged. Raises CacheError where more than tiles is."""
    lost = getattr(reader, "lost", None)
    for damage in () if lost is None else lost():
        if damage.tile is None:
            raise CacheError(f"{path} is damaged: {damage.where}: {damage.what}", hint=HINT, code="damaged")
        yield damage


def require_whole(reader: CacheReader, path: str) -> None:
    """Raises CacheError where anything is left out: what is made of such a cache would take it for deleted."""
    for damage in lost_in(reader, path):
        message = f"{path} is damaged: {damage.where}: tile {damage.tile}: {damage.what}"
        raise CacheError(message, hint=HINT, code="damaged")
