"""What to do about an error, in the words of the export tools: a run's options are not theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from harvester.errors import HarvesterError

_BUFFER = "Add a buffer: --buffer METRES (job file: buffer = METRES)."
_EXTENT = "; --no-extent drops the extent's bound"
_NO_AREA = "Give an area with --aoi or --bbox, or leave --no-extent out."
_FORMATS = "(--format, or the output's suffix)"
_NAME = "name its format with --format"
_NEW = "--mode overwrite"

COMMAND: Mapping[str, str] = {
    _BUFFER: "Name polygons; of what is near lines and points, harvester run --buffer makes a cache.",
    _EXTENT: "",
    _NO_AREA: "Give an area: --area-of-interest or --export-extent.",
    _FORMATS: "(an export makes compact, compactv2, exploded, tpk and tpkx)",
    _NAME: "name what it is with --export-cache-type and --storage-format-type",
    _NEW: "--overwrite OVERWRITE",
    "(--lods)": "(--scales)",
    "(--aoi)": "(--area-of-interest)",
}
"""``harvester export``."""

CALL: Mapping[str, str] = {
    _BUFFER: "Name polygons, or give the area as a geometry with a buffer around it.",
    _EXTENT: "",
    _NO_AREA: "Give an area: area_of_interest or export_extent.",
    _FORMATS: COMMAND[_FORMATS],
    _NAME: "name what it is with export_cache_type and storage_format_type",
    _NEW: 'overwrite="OVERWRITE"',
    "(--lods)": "(scales)",
    "(--aoi)": "(area_of_interest)",
}
"""``export_map_server_cache``, ``export_tile_cache``."""


def told(text: str, words: Mapping[str, str]) -> str:
    """A hint or notice of a run with these words in place of its options."""
    for theirs, ours in words.items():
        text = text.replace(theirs, ours)
    return text


@contextmanager
def own_words(words: Mapping[str, str]) -> Iterator[None]:
    """Errors that come out of here have their hints in these words."""
    try:
        yield
    except HarvesterError as error:
        error.hint = told(error.hint, words)
        raise
