"""Run random smoke recipes for some minutes, and watch memory and leftovers.

    python benchmarks/soak.py --minutes 60 --curve benchmarks/results/soak.csv
    python benchmarks/soak.py --laps 200      # instead: trace, attach gates, finalize and resize a tiny model

Each run draws a shipped recipe, a method, a budget and a seed, and makes a tiny model of shipped words in a
temporary folder. It must finish, or be refused by a PruneError. Afterwards its folder must hold no temporary
files, and the memory of the process (RSS) is written down: it must not grow with the number of runs.
"""

import argparse
import gc
import os
import random
import tempfile
import time
import traceback
from pathlib import Path
from statistics import median

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from prune_ssl import PruningConfig, attach_gates, resize, trace
from prune_ssl.errors import PruneError
from prune_ssl.pipeline import run
from prune_ssl.recipes import load_recipe
from prune_ssl.recipes.shipped import shipped_names
from prune_ssl.writing import write_text

METHODS = ("gates", "one_shot/magnitude", "one_shot/taylor", "iterative/taylor", "iterative/magnitude")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LAP_CONFIG = {
    "conv_dim": [64] * 7,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "num_conv_pos_embedding_groups": 8,
}
WARM_UP = 5
"""The first runs fill caches, so growth is counted after them."""


def main() -> int:
    """Soak, print the results, and return 1 if a run ended otherwise than it may, or left something."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--laps", type=int, help="of trace, attach_gates, finalize and resize, and no runs")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the runs")
    parser.add_argument("--curve", type=Path, help="write a line for each run to this CSV file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.laps:
        print(f"{arguments.laps} laps. {growth(laps(arguments.laps))}")
        return 0
    draw, began = random.Random(arguments.seed), time.monotonic()
    rows = list[tuple[str, str, float]]()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        while time.monotonic() - began < 60 * arguments.minutes:
            out = Path(name) / f"{len(rows)}"
            what, overrides = drawn(draw, out)
            end = ended(what, overrides)
            left = [str(path.relative_to(out)) for path in out.rglob(".*")] if out.is_dir() else []
            left += [path.name for path in Path(name).glob(".*")]
            end = f"left {', '.join(left)}" if left else end
            gc.collect()
            rows.append((" ".join([what, *overrides[1:]]), end, rss_mib()))
            print(f"{len(rows):4d}  {rows[-1][2]:7.1f} MiB  {end:.60}  {rows[-1][0]}", flush=True)
    if arguments.curve:
        lines = [f'{number},{mib:.1f},"{end}","{what}"' for number, (what, end, mib) in enumerate(rows, 1)]
        write_text(arguments.curve, "\n".join(["run,rss_mib,end,what", *lines]) + "\n")
    bad = [row for row in rows if not row[1].startswith(("finished", "refused"))]
    print(f"{len(rows)} runs, {sum(row[1] == 'finished' for row in rows)} finished, {len(bad)} bad")
    print(growth([mib for *_, mib in rows]))
    return int(bool(bad))


def drawn(draw: random.Random, out: Path) -> tuple[str, list[str]]:
    """Return a recipe and its overrides."""
    what = draw.choice(shipped_names())
    overrides = [f"output={out}", "smoke=true", f"seed={draw.randrange(1000)}", "checkpoint_steps=2"]
    if load_recipe(what).pruning is not None:
        method, _, criterion = draw.choice(METHODS).partition("/")
        overrides += [f"pruning.method={method}"] + [f"pruning.criterion={criterion}"] * bool(criterion)
        overrides.append(f"pruning.budget=macs={draw.choice((90, 70, 50, 30, 5))}%")
    return what, overrides


def ended(what: str, overrides: list[str]) -> str:
    """Run a recipe, and return its end in a few words."""
    try:
        run(load_recipe(what, overrides), say=lambda line: None)
    except PruneError as error:
        return f"refused: {error}"
    except Exception:  # whatever else it is, it is a finding
        traceback.print_exc()
        return "traceback"
    return "finished"


def laps(count: int) -> list[float]:
    """Trace, gate, finalize and cut a model of random weights so many times. Return the memory after each."""
    found = list[float]()
    for lap in range(count):
        torch.manual_seed(lap)
        model = Wav2Vec2ForCTC(Wav2Vec2Config(**LAP_CONFIG))
        graph = trace(model)
        gates = attach_gates(model, graph, PruningConfig(budget="macs=50%"))
        with torch.no_grad():
            gates.log_alpha.normal_(0, 3)
        plan = gates.finalize()
        gates.detach()
        resize(model, graph, plan)
        del model, graph, gates, plan
        gc.collect()
        found.append(rss_mib())
    return found


def rss_mib() -> float:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 2**20


def growth(curve: list[float]) -> str:
    """Return the medians of the thirds of a memory curve after its warm-up, in words."""
    after = curve[WARM_UP:]
    if len(after) < 3:
        return "too few runs to tell whether memory grows"
    third = len(after) // 3
    parts = [after[:third], after[third : 2 * third], after[2 * third :]]
    return "RSS, medians of thirds: " + ", ".join(f"{median(part):.1f} MiB" for part in parts)


if __name__ == "__main__":
    raise SystemExit(main())
