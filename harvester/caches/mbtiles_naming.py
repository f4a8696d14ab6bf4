"""Which id a new picture gets in a shared MBTiles schema: the next number, or a hash as the file's others have."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import xxhash

from harvester.caches.mbtiles_schema import Schema
from harvester.database import Database

CHUNK = 400
"""Values in one query; SQLite takes 32,766, and statements of this length are still quick to compile."""

LARGEST = (1 << 63) - 1

ROOM = 1 << 40
"""Numbers that must be free above the largest id. Where ids are hashes there may be fewer: then they go below 0."""

Id = str | int
Hash = Callable[[bytes], str]
T = TypeVar("T")


def md5_id(body: bytes) -> str:
    """MD5 in upper-case hex, as MapLibre's ``mbtiles`` writes and checks it."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest().upper()


def lower_md5_id(body: bytes) -> str:
    """The same in lower case, as tilelive writes it."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def next_name(taken: str) -> str:
    """The id to try where another picture has the one its hash gives."""
    stem, _, number = taken.partition("-")
    return f"{stem}-{int(number or 0) + 1}"


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """Lists of at most ``CHUNK`` values."""
    iterator = iter(values)
    while part := list(islice(iterator, CHUNK)):
        yield part


class Naming:
    """The ids of new pictures, inside the caller's transaction. After one that failed it is to be made anew."""

    def __init__(self, database: Database, schema: Schema) -> None:
        self._database = database
        self._schema = schema
        self._next: int | None = None
        """The next number; where ids are text, the rowid that SQLite will give next."""
        self._step = 1
        self._hash: Hash = xxhash.xxh3_128_hexdigest

    async def names(self, bodies: Sequence[bytes]) -> tuple[list[Id], list[int]]:
        """Id and place (harvester/caches/mbtiles_index.py) of each of these new pictures, to be inserted in order."""
        if self._next is None:
            await (self._begin_numbers() if self._schema.id_is_number else self._begin_text())
        assert self._next is not None
        places = list(range(self._next, self._next + self._step * len(bodies), self._step))
        ids: list[Id] = [*places] if self._schema.id_is_number else [*await self._texts(bodies)]
        self._next += self._step * len(bodies)
        return ids, places

    async def _begin_numbers(self) -> None:
        joint, pictures = self._schema.id_column, self._schema.pictures
        sql = f"SELECT max({joint}), min({joint}) FROM {pictures}"
        ((high, low),) = await self._database.execute(sql)
        if not isinstance(high, int | None) or not isinstance(low, int | None):
            # Text in a column of numbers counts as more than any number.
            ((high, low),) = await self._database.execute(f"{sql} WHERE typeof({joint}) = 'integer'")
        self._next, self._step = max(high or 0, 0) + 1, 1
        if self._next > LARGEST - ROOM:
            self._next, self._step = min(low or 0, 0) - 1, -1

    async def _begin_text(self) -> None:
        joint, pictures = self._schema.id_column, self._schema.pictures
        ((last,),) = await self._database.execute(f"SELECT max(rowid) FROM {pictures}")
        self._next = (last or 0) + 1
        for name, body in await self._database.execute(f"SELECT {joint}, tile_data FROM {pictures} LIMIT 1"):
            for hashing in (md5_id, lower_md5_id):
                if isinstance(body, bytes) and hashing(body) == name:
                    self._hash = hashing

    async def _texts(self, bodies: Sequence[bytes]) -> list[str]:
        joint, pictures = self._schema.id_column, self._schema.pictures
        names = [self._hash(body) for body in bodies]
        given: set[str] = set()
        for part in chunks(range(len(names))):
            unsettled = part
            while unsettled:
                tried = list(dict.fromkeys(names[at] for at in unsettled))
                sql = f"SELECT {joint} FROM {pictures} WHERE {joint} IN ({','.join('?' * len(tried))})"
                taken = {name for (name,) in await self._database.execute(sql, tried)}
                clashing: list[int] = []
                for at in unsettled:
                    if names[at] in taken or names[at] in given:
                        names[at] = next_name(names[at])
                        clashing.append(at)
                    else:
                        given.add(names[at])
                unsettled = clashing
        return names
