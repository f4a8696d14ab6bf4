"""Job -> Source, Transport, Cache, Ledger, Engine: the only place that knows all classes."""

from harvester.assemble.plan import PlannedLayer, plan_layers
from harvester.assemble.run import harvest_job
from harvester.assemble.sources import Layer, Opened, open_job_source

__all__ = ["Layer", "Opened", "PlannedLayer", "harvest_job", "open_job_source", "plan_layers"]
