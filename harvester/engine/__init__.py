"""One run: pulls tiles from the plan, pushes them through the contracts of ``edges``, and ends in order whatever
happens."""

from harvester.engine.run import Engine, Holding, Outturn, agree
from harvester.engine.stop import StopReason, StopSwitch
from harvester.engine.tally import Tally

__all__ = ["Engine", "Holding", "Outturn", "StopReason", "StopSwitch", "Tally", "agree"]
