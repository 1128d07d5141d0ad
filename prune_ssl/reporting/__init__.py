"""The report: costs and results of a dense and a pruned model, as JSON, Markdown or one HTML page."""

from typing import TYPE_CHECKING

from prune_ssl.lazy_names import lazily

if TYPE_CHECKING:
    from prune_ssl.reporting.assembly import Report, report
    from prune_ssl.reporting.facts import RunFacts
    from prune_ssl.reporting.model import ReportData
    from prune_ssl.reporting.side_by_side import SideBySide, compare_models

__getattr__, __dir__ = lazily(
    __name__,
    {
        "prune_ssl.reporting.assembly": "Report report",
        "prune_ssl.reporting.facts": "RunFacts",
        "prune_ssl.reporting.model": "ReportData",
        "prune_ssl.reporting.side_by_side": "SideBySide compare_models",
    },
)

__all__ = ["Report", "ReportData", "RunFacts", "SideBySide", "compare_models", "report"]
