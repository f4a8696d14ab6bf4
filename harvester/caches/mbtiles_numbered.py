"""Pictures stored once in a file that one writer makes from its first to its last tile: numbered as they come.

Ids that are hashes go everywhere into the index of pictures: with 10^7 different ones, a batch of some thousand
rewrites nearly all of its 180 MB. Numbers go to its end, whatever its size. A picture is found again by a table of a
fixed size and confirmed by its bytes; one that was not seen among the last million different ones is stored again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import xxhash

from harvester.caches.mbtiles_pictures import Id, Pictures
from harvester.caches.mbtiles_schema import Schema
from harvester.caches.remembered import REMEMBERED, Remembered
from harvester.database import Database


class NumberedPictures(Pictures):
    """``Pictures`` of a new file. Whoever adds to it later names pictures by their hash, as in any file."""

    def __init__(
        self, database: Database, schema: Schema, *, hashing: Callable[[bytes], int] = xxhash.xxh3_64_intdigest
    ) -> None:
        super().__init__(database, schema, complete=True)
        self._hashing = hashing
        self._known = Remembered(REMEMBERED)
        self._next: int | None = None

    def forget(self) -> None:
        """Remember nothing: what was remembered may be gone from the file."""
        super().forget()
        self._known = Remembered(REMEMBERED)
        self._next = None

    async def _ids(self, bodies: Iterable[bytes]) -> list[Id]:
        """The number of each picture, in order, after writing those that were not there."""
        pictures, joint = self._schema.pictures, self._schema.id_column
        if self._next is None:
            sql = f"SELECT coalesce(max({joint}), 0) + 1 FROM {pictures}"
            self._next = int((await self._database.execute(sql))[0][0])
        wanted = list(bodies)
        names = {body: self._hashing(body) for body in wanted}
        guesses: dict[bytes, int] = {}
        for body, name in names.items():
            found = self._known.find(name)
            if found is not None and found[1] == len(body):
                guesses[body] = found[0]
        there = await self._there(number for number in guesses.values() if number not in self._recent)
        numbers: dict[bytes, Id] = {}
        new: list[tuple[int, bytes]] = []
        for body, name in names.items():
            guess = guesses.get(body)
            if guess is None or (self._recent.get(guess) or there.get(guess)) != body:
                guess = self._next
                self._next += 1
                self._known.add(name, guess, len(body))
                new.append((guess, body))
            numbers[body] = guess
            self._remember(guess, body)
        await self._database.executemany(f"INSERT INTO {pictures} ({joint}, tile_data) VALUES (?, ?)", new)
        return [numbers[body] for body in wanted]
