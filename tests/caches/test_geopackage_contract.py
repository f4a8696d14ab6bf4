"""GeoPackage keeps the promises of a cache, on the Google grid and on a grid of its own with several tile tables."""

from __future__ import annotations

from pathlib import Path

from harvester.caches.geopackage import open_writer
from harvester.durable import Disk
from harvester.edges import CacheWriter, Subject
from tests.caches.geopackage_schemes import odd_steps
from tests.caches.making import move_off_the_grid, subject
from tests.contracts.cache_contract import CacheContract


class TestGoogleGrid(CacheContract):
    name = "out.gpkg"
    reader_name = "harvester.caches.geopackage:open_reader"

    def subject(self) -> Subject:
        return subject(levels=(self.level - 1, self.level))

    async def open_writer(self, path: Path, subject: Subject) -> CacheWriter:
        return await open_writer(path, subject, disk=Disk())

    def damage(self, path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[16384 * 2 : 16384 * 3] = b"\xa5" * 16384
        path.write_bytes(data)

    def ruin(self, path: Path) -> None:
        move_off_the_grid(path)


class TestSeveralTables(TestGoogleGrid):
    """Levels 8 and 9 lie in different tables: the step between them is no half."""

    def subject(self) -> Subject:
        return subject(odd_steps(), levels=(self.level - 1, self.level))
