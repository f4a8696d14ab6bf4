"""What a run did, as one frozen record: the JSON that programs read and the summary that people read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from harvester.engine import Outturn
from harvester.engine.repeats import Repeat
from harvester.engine.stop import StopReason
from harvester.errors import HarvesterError
from harvester.events import Counts
from harvester.planning import PlannedLod

EXIT_ORDER = (143, 130, 4, 3, 2, 1, 0)
"""When several hold, the first of these wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LodReport:
    """One LOD of a job: its number, its scale denominator, its tiles by state."""

    level: int
    scale: float
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTile:
    """A tile that failed, and why."""

    level: int
    row: int
    col: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a run ended. ``counts`` and ``lods`` speak of this job's plan; ``requests`` and what follows, of this run.

    ``planned = stored + unchanged + absent + failed + pending`` in every one of them.
    """

    source: str
    output: str
    format: str
    name: str = ""
    lods: tuple[LodReport, ...] = ()
    fetched: int = 0
    kept: int = 0
    requests: int = 0
    tile_requests: int = 0
    retries: int = 0
    throttled: int = 0
    bytes: int = 0
    seconds: float = 0.0
    failures: tuple[FailedTile, ...] = ()
    notices: tuple[str, ...] = ()
    repeats: tuple[Repeat, ...] = ()
    stop: StopReason | None = None

    @classmethod
    def of(
        cls,
        outturn: Outturn,
        *,
        source: str,
        output: str,
        format: str,
        name: str,
        lods: Sequence[PlannedLod],
        seconds: float,
        notices: Sequence[str],
        documents: int = 0,
    ) -> Self:
        """The report of a run that ended."""
        tally = outturn.tally
        return cls(
            source=source,
            output=output,
            format=format,
            name=name,
            lods=tuple(
                LodReport(level=lod.level, scale=lod.scale, counts=tally.counts([lod.level]))
                if lod.level in tally.levels
                else LodReport(level=lod.level, scale=lod.scale, counts=Counts())
                for lod in lods
            ),
            fetched=tally.fetched,
            kept=tally.kept,
            requests=tally.requests + documents,
            tile_requests=tally.tile_requests,
            retries=tally.retries,
            throttled=tally.throttled,
            bytes=tally.bytes,
            seconds=seconds,
            failures=tuple(
                FailedTile(level=failure.tile.level, row=failure.tile.row, col=failure.tile.col, reason=failure.reason)
                for failure in outturn.failures
            ),
            notices=tuple(notices),
            repeats=outturn.repeats,
            stop=outturn.stop,
        )

    @property
    def counts(self) -> Counts:
        """Tiles by state, all LODs together."""
        return Counts(*(sum(column) for column in zip(*(lod.counts for lod in self.lods), strict=True)))

    @property
    def complete(self) -> bool:
        """True when no planned tile failed or is pending, and nothing else went wrong."""
        counts = self.counts
        return counts.failed == 0 and counts.pending == 0 and (self.stop is None or self.stop.exit_code in (0, 1))

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        codes = {0 if self.complete else 1}
        if self.stop is not None:
            codes.add(self.stop.exit_code)
        return next(code for code in EXIT_ORDER if code in codes)

    def to_json(self) -> str:
        """``to_dict`` as text, one document, ending in a line feed."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"

    def with_error(self, error: HarvesterError) -> Report:
        """The same report of a run that then met an error (sealing, the swap)."""
        return replace(self, stop=StopReason.of(error))

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``run --json`` and ``run --report``."""
        counts = self.counts
        document: dict[str, Any] = {
            "source": self.source,
            "output": self.output,
            "format": self.format,
            "complete": self.complete,
            **counts._asdict(),
            "fetched": self.fetched,
            "kept": self.kept,
            "requests": self.requests,
            "tile_requests": self.tile_requests,
            "retries": self.retries,
            "throttled": self.throttled,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "lods": [{"level": lod.level, **lod.counts._asdict()} for lod in self.lods],
            "failures": [
                {"level": tile.level, "row": tile.row, "col": tile.col, "reason": tile.reason} for tile in self.failures
            ],
        }
        if self.repeats:
            document["repeats"] = [
                {"hash": one.hash, "tiles": one.tiles, "share": round(one.share, 4), "sample": str(one.sample)}
                for one in self.repeats
            ]
        if self.notices:
            document["notices"] = list(self.notices)
        if self.stop is not None:
            document["error"] = {"code": self.stop.code, "message": self.stop.message, "hint": self.stop.hint}
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class WebMapReport:
    """The reports of a web map's layers, one cache each, and the layers that were left out with the reason."""

    source: str
    layers: tuple[Report, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    lost: tuple[str, ...] = ()
    """Names of layers that should be there and could not be opened: the run ends with exit 3."""

    @property
    def complete(self) -> bool:
        """True when every layer is, and none is lost."""
        return not self.lost and all(layer.complete for layer in self.layers)

    @property
    def exit_code(self) -> int:
        """The worst of the layers'."""
        codes = {layer.exit_code for layer in self.layers} | {3 if self.lost else 0}
        return next(code for code in EXIT_ORDER if code in codes)

    def to_json(self) -> str:
        """``to_dict`` as text, one document, ending in a line feed."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``run --json`` for a web map."""
        return {
            "source": self.source,
            "complete": self.complete,
            "layers": [layer.to_dict() for layer in self.layers],
            "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped],
        }
