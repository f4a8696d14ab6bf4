"""The one tiling scheme that several caches are read and written in, or the field in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harvester.caches.open import FORMATS
from harvester.caches.placed import place_levels
from harvester.edges import CacheReader
from harvester.errors import CacheError
from harvester.tiling.google import google_scheme
from harvester.tiling.scheme import TilingScheme

ORIGIN_TOLERANCE = 0.01
"""Pixels of the finest LOD by which origins may differ, as ``TilingScheme.mismatch`` has it."""


def joined(first: TilingScheme, second: TilingScheme, held: Sequence[int]) -> TilingScheme | str:
    """A scheme with the LODs of ``first`` and those that ``second`` adds, or why there is none.

    ``held``: levels of ``second`` that must find a place. Where the two number the same tiles differently, ``first``'s
    numbers count.
    """
    why = _difference(first, second)
    if why is None:
        added = [lod for lod in second.lods if lod.level not in first.by_level]
        lods = sorted((*first.lods, *added), key=lambda lod: -lod.resolution)
        return replace(first, lods=tuple(lods))
    same_size = (first.tile_width, first.tile_height) == (second.tile_width, second.tile_height)
    if same_size and set(held) <= {place.level for place in place_levels(first, second).values()}:
        return first
    return why


def _difference(first: TilingScheme, second: TilingScheme) -> str | None:
    if first.by_level.keys() & second.by_level.keys() or not first.lods or not second.lods:
        return None if not first.lods or not second.lods else first.mismatch(second)
    # No level of the one is in the other: then everything but the LODs must be the same.
    with_lods = replace(second, lods=(*second.lods, first.lods[-1]))
    return first.mismatch(with_lods)


def shared_scheme(readers: Sequence[tuple[str, CacheReader]]) -> TilingScheme:
    """The scheme of several caches, each with a name for messages. Raises CacheError naming the field that differs."""
    name, reader = readers[0]
    scheme = reader.info.scheme
    for other_name, other in readers[1:]:
        found = joined(scheme, other.info.scheme, other.levels())
        if isinstance(found, str):
            google = _on_google([each for _, each in readers])
            if google is not None:
                return google
            raise CacheError(
                f"{other_name} is of another tiling scheme than {name}: {found}",
                hint="Only caches of one tiling scheme can be joined or compared.",
                code="other_scheme",
            )
        scheme = found
    return scheme


def _on_google(readers: Sequence[CacheReader]) -> TilingScheme | None:
    """The Google grid, where all tiles of all caches lie on it in one size."""
    sizes = {(reader.info.scheme.tile_width, reader.info.scheme.tile_height) for reader in readers}
    places = [reader.info.scheme.google(level) for reader in readers for level in reader.levels()]
    if len(sizes) != 1 or None in places:
        return None
    return google_scheme(sizes.pop()[0], max((place.zoom for place in places if place is not None), default=0))


def scheme_for(format: str, out: str, there: CacheReader, wanted: TilingScheme, held: Sequence[int]) -> TilingScheme:
    """The scheme in which a cache that is there already is written to. Raises CacheError where tiles don't fit it.

    ``held``: levels of ``wanted`` that are to be written.
    """
    theirs = there.info.scheme
    sizes = [f"{each.tile_width} x {each.tile_height}" for each in (theirs, wanted)]
    if not there.levels():
        return wanted
    found: TilingScheme | str
    if sizes[0] != sizes[1]:
        found = f"tile size {sizes[0]} is not {sizes[1]} pixels"
    elif FORMATS[format].google_only:
        places = [wanted.google(level) for level in held]
        deepest = max((place.zoom for place in places if place is not None), default=0)
        found = google_scheme(wanted.tile_width, max(deepest, *there.levels()))
    else:
        found = joined(theirs, wanted, held)
    if isinstance(found, str):
        raise CacheError(
            f"{out} is of another tiling scheme: {found}",
            hint="Choose another output, or replace it with --mode overwrite.",
            code="other_scheme",
        )
    return found
