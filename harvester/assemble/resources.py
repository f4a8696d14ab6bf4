"""Style, sprites and fonts of a vector tile service on their way into a package: asked at the run's own pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from harvester.caches.vtpk_resources import Resources
from harvester.durable import Disk
from harvester.output import OutputPaths
from harvester.pacing import RateLimit
from harvester.sources.arcgis import merge_headers
from harvester.sources.arcgis_errors import status_in
from harvester.sources.vector import VectorSource
from harvester.sources.vector_resources import Gathering
from harvester.transport.documents import Document
from harvester.transport.origins import origin_of, same_site
from harvester.transport.refusals import DeniedError
from harvester.transport.session import Session


async def gather_resources(
    source: VectorSource,
    session: Session,
    paths: OutputPaths,
    *,
    disk: Disk,
    rate: float | None,
    stopped: Callable[[], bool],
) -> list[str]:
    """Put what the package needs beside its tiles into the folder that it is made of; gives what to tell.

    Every request, those of a second try too, keeps to ``rate`` and is counted by the session. Raises CacheError.
    """

    async def ask(address: str) -> Document:
        found, credentials = origin_of(address), source.credentials
        if found is None or not same_site(source.url.origin, found):
            return await session.get_bytes(address, status_in=status_in)
        generation = credentials.generation
        try:
            return await dressed(address)
        except DeniedError:
            if not source.can_renew:
                raise
            if credentials.generation == generation:  # else another request has had it renewed meanwhile
                await source.renew(accepted=True)  # tiles were served before
            return await dressed(address)

    async def dressed(address: str) -> Document:
        credentials = source.credentials
        headers = merge_headers(source.headers, credentials.headers)
        return await session.get_bytes(_with_query(address, credentials.query), headers=headers, status_in=status_in)

    gathering = Gathering(
        service=str(source.url),
        style_url=source.style_url,
        style=source.style,
        home=source.url.origin,
        allow_hosts=session.allow_hosts,
        ask=ask,
        keep=Resources(paths.collect, disk),
        stopped=stopped,
    )
    if rate is not None:
        limit = RateLimit(rate, time.monotonic())

        async def gate() -> None:
            while not limit.take(time.monotonic()):  # noqa: ASYNC110 (the limit is a clock, nobody sets it)
                await asyncio.sleep(limit.ready_in(time.monotonic()))

        session.gate = gate
    try:
        return await gathering.run()
    finally:
        session.gate = None


def _with_query(address: str, query: str) -> str:
    if not query:
        return address
    return f"{address}&{query}" if "?" in address else f"{address}?{query}"
