"""What a run that died left on the disk, judged by reading it as anybody would: one word for each kind of wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from harvester.caches.open import is_empty_or_missing, open_cache
from harvester.edges import State
from harvester.errors import CacheError
from harvester.ledger import read_ledger
from harvester.tiling.tile import Tile

Bodies = Callable[[Tile], Sequence[bytes]]
"""What a tile may be, in the order of the contents that the service had one after the other."""


def held(path: Path) -> dict[Tile, bytes]:
    """Every tile that can be read under this name; nothing where there is no cache yet. Each is there once."""
    if is_empty_or_missing(path):
        return {}
    with open_cache(path) as cache:
        pairs = [pair for level in cache.levels() for key in cache.blocks(level) for pair in cache.tiles(key)]
    found = dict(pairs)
    assert len(found) == len(pairs), f"{path} has a tile twice"
    return found


def ledger_states(path: Path) -> dict[Tile, State]:
    """Every planned tile of a ledger; nothing where there is no ledger yet."""
    if is_empty_or_missing(path):
        return {}
    with read_ledger(path) as ledger:
        return {
            key.tile(int(index)): State(int(states.ravel()[index]))
            for key, states in ledger.blocks()
            for index in states.ravel().nonzero()[0]
        }


def swap_is_due(out: Path) -> bool:
    """The replacement is whole and waits for its name: the next start finishes that before it looks at anything."""
    path = out.with_name(out.name + ".new.ledger")
    if is_empty_or_missing(path):
        return False
    try:
        with read_ledger(path) as ledger:
            return bool(ledger.meta("swapping"))
    except CacheError:
        return False


def integrity(path: Path) -> str:
    """SQLite's own ``integrity_check``; ``ok`` for what is no database."""
    if not path.is_file() or path.stat().st_size == 0 or path.read_bytes()[:15] != b"SQLite format 3":
        return "ok"
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)
    finally:
        connection.close()


def faults(out: Path, bodies: Bodies, *, promised: Collection[Tile] = (), mixed: bool = False) -> Iterator[str]:
    """What is wrong with a cache and its ledger as they were left; nothing where all is as it must be.

    ``promised``: tiles that must be there. ``mixed``: tiles of several contents of the service may be there at once, as
    after a merge; otherwise all are of one.
    """
    ledger, work = (out.with_name(out.name + end) for end in (".ledger", ".work"))
    try:
        tiles, states, collected = held(out), ledger_states(ledger), held(work)
    except CacheError as error:
        yield f"unreadable ({error.code})"
        return
    # Only now: it takes back what was left half done, as readers must do for themselves.
    for path in (out, ledger):
        if (found := integrity(path)) != "ok":
            yield f"integrity of {path.name}: {found}"
            return
    contents = {bodies(tile).index(body) if body in bodies(tile) else -1 for tile, body in tiles.items()}
    if -1 in contents or any(body not in bodies(tile) for tile, body in collected.items()):
        yield "torn"
    if len(contents) > 1 and not mixed:
        yield "mixture"
    if swap_is_due(out):
        return
    if any(state is State.STORED and tile not in tiles and tile not in collected for tile, state in states.items()):
        yield "lost"
    if any(tile not in tiles for tile in promised):
        yield "broken promise"
