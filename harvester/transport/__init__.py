"""How to ask: the fast lanes for tiles, aiohttp for documents and whatever goes through a proxy."""
