"""What to do about an error, in the words of the export tools: a run's options are not theirs."""

from __future__ import annotations

import re
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
    return _as_call(text) if words is CALL else text


_COMMAND_LINE = re.compile(r"(harvester [a-z]+ [^.;]*)")
"""A command that is shown stays one."""

_OPTION = re.compile(r"--([a-z][a-z-]+)(?:[ =](\d[\w.]*|off|auto))?")


def _as_call(text: str) -> str:
    """Options as the keywords that they are in a call."""

    def keyword(found: re.Match[str]) -> str:
        name, value = found[1].replace("-", "_"), found[2]
        if value is None:
            return name
        return f"{name}={value if value.replace('.', '', 1).isdigit() else repr(value)}"

    for theirs, ours in (
        ("Run the same", "Make the same"),
        ("run the same", "make the same"),
        ("same command", "same call"),
    ):
        text = text.replace(theirs, ours)
    parts = _COMMAND_LINE.split(text)
    return "".join(part if number % 2 else _OPTION.sub(keyword, part) for number, part in enumerate(parts))


@contextmanager
def own_words(words: Mapping[str, str]) -> Iterator[None]:
    """Errors that come out of here speak in these words."""
    try:
        yield
    except HarvesterError as error:
        error.message, error.hint = told(error.message, words), told(error.hint, words)
        error.args = (error.message,)
        raise
