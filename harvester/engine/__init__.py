"""One run: pulls tiles from the plan, pushes them through the contracts of ``edges``, and ends in order whatever
happens."""

from harvester.engine.agreement import Agreement, Holding, agree
from harvester.engine.ends import TRIED_REMEMBERED
from harvester.engine.run import Engine, Outturn
from harvester.engine.stop import StopReason, StopSwitch
from harvester.engine.tally import Tally

__all__ = [
    "TRIED_REMEMBERED", "Agreement", "Engine", "Holding", "Outturn", "StopReason", "StopSwitch", "Tally", "agree",
]  # fmt: skip
