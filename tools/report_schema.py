"""Write the JSON Schema of report.json into the package: python -m tools.report_schema."""

import json
from pathlib import Path

from prune_ssl.reporting import ReportData

TARGET = Path(__file__).parents[1] / "prune_ssl" / "reporting" / "report.schema.json"
ABOUT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "report.json of prune_ssl",
    "description": "What Report.save writes as .json and Report.load reads. Fields without a default are "
    "required. Costs are counted for batch 1, times are milliseconds, sizes bytes.",
}


def schema_text() -> str:
    """Return the schema as JSON with a line break at its end."""
    return json.dumps(ReportData.model_json_schema() | ABOUT, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(schema_text(), encoding="utf-8")
    print(f"wrote {TARGET}")
