"""The embedded tile service, running in a thread of its own beside whatever harvests it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from harvester.demo.job import SERVICE
from harvester.demo.world import WorldMap
from harvester.serve.arcgis import Running, make_app, start_server

EUROPE_SERVICE = "Europe"
"""The same world in Europe's own projection (EPSG:3035): a foreign grid whose LODs do not halve."""

START_SECONDS = 30.0
"""The server binds a loopback port; a machine that can't within this long can't run the demo either."""


@contextmanager
def running_world(port: int = 0) -> Iterator[Running]:
    """Serve the world map on loopback until the block ends; ``.service("World")`` is its address.

    Drawing takes one thread, so that harvester's own loop keeps its pace on two cores.
    """
    started: list[Running | BaseException] = []
    ready = threading.Event()
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        end = asyncio.Event()
        try:
            services = {SERVICE: WorldMap.mercator(), EUROPE_SERVICE: WorldMap.europe()}
            running = await start_server(make_app(services, threads=1), port=port)
        except BaseException as error:
            started.append(error)
            ready.set()
            return
        stop.append((asyncio.get_running_loop(), end))
        started.append(running)
        ready.set()
        await end.wait()
        await running.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="demo-service", daemon=True)
    thread.start()
    if not ready.wait(START_SECONDS):
        raise TimeoutError("the demo service did not start")
    running = started[0]
    if isinstance(running, BaseException):
        raise running
    try:
        yield running
    finally:
        loop, end = stop[0]
        loop.call_soon_threadsafe(end.set)
        thread.join(START_SECONDS)
