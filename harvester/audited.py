"""A cache beside its ledger, as it lies on disk: what is planned, what is there, whether a run still owes a part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harvester.caches.open import FORMATS, is_empty_or_missing, no_cache, open_cache, sniff
from harvester.caches.placed import PlacedReader
from harvester.durable import behind_links
from harvester.edges import CacheReader, State, TileFormat
from harvester.errors import CacheError
from harvester.ledger import LedgerReader, read_ledger
from harvester.output import exists, file_stamp
from harvester.tiling.scheme import TilingScheme
from harvester.tiling.scheme_json import scheme_from_json
from harvester.tiling.tile import BLOCK, BlockKey, Tile
from harvester.wording import counted

if TYPE_CHECKING:
    from harvester.edges import Mask, States


class Audited:
    """A cache (or the work folder of one that is not there yet) beside its ledger, in the source's levels.

    ``out`` may lack one of the two, not both. Nothing is changed on disk.
    """

    def __init__(self, out: Path) -> None:
        self.out = out = out if out.name else out.absolute()
        beside = behind_links(out)
        self.ledger_path = beside.with_name(beside.name + ".ledger")
        self.ledger: LedgerReader | None = None
        self.reader: CacheReader | None = None
        self.placed: PlacedReader | None = None
        if self.ledger_path.exists():
            self.ledger = read_ledger(self.ledger_path)
        work = beside.with_name(beside.name + ".work")
        try:
            self.collecting = exists(work) and not self._stands_alone()
            """True where what is read is the work folder: no package was made of all that is in it, or only without
            tiles that failed."""
            held = next((path for path in (work,) * self.collecting + (out,) if _is_begun(path)), None)
            if held is None and not exists(out) and sniff(out) is not None:
                held = out  # a part of a file: FILE:TABLE
            if held is not None:
                # A work folder that has no description yet holds nothing that could be read.
                with suppress(CacheError) if held != out else _nothing():
                    self.reader = open_cache(held)
            if self.ledger is None and self.reader is None:
                error = no_cache(out)
                raise CacheError(error.message, hint=error.hint, code="missing")
            self.scheme = self._scheme()
            if self.reader is not None:
                self.placed = PlacedReader(self.reader, self.scheme)
        except BaseException:
            self.close()
            raise

    def _stands_alone(self) -> bool:
        """Does the ledger speak of this package, with nothing added since? Then the work folder is a leftover."""
        if self.ledger is None or not self.out.is_file() or self.ledger.meta("dirty"):
            return False
        return self.ledger.stamp() == file_stamp(self.out)

    @property
    def unmade(self) -> str:
        """What a reader finds in place of the package that its ledger speaks of; empty where that is made."""
        said = self.ledger.meta("format") if self.ledger is not None else None
        if not exists(self.out):
            sealed = said in FORMATS and FORMATS[said].sealed
            if self.collecting or sealed:
                return (
                    f"{self.out} is not there yet: its run was stopped before the package was made, or still makes it"
                )
        elif self.collecting and (self.ledger is None or self.ledger.meta("dirty")):
            return f"{self.out} is the one of before: a run was stopped before it was made anew, or still makes it"
        return ""

    @property
    def unlisted(self) -> str:
        """What came of the run that was to list its plan in the ledger; empty where that is done."""
        if self.ledger is None or self.ledger.is_listed:
            return ""
        return f"the plan of {self.out.name} is not listed wholly: its run was stopped at its start, or begins just now"

    @property
    def unproven(self) -> str:
        """That absent tiles may be there; empty where they were asked, or their tilemap was held against some."""
        tiles = self.ledger.unproven if self.ledger is not None else 0
        if not tiles:
            return ""
        return (
            f"of {counted(tiles, 'absent tile')} some are absent by the service's tilemap alone, which was not held "
            "against any of them: the run was stopped before that, or goes on"
        )

    def _scheme(self) -> TilingScheme:
        if self.ledger is not None and (document := self.ledger.meta("scheme")) is not None:
            return scheme_from_json(document)
        if self.reader is None:
            raise CacheError(
                f"{self.ledger_path} knows of no plan yet", hint="Run the harvest that makes it.", code="missing"
            )
        return self.reader.info.scheme

    @property
    def tile_format(self) -> TileFormat:
        """What the source says of its tiles; a cache may hold other rasters as well."""
        if self.ledger is not None and (name := self.ledger.meta("tile_format")) is not None:
            return TileFormat(name)
        return self.reader.info.tile_format if self.reader is not None else TileFormat.UNKNOWN

    def blocks(self) -> Iterator[tuple[BlockKey, States]]:
        """Planned blocks with the states that the ledger has; without a ledger, what is there is planned and stored."""
        if self.ledger is not None:
            yield from self.ledger.blocks()
            return
        assert self.reader is not None
        for level in self.reader.levels():
            for key in self.reader.blocks(level):
                states = np.zeros((BLOCK, BLOCK), dtype=np.uint8)
                states[self.reader.present(key)] = State.STORED
                yield key, states

    def present(self, key: BlockKey) -> Mask:
        """Which tiles of a block the cache holds."""
        if self.placed is None:
            return np.zeros((BLOCK, BLOCK), dtype=bool)
        return self.placed.present(key)

    def tiles(self, key: BlockKey) -> Iterator[tuple[Tile, bytes]]:
        """The tiles of a block, where it is one in the cache as well; else none: ``read`` has them one by one."""
        return iter(()) if self.placed is None else self.placed.tiles(key)

    def read(self, tile: Tile) -> bytes | None:
        """A tile's bytes by the source's level."""
        return None if self.placed is None else self.placed.read(tile)

    def close(self) -> None:
        """Release the files."""
        if self.reader is not None:
            self.reader.close()
        if self.ledger is not None:
            self.ledger.close()

    def __enter__(self) -> Audited:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _is_begun(path: Path) -> bool:
    """Does anything lie there but what a kill at the very start of a run leaves?"""
    return exists(path) and not is_empty_or_missing(path)


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None: ...
