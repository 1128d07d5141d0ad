"""Give the tool many seeded inputs of each kind, and count those that it handles wrongly.

    python benchmarks/fuzz.py                                # all kinds, the numbers below, seed 0
    python benchmarks/fuzz.py --kind budgets --count 1000 --seed 7
    python benchmarks/fuzz.py --kind keeps --only 17         # one case again, with its traceback

A fault is an exception other than a PruneError, a wrong result without an error, or over 20 s or 2 GiB.
"""

import argparse
import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from fuzzing.driver import KINDS, Finding, run_case, run_kind

COUNTS = {
    "budgets": 25_000,
    "recipes": 3_000,
    "keeps": 3_000,
    "configs": 600,
    "audio": 2_500,
    "metadata": 1_600,
    "trials": 600,
    "arpa": 600,
}
SHOWN = 10


def main() -> int:
    """Run the chosen kinds. The exit status is 1 if there was a fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=KINDS, action="append", help="repeatable (default: all)")
    parser.add_argument("--count", type=int, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one case, by its number")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes")
    parser.add_argument("--save", type=Path, help="write counts and faults as JSON")
    arguments = parser.parse_args()
    kinds = arguments.kind or list(KINDS)
    if arguments.only is not None:
        for kind in kinds:
            _show(run_case(kind, arguments.seed, arguments.only))
        return 0
    table, faults = {}, list[Finding]()
    for kind in kinds:
        began, count = time.monotonic(), arguments.count or COUNTS[kind]
        found = list(run_kind(kind, arguments.seed, range(count), arguments.jobs))
        bad = [each for each in found if each.is_fault]
        faults += bad
        table[kind] = {
            "cases": len(found),
            **Counter(each.outcome for each in found),
            "slowest_s": round(max(each.seconds for each in found), 1),
            "minutes": round((time.monotonic() - began) / 60, 1),
        }
        print(kind, table[kind], flush=True)
        for each in bad[:SHOWN]:
            _show(each)
    if arguments.save:
        arguments.save.parent.mkdir(parents=True, exist_ok=True)
        content = {"seed": arguments.seed, "kinds": table, "faults": [asdict(each) for each in faults]}
        arguments.save.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 1 if faults else 0


def _show(finding: Finding) -> None:
    print(f"  {finding.kind} {finding.index}: {finding.outcome} ({finding.seconds:.1f} s) {finding.label}")
    for line in finding.detail.splitlines():
        print(f"      {line}")


if __name__ == "__main__":
    raise SystemExit(main())
