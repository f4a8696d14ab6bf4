"""What a run did, as one frozen record: the JSON that programs read and the summary that people read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from harvester.engine import Outturn
from harvester.engine.repeats import Repeat
from harvester.engine.stop import StopReason
from harvester.errors import HarvesterError
from harvester.events import Counts
from harvester.planning import PlannedLod
from harvester.redact import scrub_json

EXIT_ORDER = (143, 130, 4, 3, 2, 1, 0)
"""When several hold, the first of these wins."""


class ByState:
    """Tiles by state under the names that the JSON has; each gives ``counts`` of its own."""

    __slots__ = ()

    def _by_state(self) -> Counts:
        raise NotImplementedError

    @property
    def planned(self) -> int:
        """Tiles of this job's plan: the sum of the following five."""
        return self._by_state().planned

    @property
    def stored(self) -> int:
        """Tiles in the cache, by this run or before it."""
        return self._by_state().stored

    @property
    def unchanged(self) -> int:
        """Tiles that a refresh found to be current."""
        return self._by_state().unchanged

    @property
    def absent(self) -> int:
        """Tiles that the source says are not there."""
        return self._by_state().absent

    @property
    def failed(self) -> int:
        """Tiles that were wrong after all tries."""
        return self._by_state().failed

    @property
    def pending(self) -> int:
        """Tiles without an end yet."""
        return self._by_state().pending


@dataclass(frozen=True, slots=True, kw_only=True)
class LodReport(ByState):
    """One LOD of a job: its number, its scale denominator, its tiles by state (``planned``, ``stored`` ...)."""

    level: int
    scale: float
    counts: Counts

    def _by_state(self) -> Counts:
        return self.counts


def _sum(parts: Iterable[Counts]) -> Counts:
    return Counts(*(sum(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTile:
    """A tile that failed, and why."""

    level: int
    row: int
    col: int
    reason: str


class Took(NamedTuple):
    """Seconds of a run by what it did: opening and planning, asking for tiles and writing them, and describing,
    sealing or swapping the cache."""

    preparing: float = 0.0
    fetching: float = 0.0
    finishing: float = 0.0


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
            questions=tally.questions,
            throttled=tally.throttled,
            bytes=tally.bytes,
            seconds=sum(took),
            took=took,
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
        return _sum(lod.counts for lod in self.lods)

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
                {"level": tile.level, "row": tile.row, "col": tile.col, "reason": tile.reason} for tile in self.failures
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


class LeftOut(NamedTuple):
    """A layer of a web map that has no report, and why; ``hint`` is the remedy where it should have one."""

    name: str
    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebMapReport(ByState):
    """The reports of a web map's layers, one cache each, and the layers that were left out with the reason.

    ``planned``, ``stored`` ... ``requests``, ``bytes``, ``seconds`` are the sums of the layers'.
    """

    source: str
    layers: tuple[Report, ...]
    skipped: tuple[LeftOut, ...] = ()
    """Layers of other kinds, or that no policy matches."""
    lost: tuple[LeftOut, ...] = ()
    """Layers that should be there and could not be opened: the run ends with exit 3."""
    not_begun: tuple[LeftOut, ...] = ()
    """Layers that were still to come when the run was stopped."""
    stop: StopReason | None = None
    """Why some were not begun."""

    @property
    def counts(self) -> Counts:
        """Tiles by state, all layers together."""
        return _sum(layer.counts for layer in self.layers)

    def _by_state(self) -> Counts:
        return self.counts

    @property
    def fetched(self) -> int:
        """Tiles stored by this run."""
        return sum(layer.fetched for layer in self.layers)

    @property
    def kept(self) -> int:
        """Tiles stored before it."""
        return sum(layer.kept for layer in self.layers)

    @property
    def requests(self) -> int:
        """HTTP requests of this run."""
        return sum(layer.requests for layer in self.layers)

    @property
    def tile_requests(self) -> int:
        """Those for tiles."""
        return sum(layer.tile_requests for layer in self.layers)

    @property
    def retries(self) -> int:
        """Requests that were made again."""
        return sum(layer.retries for layer in self.layers)

    @property
    def questions(self) -> int:
        """Tile requests that only asked whether a host is well or a credential holds."""
        return sum(layer.questions for layer in self.layers)

    @property
    def throttled(self) -> int:
        """Answers that asked for less (429, 503)."""
        return sum(layer.throttled for layer in self.layers)

    @property
    def bytes(self) -> int:
        """Bytes of bodies received."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def seconds(self) -> float:
        """What the layers took, one after the other; opening the map counts with the first."""
        return sum(layer.seconds for layer in self.layers)

    @property
    def dedup_saved(self) -> int | None:
        """Bytes of tiles that are stored as another tile's; None where no layer stores tiles so."""
        known = [layer.dedup_saved for layer in self.layers if layer.dedup_saved is not None]
        return sum(known) if known else None

    @property
    def failures(self) -> tuple[FailedTile, ...]:
        """Failed tiles, layer by layer; at most as many of each as its own report lists."""
        return tuple(tile for layer in self.layers for tile in layer.failures)

    @property
    def complete(self) -> bool:
        """True when every layer is, and none is lost or was not begun."""
        return not self.lost and self.stop is None and all(layer.complete for layer in self.layers)

    @property
    def exit_code(self) -> int:
        """The worst of the layers'."""
        codes = {layer.exit_code for layer in self.layers} | {3 if self.lost else 0}
        codes.add(0 if self.stop is None else self.stop.exit_code)
        return next(code for code in EXIT_ORDER if code in codes)

    def to_json(self) -> str:
        """``to_dict`` as text, one document, ending in a line feed."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``run --json`` for a web map."""
        document: dict[str, Any] = {
            "source": self.source,
            "complete": self.complete,
            "layers": [{"name": layer.name, **layer.to_dict()} for layer in self.layers],
            "skipped": [
                {"name": one.name, "reason": one.reason} | ({"hint": one.hint} if one.hint else {})
                for one in (*self.skipped, *self.lost, *self.not_begun)
            ],
        }
        if self.stop is not None:
            document["error"] = {"code": self.stop.code, "message": self.stop.message, "hint": self.stop.hint}
        return document
