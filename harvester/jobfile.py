"""A job file (TOML) to a Job: every key checked by name, type and value; relative paths are relative to the file."""

from __future__ import annotations

import codecs
import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harvester.errors import UsageError
from harvester.job import SECRET_HINT, AoiFile, Auth, Job, Limits, Policy
from harvester.job_keys import AUTH, LIMITS, POLICY, TABLES, TOP, Read, as_is, kind_of
from harvester.job_text import check_header
from harvester.redact import is_secret_header

MAX_JOB_FILE_BYTES = 4 << 20
"""A job file of a thousand policies has 200 kB; a larger one is another file given by mistake."""

SIMILARITY = 0.6
"""How alike (0..1) a known key must be to be called the nearest one."""

SYNONYMS = {
    "levels": "lods", "level": "lods", "zoom": "lods", "zooms": "lods", "lod": "lods", "scale": "scales",
    "url": "source", "service": "source", "out": "output", "target": "output", "area": "aoi", "polygon": "aoi",
    "polygons": "aoi", "geometry": "aoi", "extent": "bbox", "policies": "policy", "header": "headers",
    "threads": "concurrency", "workers": "concurrency", "user": "username", "layer": "aoi_layer", "where": "aoi_where",
}  # fmt: skip
"""What other tools call these keys, where likeness of letters would not find them."""

SECRET_KEYS = frozenset({"token", "password", "api_key", "apikey", "secret", "access_token"})


POLICY_ADVICE = "Write [[policy]], with two brackets on each side, on a line of its own before each policy."

PATH_ADVICE = r"Write Windows paths in single quotes: 'C:\maps\area.gpkg'."


def read_job(path: Path) -> Job:
    """Read a job file. Raises UsageError with file, key and remedy."""
    table = _table(path)
    folder = path.parent
    known = {"policy": as_is, "limits": as_is, "auth": as_is, "headers": as_is}
    values = _values(table, {**TOP, **known}, path, "")
    policies = values.pop("policy", None)
    limits = _section(values.pop("limits", {}), LIMITS, path, "limits")
    auth = _section(values.pop("auth", {}), AUTH, path, "auth")
    headers = values.pop("headers", {})
    if "source" not in values:
        raise UsageError(f"{path}: source is missing", hint='Add source = "https://…/MapServer" at the top.')
    if "output" in values:
        values["output"], values["output_is_folder"] = values["output"]
    with _at(f"{path}: [headers]"):
        values["headers"] = _headers(headers)
    with _at(f"{path}: [limits]"):
        values["limits"] = Limits(**limits)
    with _at(f"{path}: [auth]"):
        values["auth"] = Auth(**auth)
    if policies is not None:
        values["policies"] = _policies(policies, path, folder)
    with _at(str(path)):
        return Job(**values, file=path)


# ---------------------------------------------------------------------------------------------- the file


