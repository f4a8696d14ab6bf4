"""Style, sprites and fonts of a vector tile service on their way into a package: asked at the run's own pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from harvester.caches.vtpk_resources import Resources
from harvester.durable import Disk
from harvester.engine.renewal import FIRST_REST_SECONDS, LONGEST_REST_SECONDS
from harvester.errors import SourceError
from harvester.job import Limits
from harvester.output import OutputPaths
from harvester.pacing import RateLimit
from harvester.sources.arcgis import merge_headers
from harvester.sources.arcgis_errors import status_in
from harvester.sources.vector import VectorSource
from harvester.sources.vector_resources import Ask, Gathering
from harvester.transport.documents import Document
from harvester.transport.origins import origin_of, same_site
from harvester.transport.refusals import DeniedError
from harvester.transport.session import Session

LISTENS_SECONDS = 1.0
"""While it waits it looks as often whether the run is to stop."""


class Patience:
    """Asks again what may go well later, until none was answered for as long as a run waits for a tile: a package
    without its fonts is whole for whoever seals it, and without names for whoever is in the field with it."""

    def __init__(
        self,
        ask: Ask,
        *,
        give_up_after_seconds: float,
        stopped: Callable[[], bool],
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ask, self._limit, self._stopped, self._tell = ask, give_up_after_seconds, stopped, tell
        self._clock, self._sleep = clock, sleep
        self._answered = clock()
        self._told = False

    async def ask(self, address: str) -> Document:
        """The resource at an address. Raises SourceError for what does not pass, or has not in that time."""
        pause = FIRST_REST_SECONDS
        while True:
            try:
                found = await self._ask(address)
            except SourceError as error:
                wanted = error.come_back_seconds
                if wanted is None and not error.passes:
                    self._answered = self._clock()
                    raise
                wait = max(pause, wanted or 0.0)
                if self._stopped() or self._clock() + wait - self._answered >= self._limit:
                    raise
                if not self._told:
                    self._told = True
                    self._tell(f"not all of style, sprites and fonts yet: {error.message}; it is asked for again")
            else:
                self._answered = self._clock()
                return found
            await self._wait(wait)
            pause = min(LONGEST_REST_SECONDS, pause * 2)

    async def _wait(self, seconds: float) -> None:
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0 and not self._stopped():
            await self._sleep(min(left, LISTENS_SECONDS))


async def gather_resources(
    source: VectorSource,
    session: Session,
    paths: OutputPaths,
    *,
    disk: Disk,
    limits: Limits,
    stopped: Callable[[], bool],
    tell: Callable[[str], None],
) -> list[str]:
    """Put what the package needs beside its tiles into the folder that it is made of; gives what to tell.

    Every request, those of a second try too, keeps to the rate and is counted by the session. What passes is waited for
    as for a tile, which ``tell`` hears. Raises CacheError.
    """
    rate = limits.rate

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
        ask=Patience(ask, give_up_after_seconds=limits.give_up_after_seconds, stopped=stopped, tell=tell).ask,
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
