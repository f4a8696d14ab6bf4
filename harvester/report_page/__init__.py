"""What a run did, years later: the stored report of any run, and one HTML page of it that needs nothing else."""

from __future__ import annotations

from harvester.report_page.page import html_page
from harvester.report_page.stored import StoredRun, choose_run, stored_runs

__all__ = ["StoredRun", "choose_run", "html_page", "stored_runs"]
