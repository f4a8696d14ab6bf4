"""What each key of a job file may hold: readers from TOML values to the values of a Job, and the keys by table."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from harvester.errors import UsageError
from harvester.job import SECRET_HINT, AoiFile, output_path
from harvester.job_text import (
    check_bbox,
    check_level_range,
    check_scale,
    parse_bbox,
    parse_bytes,
    parse_duration,
    parse_lods,
    parse_scales,
    parse_shard,
)

Read = Callable[[Any, Path], Any]
"""A value of the file and the file's folder, to a value of the job."""


def kind_of(value: object) -> str:
    """What kind of value a key takes."""
    names = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), type(value).__name__)


EXAMPLES = {"a number": "12.5", "a whole number": "12", "true or false": "true"}


def _wrong(value: object, wanted: str) -> UsageError:
    hint = ""
    if isinstance(value, str):
        hint = f"Write it without quotes: {EXAMPLES[wanted]}" if wanted in EXAMPLES else ""
    elif wanted == "a text":
        hint = "Write it in quotes."
    what = repr(value) if wanted == "a whole number" and isinstance(value, float) else kind_of(value)
    return UsageError(f"must be {wanted}, not {what}", hint=hint)


def as_is(value: Any, folder: Path) -> Any:
    """The value as it stands."""
    return value


def _text(value: Any, folder: Path) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "a text")
    if not value.strip():
        raise UsageError("is empty", hint="Leave it out instead.")
    return value


def _truth(value: Any, folder: Path) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, "true or false")
    return value


def _not(value: Any, folder: Path) -> bool:
    return not _truth(value, folder)


def _whole(value: Any, folder: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value, "a whole number")
    return value


def _real(value: Any, folder: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(value, "a number")
    try:
        return float(value)
    except OverflowError as error:
        raise UsageError("is out of range") from error


def _seconds(value: Any, folder: Path) -> float:
    return parse_duration(value) if isinstance(value, str) else _real(value, folder)


def _size(value: Any, folder: Path) -> int:
    return parse_bytes(value) if isinstance(value, str) else _whole(value, folder)


def _typed_path(value: Any, folder: Path) -> str:
    """A path as text. In double quotes TOML reads ``\\t`` and ``\\n`` of a Windows path as tab and line break."""
    text = _text(value, folder)
    if any(character < " " for character in text):
        raise UsageError(
            f"holds a control character: {text!r:.80}",
            hint=r"Write Windows paths in single quotes: 'C:\temp\new.gpkg'.",
        )
    return text


def _path(value: Any, folder: Path) -> Path:
    return folder / Path(_typed_path(value, folder)).expanduser()


def _output(value: Any, folder: Path) -> tuple[Path, bool]:
    path, is_folder = output_path(_typed_path(value, folder))
    return folder / path.expanduser(), is_folder


def _texts(value: Any, folder: Path) -> tuple[str, ...]:
    return tuple(_text(item, folder) for item in (value if isinstance(value, list) else [value]))


def _source(value: Any, folder: Path) -> str:
    """A URL stays as it is; a file is relative to the job file. Secrets in it are refused."""
    text = _typed_path(value, folder).strip()
    if "://" not in text:
        is_bare_url = re.match(r"[^/\\]+\.[^/\\]+/.*rest/services", text, re.IGNORECASE) is not None
        return text if is_bare_url or Path(text).is_absolute() else str(folder / text)
    try:
        parts = urlsplit(text)
        names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    except ValueError as error:
        raise UsageError("is not a URL") from error
    if "token" in names or parts.password:
        raise UsageError("holds a token or a password", hint=f"Cut it from the URL. [auth] is its place: {SECRET_HINT}")
    return text


def _proxy(value: Any, folder: Path) -> str:
    text = _text(value, folder)
    if "@" in text.rpartition("://")[2]:
        raise UsageError("holds a login", hint="Put the whole URL into the environment variable HTTPS_PROXY instead.")
    return text


def _shard(value: Any, folder: Path) -> tuple[int, int]:
    return parse_shard(_text(value, folder))


def _tilemap(value: Any, folder: Path) -> bool:
    if isinstance(value, bool):
        return value
    if value not in ("auto", "off"):
        raise UsageError(f'must be "auto" or "off", not {value!r:.80}')
    return bool(value == "auto")


def _lods(value: Any, folder: Path) -> tuple[tuple[int, int], ...]:
    found: dict[tuple[int, int], None] = {}
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            found.update(dict.fromkeys(parse_lods(item)))
        else:
            level = _whole(item, folder)
            found[check_level_range(level, level)] = None
    return tuple(found)


def _scales(value: Any, folder: Path) -> tuple[float, ...]:
    found: dict[float, None] = {}
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            found.update(dict.fromkeys(parse_scales(item)))
        else:
            found[check_scale(_real(item, folder))] = None
    return tuple(found)


def _bbox(value: Any, folder: Path) -> tuple[float, float, float, float]:
    if isinstance(value, str):
        return parse_bbox(value)
    if not isinstance(value, list):
        raise _wrong(value, "a list of four numbers or a text")
    return check_bbox([_real(item, folder) for item in value])


def _aoi(value: Any, folder: Path) -> tuple[AoiFile, ...]:
    texts = tuple(_typed_path(item, folder) for item in (value if isinstance(value, list) else [value]))
    if not texts:
        raise UsageError("an empty list is no area", hint="Leave it out for the service's full extent.")
    return tuple(AoiFile.from_text(str(Path(text).expanduser()), folder) for text in texts)


TOP: dict[str, Read] = {
    "source": _source,
    "output": _output,
    "mode": _text,
    "format": _text,
    "dedup": _truth,
    "hash": _truth,
    "shard": _shard,
    "report": _path,
    "ca_bundle": _path,
    "proxy": _proxy,
    "allow_hosts": _texts,
    "allow_host": _texts,
    "contact": _text,
    "tilemap": _tilemap,
    "no_extent": _not,
    "placeholders": _texts,
    "placeholder": _texts,
}
"""Keys of the top of the file."""

POLICY: dict[str, Read] = {
    "lods": _lods,
    "scales": _scales,
    "min_scale": _real,
    "max_scale": _real,
    "min_zoom": _whole,
    "max_zoom": _whole,
    "aoi": _aoi,
    "aoi_layer": _text,
    "aoi_where": _text,
    "bbox": _bbox,
    "buffer": _real,
}
"""Keys of a [[policy]]."""

LIMITS: dict[str, tuple[str, Read]] = {
    "concurrency": ("concurrency", _whole),
    "rate": ("rate", _real),
    "retries": ("retries", _whole),
    "timeout": ("timeout_seconds", _seconds),
    "max_tiles": ("max_tiles", _whole),
    "max_duration": ("max_duration_seconds", _seconds),
    "max_bytes": ("max_bytes", _size),
    "give_up_after": ("give_up_after_seconds", _seconds),
}
"""Keys of [limits], and the fields of Limits that they fill."""

AUTH: dict[str, tuple[str, Read]] = {
    "token_env": ("token_env", _text),
    "username": ("username", _text),
    "password_env": ("password_env", _text),
}
"""Keys of [auth]."""

TABLES: dict[str, tuple[str, ...]] = {
    "": (*TOP, "policy", "limits", "auth", "headers"),
    "policy": tuple(POLICY),
    "limits": tuple(LIMITS),
    "auth": tuple(AUTH),
}
"""Known keys by table; the top of the file has no name."""
