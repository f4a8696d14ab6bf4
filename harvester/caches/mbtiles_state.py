"""What an MBTiles file remembers of the last transaction that was ours, so that it is known when another wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """What the file remembers of our last transaction, as JSON in one metadata row."""

    stamp: str
    """New with every transaction that touches tiles (harvester/caches/generation.py)."""
    changes: int
    """The file's change counter after that transaction: another value there means that someone else wrote since."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Tiles written, by kind."""
    unused: bool = False
    """There may be pictures that no tile uses."""
    hashed: str = ""
    """The stamp that ``agg_tiles_hash`` was computed at."""
    finished: str = ""
    """The stamp that bounds and zooms were computed at."""
    hashes: int | None = None
    """Entries of the tables of hashes (harvester/caches/mbtiles_index.py); None where they do not say of every picture
    where it is."""
    saved: int | None = None
    """Bytes of tiles that are stored as another tile's; None where nobody counted."""

    @classmethod
    def read(cls, text: str) -> FileState:
        """What a row holds; a new state where it is not ours to read."""
        try:
            row = json.loads(text)
            return cls(
                stamp=str(row["stamp"]),
                changes=int(row["changes"]),
                kinds={str(name): int(count) for name, count in row["kinds"].items()},
                unused=bool(row["unused"]),
                hashed=str(row["hashed"]),
                finished=str(row["finished"]),
                hashes=None if row.get("hashes") is None else int(row["hashes"]),
                saved=None if row.get("saved") is None else int(row["saved"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return cls(stamp="", changes=-1)

    def text(self) -> str:
        """The row."""
        return json.dumps({**asdict(self), "kinds": dict(self.kinds)}, sort_keys=True)
