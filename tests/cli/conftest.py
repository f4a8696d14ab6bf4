"""The same command line and services as the end-to-end tests have."""

from tests.e2e.conftest import cli, serve, spawn

__all__ = ["cli", "serve", "spawn"]