def _table(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JOB_FILE_BYTES:
            raise UsageError(f"{path}: {path.stat().st_size} bytes, more than any job file has")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    text = _decode(data)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        said = str(error).replace("at end of document", f"at line {len(text.splitlines())}, the end of the file")
        raise UsageError(f"{path}: {said}", hint=_advice(said, text.splitlines())) from error


def _advice(said: str, lines: list[str]) -> str:
    """What to do about a TOML error, by its words and the line that it names."""
    place = re.search(r"at line (\d+)", said)
    line = lines[int(place[1]) - 1] if place and 0 < int(place[1]) <= len(lines) else ""
    if re.match(r"\s*\[+\s*polic(y|ies)\s*\]", line):
        return POLICY_ADVICE
    if "escape" in said or "hex" in said.lower():
        return PATH_ADVICE
    if "overwrite" in said or "twice" in said:
        return "The key or the table is there twice: keep one; each policy is a [[policy]] of its own."
    if re.search(r"=\s*[\u2018-\u201f\u00ab\u00bb]", line):
        return 'Put the text in straight quotes, not in typographic ones: key = "value".'
    key, equals, value = (part.strip() for part in line.partition("="))
    if equals and re.fullmatch(r"[\w.-]+", key) and value[:1] not in ("[", "{", '"', "'"):
        return f'Put texts in quotes, and lists in brackets: {key} = "…"'
    return "A job file is TOML: key = value, texts in quotes, lists in brackets."


def _decode(data: bytes) -> str:
    """UTF-8 as TOML demands; what Windows editors write (byte-order mark, UTF-16, Latin-1) is read too."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


# ---------------------------------------------------------------------------------------------- tables


def _section(table: Any, readers: Mapping[str, tuple[str, Read]], path: Path, name: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise UsageError(
            f"{path}: {name} is a table, not {kind_of(table)}", hint=f"Write [{name}] on a line of its own."
        )
    _known(table, readers, path, name)
    found = {}
    for key, value in table.items():
        field, read = readers[key]
        with _at(f"{path}: [{name}] {key}"):
            found[field] = read(value, path.parent)
    return found


def _values(table: Mapping[str, Any], readers: Mapping[str, Read], path: Path, name: str) -> dict[str, Any]:
    _known(table, readers, path, name)
    found: dict[str, Any] = {}
    for key, value in table.items():
        with _at(f"{path}: {key}"):
            field = {"placeholder": "placeholders", "no_extent": "use_extent", "allow_host": "allow_hosts"}.get(
                key, key
            )
            if field in found:
                raise UsageError(f"{key} and {field} are the same", hint="Keep one.")
            found[field] = readers[key](value, path.parent)
    return found


def _policies(tables: Any, path: Path, folder: Path) -> tuple[Policy, ...]:
    if isinstance(tables, dict):
        # Accepted, a second one further down would be a TOML error that speaks of something else.
        raise UsageError(
            f"{path}: [policy] is one table, and policies are a list",
            hint=POLICY_ADVICE,
        )
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{path}: policy is a list of tables", hint=POLICY_ADVICE)
    policies = []
    for number, table in enumerate(tables, 1):
        where = f"{path}: policy {number}"
        _known(table, POLICY, path, "policy", where)
        values = {}
        for key, value in table.items():
            with _at(f"{where}: {key}"):
                values[key] = POLICY[key](value, folder)
        layer, query = values.pop("aoi_layer", None), values.pop("aoi_where", None)
        if (layer is not None or query is not None) and not values.get("aoi"):
            raise UsageError(f"{where}: aoi_layer and aoi_where need an aoi")
        if layer is not None or query is not None:
            values["aoi"] = tuple(
                AoiFile(path=file.path, layer=layer or file.layer, where=query) for file in values["aoi"]
            )
        if "buffer" in values:
            values["buffer_metres"] = values.pop("buffer")
        with _at(where):
            policies.append(Policy(**values))
    return tuple(policies)


def _known(table: Mapping[str, Any], readers: Mapping[str, Any], path: Path, name: str, where: str = "") -> None:
    """Refuse keys that this table does not have, naming the nearest one that any table has."""
    place = where or (f"{path}: [{name}]" if name else str(path))
    for key in table:
        if key in readers:
            continue
        if key.lower() in SECRET_KEYS:
            raise UsageError(f"{place}: {key} would be a secret in a file", hint=SECRET_HINT)
        raise UsageError(f"{place}: unknown key {key!r:.80}", hint=_nearest(key, name))


def _nearest(key: str, table: str) -> str:
    homes: dict[str, list[str]] = {}
    for home, keys in TABLES.items():
        for known in keys:
            homes.setdefault(known, []).append(home)
    plain = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")
    match = difflib.get_close_matches(plain, homes, n=1, cutoff=SIMILARITY)
    name = plain if plain in homes else SYNONYMS.get(plain) or (match[0] if match else None)
    if name is None:
        return f"Known here: {', '.join(sorted(TABLES[table]))}."
    if name == "policy":
        return "Did you mean [[policy]]?"
    home = table if table in homes[name] else homes[name][0]
    shown = {"": "at the top of the file, before the first [table]", "policy": "in [[policy]]"}.get(
        home, f"in [{home}]"
    )
    if name == key:
        return f"It belongs {shown}."
    return f"Did you mean {name}{'' if home == table else ' ' + shown}?"


def _headers(table: Any) -> dict[str, str]:
    """Names and values; ``{ env = "NAME" }`` takes the value from the environment."""
    if not isinstance(table, dict):
        raise UsageError(f"must be a table, not {kind_of(table)}")
    found = {}
    for name, value in table.items():
        if isinstance(value, str) and value.strip() and is_secret_header(name):
            raise UsageError(
                f"{name} would be a secret in a file",
                hint=f'Put the value into an environment variable and give its name: {name} = {{ env = "NAME" }}; '
                'or on the command line: --header "NAME: VALUE". A token belongs into [auth]: token_env.',
            )
        if isinstance(value, dict) and set(value) == {"env"} and isinstance(value["env"], str):
            if value["env"] not in os.environ:
                raise UsageError(f"{name}: the environment variable {value['env']!r:.80} is not set")
            value = os.environ[value["env"]]
        if not isinstance(value, str):
            raise UsageError(f'{name}: must be a text or {{ env = "NAME" }}, not {kind_of(value)}')
        check_header(name, value.strip(" \t"))
        found[name] = value.strip(" \t")
    return found


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Put where it is before the message of a UsageError."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from error
