"""harvester takes tiled web maps offline: exact, complete, polite and fast."""

from harvester.version import __version__

__all__ = ["__version__"]
