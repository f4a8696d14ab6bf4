"""harvester takes tiled web maps offline: exact, complete, polite and fast.

import harvester

job = harvester.Job.from_file("streets.toml")
report = harvester.run(job)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harvester import compiled
from harvester.version import __version__

if TYPE_CHECKING:
    from harvester.api import harvest, open_cache, open_source, plan, run
    from harvester.errors import HarvesterError
    from harvester.export.server_cache import IncompleteExportError, export_map_server_cache
    from harvester.export.tile_cache import export_tile_cache
    from harvester.job import Auth, Job, Limits, Policy
    from harvester.report import Report

compiled.use(os.environ)  # before any of its modules is imported

_HOMES = {
    "harvest": "harvester.api",
    "open_cache": "harvester.api",
    "open_source": "harvester.api",
    "plan": "harvester.api",
    "run": "harvester.api",
    "HarvesterError": "harvester.errors",
    "IncompleteExportError": "harvester.export.server_cache",
    "export_map_server_cache": "harvester.export.server_cache",
    "export_tile_cache": "harvester.export.tile_cache",
    "Auth": "harvester.job",
    "Job": "harvester.job",
    "Limits": "harvester.job",
    "Policy": "harvester.job",
    "Report": "harvester.report",
}
"""Public names and where they live; each is imported when it is first used."""

__all__ = [
    "Auth",
    "HarvesterError",
    "IncompleteExportError",
    "Job",
    "Limits",
    "Policy",
    "Report",
    "__version__",
    "export_map_server_cache",
    "export_tile_cache",
    "harvest",
    "open_cache",
    "open_source",
    "plan",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'harvester' has no attribute {name!r}")
