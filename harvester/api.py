"""The Python API: blocking ``run`` and ``plan``, ``harvest`` for an event loop of one's own, sources and caches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harvester.edges import CacheReader, Source
from harvester.events import Event
from harvester.job import Job
from harvester.loop import run_loop
from harvester.wording import counted

if TYPE_CHECKING:
    from harvester.planning import Plan
    from harvester.report import Report, WebMapReport

T = TypeVar("T")


def run(job: Job, *, on_event: Callable[[Event], None] | None = None) -> Report | WebMapReport:
    """Harvest a job and wait for it. In a thread that already runs an event loop (a notebook) it runs in one of its
    own.

    Returns the report, also of a run that ended incomplete. Raises HarvesterError for what ends it before its first
    tile.
    """
    return blocking(harvest(job, on_event=on_event))


async def harvest(job: Job, *, on_event: Callable[[Event], None] | None = None) -> Report | WebMapReport:
    """Harvest a job in the running event loop; ``on_event`` gets each Event as it happens. Cancelling it ends the
    run."""
    from harvester.assemble.run import harvest_job

    return await harvest_job(job, emit=on_event or (lambda event: None))


def plan(job: Job) -> Plan:
    """The exact plan of a job with one tiled service: ``.total``, ``.lods``. Asks for the service document, for no
    tile.

    Raises UsageError (AOI, selection), SourceError (the service), and for a web map, whose layers have a plan each:
    see ``plans``.
    """
    from harvester.errors import UsageError

    found = plans(job)
    if len(found) != 1:
        raise UsageError(
            "this web map has several layers, each with its own plan", hint="Use harvester.api.plans(job)."
        )
    return next(iter(found.values()))


def plans(job: Job) -> dict[str, Plan]:
    """The plan of each tiled layer by name; a service is one layer."""

    async def work() -> dict[str, Plan]:
        from harvester.assemble.plan import plan_layers
        from harvester.assemble.sources import open_job_source

        opened = await open_job_source(job)
        try:
            planned, _ = plan_layers(
                job, [one.source.info for one in opened.layers], [one.name for one in opened.layers]
            )
            return {one.info.name: one.plan for one in planned}
        finally:
            await opened.close()

    return blocking(work())


def open_source(url: str, **options: Any) -> SourceView:
    """What a tile service says of itself: ``.lods``, ``.tiling_scheme``, ``.name``. Options are those of a Job
    (``token_env``, ``headers``, ``ca_bundle`` ...). Raises SourceError, AuthError."""

    async def work() -> SourceView:
        from harvester.assemble.sources import open_job_source
        from harvester.errors import UsageError

        opened = await open_job_source(Job(source=url).with_options(**options))
        try:
            if opened.is_web_map:
                raise UsageError(f"{opened.source} is a web map", hint="Open its layers one by one.")
            return SourceView(opened.layers[0].source)
        finally:
            await opened.close()

    return blocking(work())


class SourceView:
    """A source as a person looks at it."""

    def __init__(self, source: Source) -> None:
        self.info = source.info

    @property
    def name(self) -> str:
        """The service's own name."""
        return self.info.name

    @property
    def tiling_scheme(self) -> Any:
        """CRS, origin, tile size, LODs."""
        return self.info.scheme

    @property
    def lods(self) -> tuple[Any, ...]:
        """The LODs, from the coarsest to the finest: ``level``, ``resolution``, ``scale``."""
        return self.info.scheme.lods

    def __repr__(self) -> str:
        return f"<{self.info.kind} {self.info.name!r}: {counted(len(self.lods), 'LOD')} in {self.info.scheme.crs}>"


def open_cache(path: str | Path) -> CacheReader:
    """Open any cache for reading; use it in a ``with`` block. ``read(level, row, col)`` gives bytes or None, row 0 on
    top.

    Raises CacheError for what is no cache or is damaged.
    """
    from harvester.caches.open import open_cache as open_any

    return open_any(Path(path))


def blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end: on uvloop where it exists, in a thread of its own where this one has a running
    loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run_loop(work)
    result: list[T] = []
    trouble: list[BaseException] = []

    def in_thread() -> None:
        try:
            result.append(run_loop(work))
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=in_thread, name="harvester")
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]
    return result[0]
