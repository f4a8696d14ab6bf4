"""How to reach servers, as a job says it: trust, proxies, patience and manners. Imports no client."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harvester.job import DEFAULT_TIMEOUT_SECONDS
from harvester.version import __version__

if TYPE_CHECKING:
    from harvester.job import Job


PATIENCE_SECONDS = 10.0
"""How long a body may come at less than ``LEAST_RATE``: long enough for a bad radio link to come back."""

LEAST_RATE = 100.0
"""Bytes a second below which a body only holds a connection; the slowest links that people work on carry a thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach servers: trust, proxies, patience and manners; the same for documents and tiles."""

    ca_bundle: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    allow_hosts: tuple[str, ...] = ()
    contact: str | None = None
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    patience_seconds: float = PATIENCE_SECONDS
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    @classmethod
    def of(cls, job: Job) -> Access:
        """What a job says of access."""
        return cls(
            ca_bundle=job.ca_bundle,
            proxy=job.proxy,
            allow_hosts=job.allow_hosts,
            contact=job.contact,
            timeout_seconds=job.limits.timeout_seconds,
        )

    @property
    def user_agent(self) -> str:
        """``harvester/<version>``, and the contact where one is given."""
        contact = "".join(
            char for char in self.contact or "" if char.isascii() and char.isprintable() and char not in "()"
        )
        return f"harvester/{__version__} (+{contact.strip()})" if contact.strip() else f"harvester/{__version__}"
