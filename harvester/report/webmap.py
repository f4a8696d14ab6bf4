"""What a run over a web map did: the reports of its layers, and the layers that have none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from harvester.engine.stop import StopReason
from harvester.events import Counts
from harvester.report.layer import Report
from harvester.report.parts import EXIT_ORDER, ByState, FailedTile, summed


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
        return summed(layer.counts for layer in self.layers)

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
