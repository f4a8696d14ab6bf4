"""One run: pulls tiles from the plan, pushes them through the contracts of ``edges``, and ends in order whatever happens."""

from harvester.engine.run import Engine, Holding, Outturn, StopReason

__all__ = ["Engine", "Holding", "Outturn", "StopReason"]
