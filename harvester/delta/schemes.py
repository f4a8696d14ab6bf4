"""The one tiling scheme that several caches are read and written in, or the field in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harvester.caches.belongings import or_replace
from harvester.caches.counted import manifest_of
from harvester.caches.open import FORMATS
from harvester.caches.placed import place_levels
from harvester.edges import CacheReader
from harvester.errors import CacheError
from harvester.tiling.google import google_scheme
from harvester.tiling.scheme import TilingScheme


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


def stated_scheme(reader: CacheReader) -> TilingScheme:
    """The tiling scheme of the source of a cache, where its manifest states one that has a place for all its tiles;
    else the cache's own, which may be the Google grid's with its digits."""
    manifest, theirs = manifest_of(reader), reader.info.scheme
    if manifest is None or manifest.scheme is None:
        return theirs
    found = manifest.scheme
    same_size = (found.tile_width, found.tile_height) == (theirs.tile_width, theirs.tile_height)
    placed = {place.level for place in place_levels(found, theirs).values()}
    return found if same_size and set(reader.levels()) <= placed else theirs


def levels_in(reader: CacheReader, scheme: TilingScheme) -> list[int]:
    """The levels of a scheme of which a cache holds tiles."""
    held = set(reader.levels())
    return [level for level, place in place_levels(scheme, reader.info.scheme).items() if place.level in held]


def shared_scheme(readers: Sequence[tuple[str, CacheReader]]) -> TilingScheme:
    """The scheme of several caches, each with a name for messages. Raises CacheError naming the field that differs."""
    name, reader = readers[0]
    scheme = stated_scheme(reader)
    for other_name, other in readers[1:]:
        theirs = stated_scheme(other)
        found = joined(scheme, theirs, levels_in(other, theirs))
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


def _has_zooms(found: TilingScheme | str, wanted: TilingScheme, held: Sequence[int], there: CacheReader) -> bool:
    """Has each level that is to be written or there already a zoom of its own in this scheme?"""
    if isinstance(found, str):
        return False
    places = place_levels(wanted, found)
    stored = levels_in(there, found)
    if not set(held) <= places.keys() or len(stored) < len(there.levels()):
        return False
    zooms = [found.google(level) for level in {*stored, *(places[level].level for level in held)}]
    return None not in zooms and len({place.zoom for place in zooms if place is not None}) == len(zooms)


def scheme_for(format: str, out: str, there: CacheReader, wanted: TilingScheme, held: Sequence[int]) -> TilingScheme:
    """The scheme in which a cache that is there already is written to. Raises CacheError where tiles don't fit it.

    ``held``: levels of ``wanted`` that are to be written.
    """
    theirs = stated_scheme(there)
    sizes = [f"{each.tile_width} x {each.tile_height}" for each in (theirs, wanted)]
    if not there.levels():
        return wanted
    found: TilingScheme | str
    if sizes[0] != sizes[1]:
        found = f"tile size {sizes[0]} is not {sizes[1]} pixels"
    else:
        found = joined(theirs, wanted, held)
        if FORMATS[format].google_only and not _has_zooms(found, wanted, held, there):
            places = [wanted.google(level) for level in held]
            deepest = max((place.zoom for place in places if place is not None), default=0)
            found = google_scheme(wanted.tile_width, max(deepest, *there.levels()))
    if isinstance(found, str):
        raise CacheError(
            f"{out} is of another tiling scheme: {found}",
            hint=or_replace(Path(out)),
            code="other_scheme",
        )
    return found
