"""Check on a GPU what no test can check without one, in at most 8 minutes on one H100.

    python benchmarks/gpu.py --out gpu.json
    python benchmarks/gpu.py --device cpu --tiny          # the same code, in seconds, without a GPU

Each check prints PASS or FAIL, its figures and its seconds. A check that raises an error has failed, and the
next one begins. A check that needs what the machine does not have is skipped. The exit status is the number
of checks that failed. docs/gpu.md says what the checks mean.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from gpu_checks import rightness, speed
from gpu_checks.setting import Check, NotHere, Setting

CHECKS: dict[str, Check] = {
    "facts": rightness.facts,
    "recipes": rightness.recipes,
    "exactness": rightness.exactness,
    "ranks": rightness.ranks,
    "waits": speed.waits,
    "times": speed.times,
    "teachers": speed.teachers,
    "memory": speed.memory,
    "scaler": rightness.scaler,
    "crossing": rightness.crossing,
    "measuring": rightness.measuring,
    "several GPUs": rightness.several_gpus,
}
"""The checks, those first that are likeliest to fail."""


def run_check(check: Check, setting: Setting) -> dict[str, object]:
    """Return the result of a check, whatever happens in it."""
    start = time.perf_counter()
    try:
        outcome = check(setting)
        found: dict[str, object] = {
            "result": "PASS" if outcome.passed else "FAIL",
            "figures": outcome.figures,
        }
    except NotHere as reason:
        found = {"result": "SKIPPED", "reason": str(reason)}
    except Exception as error:  # the other checks are to run all the same
        found = {"result": "FAIL", "error": f"{type(error).__name__}: {error}"[:2000]}
    return found | {"seconds": round(time.perf_counter() - start, 2)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; return how many failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true", help="tiny models and few steps")
    parser.add_argument("--only", action="append", choices=CHECKS, help="run this check; may be repeated")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    chosen = parser.parse_args(arguments)
    setting = Setting(chosen.device, chosen.tiny)
    results: dict[str, dict[str, object]] = {}
    for name in chosen.only or CHECKS:
        results[name] = result = run_check(CHECKS[name], setting)
        print(f"{result['result']:7} {name}: {json.dumps(result, default=str)}", flush=True)
        if chosen.out is not None:  # after each check, so that a run that is cut off leaves its results
            chosen.out.write_text(json.dumps(results, indent=2, default=str) + "\n", encoding="utf-8")
    failed = sum(result["result"] == "FAIL" for result in results.values())
    print(f"{len(results)} checks, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
