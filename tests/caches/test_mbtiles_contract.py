"""MBTiles keeps the promises of a cache, flat and with pictures stored once."""

from __future__ import annotations

from pathlib import Path

from harvester.caches.mbtiles import open_writer
from harvester.durable import Disk
from harvester.edges import CacheWriter, ServiceInfo, Subject, TileFormat
from harvester.tiling.google import google_scheme
from tests.caches.making import move_off_the_grid
from tests.contracts.cache_contract import CacheContract


class TestFlat(CacheContract):
    name = "out.mbtiles"
    reader_name = "harvester.caches.mbtiles:open_reader"
    dedup = False

    def subject(self) -> Subject:
        info = ServiceInfo(
            source="https://gis.example.org/MapServer",
            identity="https://gis.example.org/mapserver",
            kind="arcgis-map",
            name="Streets",
            scheme=google_scheme(),
            extent=None,
            tile_format=TileFormat.PNG,
        )
        return Subject(info=info, levels=(self.level - 1, self.level), extent=None, generator="harvester test")

    async def open_writer(self, path: Path, subject: Subject) -> CacheWriter:
        return await open_writer(path, subject, dedup=self.dedup, disk=Disk())

    def damage(self, path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[16384 * 2 : 16384 * 3] = b"\xa5" * 16384
        path.write_bytes(data)

    def ruin(self, path: Path) -> None:
        move_off_the_grid(path)


class TestDedup(TestFlat):
    dedup = True
