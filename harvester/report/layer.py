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
from harvester.redact import scrub_json
from harvester.report.parts import EXIT_ORDER, ByState, FailedTile, LodReport, Took, summed


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(ByState):
    """How a run ended, by the names of ``run --report``: ``complete``, ``planned``, ``stored`` ... ``failures``.

    ``planned`` to ``pending``, also as ``counts``, and ``lods`` speak of this job's plan; ``fetched``, ``requests`` and
    what follows, of this run. ``planned = stored + unchanged + absent + failed + pending`` in every one of them.
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
    questions: int = 0
    """Tile requests that only asked whether the host is well or the credential holds; none of them is a retry."""
    throttled: int = 0
    bytes: int = 0
    seconds: float = 0.0
    """From the command's start to its end, by the clock on the wall; ``took`` says for what."""
    took: Took | None = None
    dedup_saved: int | None = None
    """Bytes of tiles of the whole cache that are stored as another tile's; None where each tile has its own, or where
    this run stored none."""
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
        took: Took,
        notices: Sequence[str],
        documents: int = 0,
    ) -> Self:
        """The report of a run that ended; a LOD of which no tile is planned is none of its own."""
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
                if lod.planned
            ),
            fetched=tally.fetched,
            kept=tally.kept,
            requests=tally.requests + documents,
            tile_requests=tally.tile_requests,
            retries=tally.retries,
            questions=tally.questions,
            throttled=tally.throttled,
            bytes=tally.bytes,
            seconds=sum(took),
            took=took,
            failures=tuple(
                FailedTile(**failure.tile._asdict(), reason=failure.reason, detail=failure.detail)
                for failure in outturn.failures
            ),
            notices=tuple(notices),
            repeats=outturn.repeats,
            stop=outturn.stop,
        )

    @property
    def counts(self) -> Counts:
        """Tiles by state, all LODs together."""
        return summed(lod.counts for lod in self.lods)

    def _by_state(self) -> Counts:
        return self.counts

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

    def with_took(self, took: Took) -> Report:
        """The same report when the run had come to its end."""
        return replace(self, took=took, seconds=sum(took))

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
                {"level": tile.level, "row": tile.row, "col": tile.col, "reason": tile.reason}
                | ({"detail": tile.detail} if tile.detail else {})
                for tile in self.failures
            ],
        }
        if self.questions:
            document["questions"] = self.questions
        if self.took is not None:
            document["took"] = {name: round(seconds, 3) for name, seconds in self.took._asdict().items()}
        if self.dedup_saved is not None:
            document["dedup_saved"] = self.dedup_saved
        if self.repeats:
            document["repeats"] = [
                {"hash": one.hash, "tiles": one.tiles, "share": round(one.share, 4), "sample": str(one.sample)}
                for one in self.repeats
            ]
        if self.notices:
            document["notices"] = list(self.notices)
        if self.stop is not None:
            document["error"] = {"code": self.stop.code, "message": self.stop.message, "hint": self.stop.hint}
        found: dict[str, Any] = scrub_json(document)
        return found
