"""Parts that tests are made of: a fault server, an ArcGIS service on it, parts in memory, crash points."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harvester.testing import schemes as schemes
    from harvester.testing.crash import CrashingDisk as CrashingDisk
    from harvester.testing.crash import CrashPoint as CrashPoint
    from harvester.testing.images import address_of as address_of
    from harvester.testing.images import tile_jpeg as tile_jpeg
    from harvester.testing.images import tile_png as tile_png
    from harvester.testing.lab import FaultServer as FaultServer
    from harvester.testing.log import Asked as Asked
    from harvester.testing.log import RequestLog as RequestLog
    from harvester.testing.memory import MemoryCache as MemoryCache
    from harvester.testing.memory import MemoryLedger as MemoryLedger
    from harvester.testing.memory import MemoryReader as MemoryReader
    from harvester.testing.memory import MemoryService as MemoryService
    from harvester.testing.memory import MemorySource as MemorySource
    from harvester.testing.memory import MemoryTransport as MemoryTransport
    from harvester.testing.power import CrashState as CrashState
    from harvester.testing.power import RecordingDisk as RecordingDisk
    from harvester.testing.power_sqlite import recording_sqlite as recording_sqlite
    from harvester.testing.proxy import Passage as Passage
    from harvester.testing.proxy import ProxyServer as ProxyServer
    from harvester.testing.script import Capacity as Capacity
    from harvester.testing.script import Rule as Rule
    from harvester.testing.script import Script as Script
    from harvester.testing.service import ArcGisSite as ArcGisSite
    from harvester.testing.service import FaultyService as FaultyService
    from harvester.testing.sqlite_files import SqliteWatch as SqliteWatch
    from harvester.testing.sqlite_files import watching_sqlite as watching_sqlite
    from harvester.testing.tickets import TicketOffice as TicketOffice
    from harvester.testing.virtual import VirtualLoop as VirtualLoop
    from harvester.testing.virtual import run_virtual as run_virtual

_HOMES = {
    "CrashPoint": "crash",
    "CrashingDisk": "crash",
    "CrashState": "power",
    "RecordingDisk": "power",
    "recording_sqlite": "power_sqlite",
    "SqliteWatch": "sqlite_files",
    "watching_sqlite": "sqlite_files",
    "address_of": "images",
    "tile_jpeg": "images",
    "tile_png": "images",
    "FaultServer": "lab",
    "Asked": "log",
    "RequestLog": "log",
    "MemoryCache": "memory",
    "MemoryLedger": "memory",
    "MemoryReader": "memory",
    "MemoryService": "memory",
    "MemorySource": "memory",
    "MemoryTransport": "memory",
    "VirtualLoop": "virtual",
    "run_virtual": "virtual",
    "Passage": "proxy",
    "ProxyServer": "proxy",
    "Capacity": "script",
    "Rule": "script",
    "Script": "script",
    "ArcGisSite": "service",
    "FaultyService": "service",
    "TicketOffice": "tickets",
}

__all__ = [*sorted(_HOMES), "schemes"]


def __getattr__(name: str) -> Any:
    if name == "schemes":
        return import_module("harvester.testing.schemes")
    if name in _HOMES:
        return getattr(import_module(f"harvester.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
