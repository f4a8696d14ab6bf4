"""Job, Limits, Auth: what a person asks for, frozen and validated; TOML in. Its rules are ``policy.Policy``."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from harvester.errors import UsageError
from harvester.job_text import (
    check_bytes,
    check_header,
    check_seconds,
    check_shard,
)
from harvester.policy import AoiFile, Policy

__all__ = ["AoiFile", "Auth", "Job", "Limits", "Policy"]

DEFAULT_CONCURRENCY = 32
DEFAULT_RETRIES = 5
DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_GIVE_UP_SECONDS = 900.0

MAX_CONCURRENCY = 1024
"""More requests in flight than any one host should bear, and what selectors and proxies take without complaint."""

MAX_RETRIES = 1000
"""With back-off, a thousand tries of one tile last for days."""

MAX_RATE = 1_000_000.0

MODES = ("merge", "overwrite")
FORMATS = ("mbtiles", "gpkg", "pmtiles", "tpk", "tpkx", "vtpk", "compact", "compactv2", "exploded", "xyz")

WINDOWS = os.name == "nt"

SECRET_HINT = 'Put the secret into an environment variable and give the variable\'s name: token_env = "ARCGIS_TOKEN".'


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How hard a run may lean on the source, and when it ends by itself."""

    concurrency: int = DEFAULT_CONCURRENCY
    rate: float | None = None
    """Requests a second to the tile hosts, all kinds; None: as the servers bear."""
    retries: int = DEFAULT_RETRIES
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    max_tiles: int | None = None
    max_duration_seconds: float | None = None
    max_bytes: int | None = None
    give_up_after_seconds: float = DEFAULT_GIVE_UP_SECONDS

    def __post_init__(self) -> None:
        if not 1 <= self.concurrency <= MAX_CONCURRENCY:
            raise UsageError(
                f"concurrency: {self.concurrency} is out of range 1-{MAX_CONCURRENCY}",
                hint=f"Give a whole number, or leave it out for {DEFAULT_CONCURRENCY}.",
            )
        if self.rate is not None and not (math.isfinite(self.rate) and 0 < self.rate <= MAX_RATE):
            raise UsageError(
                f"rate: {self.rate!r} is not a number of requests a second above 0", hint="Leave it out for no limit."
            )
        if not 0 <= self.retries <= MAX_RETRIES:
            raise UsageError(
                f"retries: {self.retries} is out of range 0-{MAX_RETRIES}",
                hint=f"Give a whole number, or leave it out for {DEFAULT_RETRIES}.",
            )
        if self.max_tiles is not None and self.max_tiles < 1:
            raise UsageError(
                f"max_tiles: {self.max_tiles} is not a number of tiles above 0",
                hint="Give how many tiles this run may fetch, 1 or more; leave it out for no such budget.",
            )
        for name, seconds in (
            ("timeout", self.timeout_seconds),
            ("max_duration", self.max_duration_seconds),
            ("give_up_after", self.give_up_after_seconds),
        ):
            if seconds is not None:
                with _named(name):
                    check_seconds(seconds)
        if self.max_bytes is not None:
            with _named("max_bytes"):
                check_bytes(self.max_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Where credentials come from: names of environment variables, never the secrets themselves."""

    token_env: str | None = None
    username: str | None = None
    password_env: str | None = None

    def __post_init__(self) -> None:
        for name, variable in (("token_env", self.token_env), ("password_env", self.password_env)):
            # The text may be the secret itself, typed by mistake: it is not shown.
            if variable is not None and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", variable) is None:
                raise UsageError(f"{name}: not the name of an environment variable", hint=SECRET_HINT)
        if self.token_env is not None and (self.username is not None or self.password_env is not None):
            raise UsageError("token_env and username are two ways to log in", hint="Keep one.")
        if (self.username is None) != (self.password_env is None):
            missing = "username" if self.username is None else "password_env"
            raise UsageError(
                f"{missing} is missing: a login needs username and password_env",
                hint="Give both, or token_env for a token that you have.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that one run needs to know."""

    source: str = field(repr=False)
    """URL, web map file or template as typed; may hold ``token=``, so ``repr`` leaves it out."""
    output: Path | None = None
    output_is_folder: bool = False
    """True when the output was typed with a separator at its end, which a Path does not keep."""
    format: str | None = None
    """None: by the output's suffix."""
    mode: str = "merge"
    dedup: bool = False
    hash: bool = False
    shard: tuple[int, int] | None = None
    """(I, N), I from 1."""
    report: Path | None = None
    policies: tuple[Policy, ...] = (Policy(),)
    limits: Limits = field(default_factory=Limits)
    auth: Auth = field(default_factory=Auth)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_bundle: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    allow_hosts: tuple[str, ...] = ()
    contact: str | None = None
    tilemap: bool = True
    """False distrusts the service's tilemap."""
    use_extent: bool = True
    """False: the service's fullExtent does not bound the plan."""
    placeholders: tuple[str, ...] = ()
    """xxh3-128 hex digests of bodies that mean "no data"."""
    file: Path | None = field(default=None, repr=False, compare=False)
    """The job file that it was read from."""

    def __post_init__(self) -> None:
        self._take_texts()
        if not self.source.strip():
            raise UsageError("source: nothing is named", hint="Give the URL of a tile service.")
        if self.format is not None and self.format not in FORMATS:
            raise UsageError(
                f"format: there is no format {self.format!r:.80}", hint=f"Use one of {', '.join(FORMATS)}."
            )
        if self.mode not in MODES:
            raise UsageError(f"mode: there is no mode {self.mode!r:.80}", hint=f"Use one of {', '.join(MODES)}.")
        if not self.policies:
            raise UsageError("policy: an empty list plans nothing", hint="Leave it out for everything.")
        if self.shard is not None:
            check_shard(self.shard)
        for name, value in self.headers.items():
            check_header(name, value)
        if self.proxy is not None and re.match(r"(?i)https?://[^\s/]", self.proxy) is None:
            raise UsageError("proxy: not an http:// or https:// URL", hint='Write "http://proxy.example.org:8080".')
        for digest in self.placeholders:
            if re.fullmatch(r"[0-9a-fA-F]{32}", digest) is None:
                raise UsageError(
                    f"placeholders: {digest!r:.80} is not an xxh3-128 digest of 32 hexadecimal digits",
                    hint="Copy it from the report: the summary of a run names bodies that came often.",
                )

    def _take_texts(self) -> None:
        """Paths may be given as texts, as everywhere in Python. Raises UsageError for one that no system knows."""
        for name in ("output", "report", "ca_bundle"):
            value: Any = getattr(self, name)
            if value is None:
                continue
            if "\0" in str(value):
                raise UsageError(f"{name}: {str(value)!r:.80} holds a NUL", hint="No file can have such a name.")
            if name == "output" and isinstance(value, str):
                object.__setattr__(self, "output_is_folder", self.output_is_folder or output_path(value)[1])
            object.__setattr__(self, name, Path(value))

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that a run of this job reads: none of them may be written over."""
        named = [self.file, self.ca_bundle, None if "://" in self.source else Path(self.source)]
        areas = (area.path for policy in self.policies for area in policy.aoi)
        return (*(path for path in named if path is not None), *areas)

    @classmethod
    def from_file(cls, path: str | Path) -> Job:
        """Read a TOML job file; relative paths are relative to it.

        Raises UsageError with file, key and the nearest known key.
        """
        from harvester.jobfile import read_job

        return read_job(Path(path))

    def with_options(self, **overrides: Any) -> Job:
        """This job with the fields of Job, Limits and Auth that are given by name; None means: not given.

        ``headers`` are added by name, ``allow_hosts`` and ``placeholders`` are added to what is there; ``output`` may
        be a text, whose ending separator says that it is a folder. A token replaces a login and the other way round.
        Raises UsageError for a bad value, TypeError for a name that is no option (the selection is none).
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        mine = {item.name for item in fields(Job)} - {"policies", "limits", "auth", "file"}
        limits = {item.name for item in fields(Limits)}
        login = {item.name for item in fields(Auth)}
        unknown = given.keys() - mine - limits - login
        if unknown:
            raise TypeError(f"not an option: {', '.join(sorted(unknown))}")
        changes: dict[str, Any] = {name: value for name, value in given.items() if name in mine}
        if "output" in changes:
            changes["output"], changes["output_is_folder"] = output_path(changes["output"])
        if "report" in changes:
            changes["report"] = Path(changes["report"])
        if "headers" in changes:
            named = {name.lower(): (name, value) for name, value in (*self.headers.items(), *given["headers"].items())}
            changes["headers"] = dict(named.values())
        for name in ("allow_hosts", "placeholders"):
            if name in changes:
                changes[name] = tuple(dict.fromkeys((*getattr(self, name), *changes[name])))
        if given.keys() & limits:
            changes["limits"] = replace(self.limits, **{name: given[name] for name in given.keys() & limits})
        if given.keys() & login:
            old = self.auth if ("token_env" in given) == (self.auth.token_env is not None) else Auth()
            changes["auth"] = replace(old, **{name: given[name] for name in given.keys() & login})
        return replace(self, **changes)


def output_path(text: str | Path) -> tuple[Path, bool]:
    """An output as typed: its path, and whether a separator at its end says that it is a folder."""
    return Path(text), isinstance(text, str) and text.endswith(("/", "\\") if WINDOWS else "/")


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Put the key before the message of a UsageError."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{key}: {error.message}", hint=error.hint) from error
