"""What a run did, as frozen records: the JSON that programs read and the summary that people read."""

from harvester.report.layer import Report
from harvester.report.parts import FailedTile, LodReport, Took
from harvester.report.webmap import LeftOut, WebMapReport

__all__ = ["FailedTile", "LeftOut", "LodReport", "Report", "Took", "WebMapReport"]
