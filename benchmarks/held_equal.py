"""Compare six small seeded runs of two versions of the source: keeps, weights and figures, bit for bit.

Use it for work that must not change outputs: run it before a merge, against the commit where work began.

    python benchmarks/held_equal.py 500cd9e          # the working tree against a commit
    python benchmarks/held_equal.py 500cd9e --only gates --only joint
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
WORDS = ROOT / "prune_ssl" / "assets" / "words"

MODEL = {
    "family": "hubert",
    "config": {
        "conv_dim": [16, 16, 16, 16, 16, 16, 16],
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
        "classifier_proj_size": 16,
        "apply_spec_augment": False,
        "layerdrop": 0.0,
    },
}
COMMON: dict[str, Any] = {
    "task": "classification",
    "model": MODEL,
    "data": {"path": str(WORDS), "augment": True},
    "dense": {"steps": 20, "learning_rate": 1e-3},
    "batch_size": 8,
    "eval_batch_size": 32,
    "report": {"seconds": [1.0], "threads": [1], "iterations": 3, "min_seconds": 0.0},
    "seed": 3,
}
PRUNING = {"budget": "macs=50%", "steps": 24, "learning_rate": 5e-4, "recovery": 1.0, "seconds": 1.0}
DISTILLATION = {"losses": {"l1": 1.0, "cosine": 1.0, "logits": 1.0}, "task_weight": 0.5}
XVECTOR = {"tdnn_dim": [8, 8, 8, 8, 8], "xvector_output_dim": 16}
RUNS: dict[str, dict[str, Any]] = {
    "gates": {"pruning": PRUNING, "distillation": DISTILLATION},
    "sepsize": {"pruning": PRUNING | {"budget": "frontend.params=50%,encoder.params=50%"}},
    "iterative": {"pruning": PRUNING | {"method": "iterative", "criterion": "taylor"}},
    "progressive": {"pruning": PRUNING | {"budgets": ["75%", "50%"]}},
    "student": {
        "task": "representation",
        "data": {"path": str(WORDS), "augment": False},
        "dense": None,
        "student": {"layers": 1, "steps": 20, "learning_rate": 2e-4},
        "distillation": {"losses": {"l1": 1.0}, "task_weight": 0, "projection": "heads", "layers": [1, 3]},
    },
    "joint": {
        "task": "joint",
        "model": {"family": "wav2vec2", "config": MODEL["config"] | XVECTOR},
        "data": {"path": str(WORDS), "target": "label|speaker"},
        "pruning": PRUNING | {"budget": "params=50%"},
        "distillation": DISTILLATION,
    },
}
TIMES = (
    "second",
    "latency",
    "millisecond",
    "faster",
    "speed",
    "time",
    "created",
    "commit",
    "machine",
    "rtf",
    "memory",
    "path",
)


def figures(item: object, where: str = "") -> dict[str, object]:
    """The report's numbers and texts, but for those that a second run on the same code changes too."""
    if isinstance(item, Mapping):
        parts = item.items()
    elif isinstance(item, list):
        parts = enumerate(item)
    else:
        return {where: item}
    found: dict[str, object] = {}
    for name, value in parts:
        if not any(word in str(name).lower() for word in TIMES):
            found |= figures(value, f"{where}/{name}")
    return found


def results(folder: Path) -> dict[str, str]:
    """File -> hash of what it holds: tensors, plans, and the report's figures."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if "checkpoint-" in name or ".cache" in name:
            continue
        total = hashlib.sha256()
        if file.suffix == ".safetensors":
            for key, value in sorted(load_file(file).items()):
                total.update(key.encode() + value.tobytes())
        elif file.name in ("pruning_plan.json", "plan.json"):
            total.update(json.dumps(json.loads(file.read_text())["keep"], sort_keys=True).encode())
        elif file.name == "config.json":
            config = json.loads(file.read_text())
            config.pop("transformers_version", None)
            config = {
                key: value for key, value in config.items() if value not in (None, False)
            }  # as not said
            total.update(json.dumps(config, sort_keys=True).encode())
        elif file.name == "report.json":
            total.update(json.dumps(figures(json.loads(file.read_text())), sort_keys=True).encode())
        else:
            continue
        found[name] = total.hexdigest()[:16]
    return found


def run(tree: Path, name: str, folder: Path) -> dict[str, str]:
    """One recipe with the source of `tree`."""
    recipe = folder / "recipe.yaml"
    folder.mkdir(parents=True)
    recipe.write_text(yaml.safe_dump(COMMON | {"name": name} | RUNS[name] | {"output": str(folder / "run")}))
    code = "import sys; from prune_ssl.cli.app import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(recipe)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=folder,
    )
    if done.returncode:
        raise SystemExit(f"{name} in {tree}: {done.stdout[-1500:]}\n{done.stderr[-3000:]}")
    return results(folder / "run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", help="the commit to compare with")
    parser.add_argument("--only", action="append", choices=sorted(RUNS))
    chosen = parser.parse_args()
    different = 0
    with tempfile.TemporaryDirectory() as place:
        before = Path(place) / "before"
        subprocess.run(
            ["git", "-C", str(ROOT), "worktree", "add", "--detach", str(before), chosen.commit], check=True
        )
        try:
            for name in chosen.only or RUNS:
                old = run(before, name, Path(place) / "old" / name)
                new = run(ROOT, name, Path(place) / "new" / name)
                wrong = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
                different += bool(wrong)
                print(
                    f"{name}: {len(old)} files, " + (f"DIFFERENT: {', '.join(wrong)}" if wrong else "equal"),
                    flush=True,
                )
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(before)], check=True)
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
