"""Owns the report: what pruning cost and gained, as JSON, Markdown or one HTML page."""

from prune_ssl.report.assembly import Report, report
from prune_ssl.report.model import ReportData

__all__ = ["Report", "ReportData", "report"]
