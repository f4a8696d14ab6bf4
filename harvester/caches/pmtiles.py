"""PMTiles v3: ``open_reader`` reads an archive, ``seal`` makes one of a work folder, ``unpack`` takes it apart."""

from harvester.caches.pmtiles_reader import PMTilesReader, open_reader
from harvester.caches.pmtiles_unpack import unpack
from harvester.caches.pmtiles_writer import seal

__all__ = ["PMTilesReader", "open_reader", "seal", "unpack"]
