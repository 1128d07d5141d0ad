"""Say what pip-audit found, and fail if it found a weakness or could look nothing up.

    pip-audit --format json --output out/audit.json ...; python -m tools.read_audit out/audit.json

pip-audit itself ends with success where an index knows no weaknesses at all: it skips every package.
"""

import json
import sys
from pathlib import Path


def main() -> int:
    """Print a line for each weakness and the counts. Return 1 if there is one, or if nothing was audited."""
    text, status = summary(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(text)
    return status


def summary(content: str) -> tuple[str, int]:
    """Return the text for an audit in JSON, and the exit status.

    >>> summary('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}')
    ('0 packages audited, 1 could not be looked up (first: a: not found), 0 known weaknesses', 1)
    """
    packages = json.loads(content)["dependencies"]
    skipped = [f"{each['name']}: {each['skip_reason']}" for each in packages if "skip_reason" in each]
    found = [
        f"{each['name']} {each['version']}: {weakness['id']}, mended in "
        f"{', '.join(weakness['fix_versions']) or 'no release yet'}"
        for each in packages
        for weakness in each.get("vulns", ())
    ]
    audited = len(packages) - len(skipped)
    first = f" (first: {skipped[0]})" if skipped else ""
    counts = f"{audited} packages audited, {len(skipped)} could not be looked up{first}"
    return "\n".join([*found, f"{counts}, {len(found)} known weaknesses"]), int(bool(found) or audited == 0)


if __name__ == "__main__":
    raise SystemExit(main())
