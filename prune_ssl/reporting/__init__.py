"""The report: costs and results of a dense and a pruned model, as JSON, Markdown or one HTML page."""

from prune_ssl.reporting.assembly import Report, report
from prune_ssl.reporting.facts import RunFacts
from prune_ssl.reporting.model import ReportData

__all__ = ["Report", "ReportData", "RunFacts", "report"]
