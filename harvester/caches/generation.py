"""The stamp of a cache's generation: a word that changes with every change of ours, and that no two contents share.

It is random. Where SOURCE_DATE_EPOCH is set (reproducible-builds.org) it is the hash of the stamp before, and of what
was changed: so the same tiles written in the same batches leave the same bytes, and other tiles another stamp. A file
that someone else wrote, or wrote to, has no stamp that says what is in it; then it is random all the same.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence

import xxhash

VARIABLE = "SOURCE_DATE_EPOCH"

SEEN = "+"
"""In the stamp of a file that someone else wrote to since, before its change counter."""


class Generation:
    """Stamps for one cache that is being written."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._is_steady = bool(environment.get(VARIABLE))

    def after(
        self,
        before: str,
        rows: Iterable[tuple[str, Mapping[tuple[int, int, int], bytes]]] = (),
        gone: Iterable[tuple[str, Sequence[tuple[int, int, int]]]] = (),
    ) -> str:
        """The stamp when these tiles of these tables were stored and taken out; ``before`` is "" for a new file."""
        if not self._is_steady or SEEN in before:
            return secrets.token_hex(8)
        digest = xxhash.xxh3_128(before.encode())
        for table, tiles in rows:
            digest.update(f"\nstored {table}".encode())
            for address, body in tiles.items():
                digest.update(f"\n{address} {len(body)}\n".encode())
                digest.update(body)
        for table, addresses in gone:
            digest.update(f"\ngone {table} {list(addresses)}".encode())
        return digest.hexdigest()
