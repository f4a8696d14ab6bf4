"""From a job to opened sources and the transport that asks them; one place knows the classes behind both."""

from __future__ import annotations

from dataclasses import dataclass

from harvester.edges import Source, Transport
from harvester.errors import SourceError
from harvester.job import Job
from harvester.sources.open import Options, open_services
from harvester.transport.session import Access, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One tiled service, under the name that the web map gives it, or its own."""

    name: str
    source: Source


@dataclass(slots=True, kw_only=True)
class Opened:
    """What a job's source turned out to be. ``close`` it when the last tile has come: tokens are renewed through it."""

    source: str
    layers: tuple[Layer, ...]
    skipped: tuple[tuple[str, str], ...]
    """(name, reason) of a web map's layers that are not for harvesting."""
    lost: tuple[tuple[str, SourceError], ...]
    """Layers that should be there and can't be opened; the error's message does not repeat the name."""
    is_web_map: bool
    session: Session
    told: int = 0

    @property
    def left_out(self) -> tuple[tuple[str, str], ...]:
        """(name, reason) of every layer that is not harvested, the lost ones last."""
        return (*self.skipped, *((name, error.message) for name, error in self.lost))

    def take_requests(self) -> int:
        """Requests for documents and tokens that no report has counted yet."""
        told, self.told = self.told, self.session.requests
        return self.told - told

    async def close(self) -> None:
        """Close the connections."""
        await self.session.close()


async def open_job_source(job: Job, *, may_be_empty: bool = False) -> Opened:
    """Open what the job names. Raises SourceError, AuthError; also for a web map without a tiled layer."""
    session = Session(Access.of(job))
    try:
        found = await open_services(job.source, session, Options.of(job))
        if not found.layers and not may_be_empty:
            raise SourceError(
                f"{found.source} has no tiled layer",
                hint="; ".join(f"{name}: {reason}" for name, reason in found.skipped) or "The map is empty.",
            )
    except BaseException:
        await session.close()
        raise
    return Opened(
        source=found.source,
        layers=tuple(Layer(name=layer.name, source=layer.source) for layer in found.layers),
        skipped=found.skipped,
        lost=tuple((name, _without(name, error)) for name, error in found.lost),
        is_web_map=found.is_map,
        session=session,
    )


def _without(name: str, error: SourceError) -> SourceError:
    """The error of a layer that is told under its name."""
    return type(error)(error.message.removeprefix(f"layer {name!r}: "), hint=error.hint, code=error.code)


def transport_for(job: Job, layer: Layer) -> Transport:
    """The transport for a layer's tiles: the fast lanes, or aiohttp where a proxy stands in between."""
    from harvester.transport import choose

    return choose.transport_for(Access.of(job), layer.source.hosts, connections=job.limits.concurrency)
