"""What a narrower positional convolution saves and costs, beside FFN neurons of as many parameters.

    python benchmarks/position_kernel.py PATH/TO/fsdd_digits --seeds 0 1 --out out/position

Trains the dense model of recipes/ks_digits_hj_mac.yaml once per seed. From it, each variant (the kernel's
outermost taps cut off, or FFN neurons of least magnitude) is judged on the test split right away and after
the same recovery as the uncut model. Results are kept in OUT, and finished ones are not repeated.
"""

import argparse
import copy
import json
import math
from pathlib import Path
from statistics import mean

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor, get_linear_schedule_with_warmup

from prune_ssl import resize, select, trace
from prune_ssl.cli.console import quiet_libraries
from prune_ssl.data import Augmentation, ClipDataset, FolderConfig, check_folder
from prune_ssl.recipes import load_recipe
from prune_ssl.tasks import TaskSettings, task_class

RECIPE = Path(__file__).parents[1] / "recipes" / "ks_digits_hj_mac.yaml"
TAPS = (8, 4, 2)


def narrow(model: nn.Module, taps: int) -> nn.Module:
    """Keep the innermost taps: weight norm has a magnitude for each, so what stays is what it was."""
    small = copy.deepcopy(model)
    conv = small.hubert.encoder.pos_conv_embed.conv
    first = conv.kernel_size[0] // 2 - taps // 2
    norms = conv.parametrizations.weight
    for name in ("original0", "original1"):
        setattr(norms, name, nn.Parameter(getattr(norms, name).detach()[..., first : first + taps].clone()))
    conv.kernel_size, conv.padding = (taps,), (taps // 2,)
    return small


def fit(model, clips, task, collate, steps, rate, batch_size, seed):
    torch.manual_seed(seed)
    data = ClipDataset(clips.splits["train"], task.encode, augmentation=Augmentation())
    loader = DataLoader(data, batch_size, shuffle=True, drop_last=True, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    done = 0
    while done < steps:
        for batch in loader:
            model(**batch).loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            done += 1
            if done == steps:
                break
    model.eval()


@torch.no_grad()
def accuracy(model, clips, task, collate) -> float:
    data = ClipDataset(sorted(clips.splits["test"], key=lambda clip: clip.seconds), task.encode_judged)
    right = 0
    for batch in DataLoader(data, 32, collate_fn=collate):
        right += int((model(**batch).logits.argmax(-1) == batch["labels"]).sum())
    return 100 * right / len(data)


def variants(dense: nn.Module):
    """Yield (name, model): uncut, narrower kernels, and FFN neurons of as many parameters."""
    yield "uncut", copy.deepcopy(dense)
    graph = trace(dense)
    for taps in TAPS:
        small = narrow(dense, taps)
        yield f"{taps} taps", small
        left = sum(parameter.numel() for parameter in small.parameters())
        keep = select(graph, dense, f"params={left}", kinds=("ffn",), round_to=1)
        yield f"FFN as {taps} taps", resize(dense, graph, keep)


def run(data: str, seed: int, out: Path, steps: int, recovery: int) -> dict[str, dict[str, float]]:
    recipe = load_recipe(RECIPE, [f"data.path={data}"])
    path = out / f"seed{seed}.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    torch.manual_seed(seed)
    clips = check_folder(recipe.data.path, FolderConfig(target="label"))
    base = HubertModel(HubertConfig(**recipe.model.config))
    task = task_class("classification").from_folder(clips, base, TaskSettings())
    collate = task.collator(Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False))
    dense = task.with_head(base)
    weights = out / f"dense{seed}-{steps}.pt"
    if weights.exists():
        dense.load_state_dict(torch.load(weights, weights_only=True))
        dense.eval()
    else:
        fit(dense, clips, task, collate, steps, recipe.dense.learning_rate, recipe.batch_size, seed)
        torch.save(dense.state_dict(), weights)
    whole = trace(dense).cost(seconds=1.0)
    for name, model in variants(dense):
        if name in results:
            continue
        cost = trace(model).cost(seconds=1.0)
        found = {"params": 100 * cost.params / whole.params, "macs": 100 * cost.macs / whole.macs}
        found["cut"] = accuracy(model, clips, task, collate)
        fit(model, clips, task, collate, recovery, recipe.dense.learning_rate / 2, recipe.batch_size, seed)
        found["recovered"] = accuracy(model, clips, task, collate)
        results[name] = found
        path.write_text(json.dumps(results, indent=1))
        print(seed, name, found, flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="audiofolder with train and test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--recovery", type=int, default=150)
    parser.add_argument("--out", type=Path, default=Path("out/position"))
    args = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    runs = [run(args.data, seed, args.out, args.steps, args.recovery) for seed in args.seeds]
    print("| variant | params | MACs | right after the cut | recovered |\n|---|---|---|---|---|")
    for name in runs[0]:
        cells = {key: [each[name][key] for each in runs] for key in runs[0][name]}
        shown = {key: ", ".join(f"{value:.1f}" for value in cells[key]) for key in ("cut", "recovered")}
        error = 100 * math.sqrt(0.1 * 0.9 / 200 / len(runs))
        print(
            f"| {name} | {mean(cells['params']):.1f}% | {mean(cells['macs']):.1f}% | {shown['cut']} | "
            f"{shown['recovered']} (mean {mean(cells['recovered']):.1f} +- {error:.1f}) |"
        )


if __name__ == "__main__":
    main()
