"""The claims of the distillation papers on spoken digits: pruning with and without a teacher; robustness.

    python benchmarks/distillation_claims.py DATA --out out/claims --write docs/distillation_claims.md

DATA holds the folders fsdd_digits, noise and rirs. For every seed a dense model is trained from scratch (as
in benchmarks/digits.py) and pruned to 25% of its MACs once for each variant, by Taylor scores or by learned
gates, with the same steps and batches. Every model is judged on clean clips, and on clips with noise and
reverberation from recordings and rooms that no training has used.
Finished runs are not repeated. Choices (weights of losses, steps) are made with `--judge validation`.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import torch
import yaml

from prune_ssl.artifacts import load_pretrained
from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.data import Clip, Corruption, FolderConfig, SpeechCollator, check_folder
from prune_ssl.errors import PruneError
from prune_ssl.pipeline import run
from prune_ssl.recipes import load_recipe
from prune_ssl.tasks.inference import load_extractor

RECIPE = Path(__file__).parents[1] / "recipes" / "ks_digits_hj_mac_kd.yaml"
BUDGET = "macs=25%"
SNRS_DB = (20, 10, 5, 0)
HIDDEN = {"logits": 1.0, "l1": 1.0, "cosine": 1.0}
STAR = {"logits": 1.0, "layer_gram": 1.0, "intra_gram": 1.0}
UNTRAINED = (
    f"{{budget: {BUDGET}, method: one_shot, steps: 1, learning_rate: 1.0e-9, recovery: 0, seconds: 1.0}}"
)
ENHANCEMENT_WEIGHT = 2.0  # the paper's
JUDGED_AT_ONCE = 25
ENHANCEMENT_UNITS = 32  # beside 96 hidden dimensions, as the paper's 256 beside 768


@dataclass(frozen=True)
class Variant:
    """One way to prune: its losses, and the audio of student and teacher."""

    title: str
    losses: dict[str, float] | None = None
    corrupted: bool = False
    clean_teacher: bool = True

    def overrides(self, data: Path) -> list[str]:
        """Return it as overrides of the recipe."""
        found = ["distillation=null"]
        if self.losses is not None:
            found = [f"distillation={yaml.safe_dump(self._distillation(), default_flow_style=True)}"]
        if self.corrupted:
            heard = {"noise": str(data / "noise" / "train"), "rirs": str(data / "rirs" / "train")}
            part = {**heard, "clean_teacher": self.clean_teacher}
            found.append(f"data.corruption={yaml.safe_dump(part, default_flow_style=True)}")
        return found

    def _distillation(self) -> dict[str, object]:
        return {
            "losses": self.losses,
            "task_weight": 0.5,
            "gram_scale": "mean",
            "enhancement_units": ENHANCEMENT_UNITS,
        }


VARIANTS = {
    "alone": Variant("pruning alone"),
    "hidden": Variant("+ logits, L1 and cosine", HIDDEN),
    "star": Variant("+ logits, STaR", STAR),
    "augmented": Variant("noise for student and teacher", HIDDEN, corrupted=True, clean_teacher=False),
    "robust": Variant("noise for the student only", HIDDEN, corrupted=True),
    "enhanced": Variant(
        "the same, enhancement head", {**HIDDEN, "enhancement": ENHANCEMENT_WEIGHT}, corrupted=True
    ),
}
AT_A_QUARTER = ("alone", "hidden", "star")
ROBUST = ("hidden", "augmented", "robust", "enhanced")

# -- training


def train_all(args: argparse.Namespace) -> None:
    """Train the missing models: a dense one for each seed, and a pruned one for each variant."""
    pruning = [*how_to_prune(args), f"pruning.budget={BUDGET}", f"batch_size={args.batch}"]
    for seed in args.seeds:
        dense = args.out / f"dense-s{seed}" / "dense"
        if not dense.exists():
            steps = f"dense.steps={args.dense_steps}"
            _run(args, f"dense-s{seed}", seed, [steps, f"pruning={UNTRAINED}", "distillation=null"])
        for name in args.variants:
            if not (args.out / f"{name}-s{seed}" / "cpu_seconds.json").exists():
                start = ["dense=null", f"model.name={dense}", *VARIANTS[name].overrides(args.data)]
                _run(args, f"{name}-s{seed}", seed, [*start, *pruning])


def how_to_prune(args: argparse.Namespace) -> list[str]:
    """Return the overrides for one cut at the start, or for learned gates and recovery, of as many steps."""
    if args.method == "gates":
        return [f"pruning.steps={round(0.4 * args.steps)}", "pruning.recovery=1.5"]
    cut = ["pruning.method=one_shot", "pruning.criterion=taylor", "pruning.recovery=0"]
    return [*cut, f"pruning.steps={args.steps}", "pruning.learning_rate=1.0e-3"]


def _run(args: argparse.Namespace, name: str, seed: int, overrides: list[str]) -> None:
    folder = args.out / name
    shared = [
        f"data.path={args.data / 'fsdd_digits'}",
        f"seed={seed}",
        f"output={folder}",
        "report={seconds: [1.0], iterations: 3, min_seconds: 0}",
    ]
    begun = time.process_time()
    run(load_recipe(RECIPE, [*shared, *overrides]), overwrite=True, say=say)
    (folder / "cpu_seconds.json").write_text(json.dumps(time.process_time() - begun))


# -- judging


def conditions() -> dict[str, tuple[tuple[str, ...], float]]:
    """Return the name of each condition with its case and SNR."""
    noise = {f"noise, {snr} dB": (("noise",), float(snr)) for snr in SNRS_DB}
    both = {f"reverb + noise, {snr} dB": (("both",), float(snr)) for snr in SNRS_DB}
    return {"clean": (("clean",), 0.0), **noise, "reverb": (("reverb",), 0.0), **both}


def heard(args: argparse.Namespace) -> dict[str, list[tuple[np.ndarray, str]]]:
    """Make the clips of each condition, the same for every model: samples (N,) and label.

    The test clips get recordings and rooms of the validation split, which no training has used. Validation
    clips get those of training, so that no choice depends on the test's recordings.
    """
    clips: tuple[Clip, ...] = check_folder(args.data / "fsdd_digits", FolderConfig()).splits[args.judge]
    split = {"test": "validation", "validation": "train"}[args.judge]
    made = {}
    for index, (name, (cases, snr)) in enumerate(conditions().items()):
        corruption = Corruption(
            noise=args.data / "noise" / split,
            rirs=args.data / "rirs" / split,
            cases=cases,
            snr_db=(snr, snr),
            white_probability=0.0,
        )
        torch.manual_seed(1000 + index)
        made[name] = [(corruption(clip.waveform()), clip.target) for clip in clips]
    return made


@torch.no_grad()
def judge(folder: Path, audio: dict[str, list[tuple[np.ndarray, str]]]) -> dict[str, list[bool]]:
    """Return for each condition which clips a saved model gets right, judged in batches of similar length."""
    model, collator = load_pretrained(folder).eval(), SpeechCollator(load_extractor(str(folder)))
    found = {}
    for name, clips in audio.items():
        order = sorted(range(len(clips)), key=lambda index: len(clips[index][0]))
        right = [False] * len(clips)
        for start in range(0, len(clips), JUDGED_AT_ONCE):
            batch = order[start : start + JUDGED_AT_ONCE]
            best = model(**collator([{"input_values": clips[index][0]} for index in batch])).logits.argmax(-1)
            for index, guess in zip(batch, best.tolist(), strict=True):
                right[index] = model.config.id2label[guess] == clips[index][1]
        found[name] = right
    return found


def judge_all(args: argparse.Namespace) -> dict[str, dict[int, dict[str, list[bool]]]]:
    """Return variant (and `dense`) -> seed -> condition -> which clips are right; judged once and kept."""
    audio = None
    found: dict[str, dict[int, dict[str, list[bool]]]] = {}
    for name, seed, folder in _models(args):
        path = folder.parent / f"{args.judge}-{folder.name}.json"
        if not path.exists():
            audio = audio or heard(args)
            path.write_text(json.dumps(judge(folder, audio)))
        found.setdefault(name, {})[seed] = json.loads(path.read_text())
    return found


def _models(args: argparse.Namespace) -> Iterator[tuple[str, int, Path]]:
    for seed in args.seeds:
        yield "dense", seed, args.out / f"dense-s{seed}" / "dense"
        for name in args.variants:
            yield name, seed, args.out / f"{name}-s{seed}" / "model"


# -- the page

Found = dict[str, dict[int, dict[str, list[bool]]]]


def percent(found: Found, name: str, condition: str) -> list[float]:
    """Return a variant's accuracy in % by seed."""
    return [100 * mean(seed[condition]) for seed in found[name].values()]


def difference(found: Found, name: str, other: str, names: list[str]) -> str:
    """Return `name` minus `other` in points over conditions, with the 95% bootstrap interval over clips."""
    gain = np.mean(
        [
            np.mean([np.subtract(a[each], b[each], dtype=float) for each in names], axis=0)
            for a, b in zip(found[name].values(), found[other].values(), strict=True)
        ],
        axis=0,
    )
    drawn = np.random.default_rng(0).integers(len(gain), size=(10_000, len(gain)))
    low, high = np.percentile(gain[drawn].mean(1), (2.5, 97.5))
    return f"{100 * gain.mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def quarter_table(args: argparse.Namespace, found: Found) -> list[str]:
    """Return the rows of claim (a): clean accuracy of each variant by seed."""
    seeds = " | ".join(f"seed {seed}" for seed in args.seeds)
    lines = [f"| | {seeds} | mean | minus pruning alone |", "|---" * (len(args.seeds) + 3) + "|"]
    for name in ("dense", *(name for name in AT_A_QUARTER if name in args.variants)):
        values = percent(found, name, "clean")
        alone = "alone" in args.variants and name not in ("dense", "alone")
        gain = "" if not alone else difference(found, name, "alone", ["clean"])
        title = "dense" if name == "dense" else VARIANTS[name].title
        cells = [title, *(f"{value:.1f}" for value in values), f"**{mean(values):.2f}**", gain]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def robust_table(args: argparse.Namespace, found: Found) -> list[str]:
    """Return the rows of claim (b): each condition's mean over the seeds, and by seed."""
    names = ["dense", *(name for name in ROBUST if name in args.variants)]
    titles = ["dense", *("plain" if name == "hidden" else VARIANTS[name].title for name in names[1:])]
    lines = ["| | " + " | ".join(titles) + " |", "|---" * (len(names) + 1) + "|"]
    for condition in conditions():
        cells = [condition]
        for name in names:
            values = percent(found, name, condition)
            cells.append(f"**{mean(values):.1f}** ({', '.join(f'{value:.1f}' for value in values)})")
        lines.append("| " + " | ".join(cells) + " |")
    worse = [name for name in conditions() if name != "clean"]
    for title, over in (
        ("mean of the nine corrupted, minus plain", worse),
        ("clean, minus plain", ["clean"]),
    ):
        cells = [title, "", "", *(difference(found, name, "hidden", over) for name in names[2:])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with fsdd_digits, noise and rirs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--dense-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=300, help="of each pruned model, all phases together")
    parser.add_argument("--method", choices=("one_shot", "gates"), default="one_shot")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--judge", choices=("test", "validation"), default="test")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/claims"))
    parser.add_argument(
        "--write", type=Path, help="document whose tables are written anew, between its marks"
    )
    args = parser.parse_args()
    if args.write is not None and not args.write.is_file():  # before hours of training
        parser.error(
            f"--write {args.write}: no such document; it needs the marks of docs/distillation_claims.md"
        )
    quiet_libraries()
    torch.set_num_threads(args.threads)
    try:
        train_all(args)
        found = judge_all(args)
    except PruneError as error:
        parser.error(str(error))
    tables = {"quarter": quarter_table(args, found), "robust": robust_table(args, found)}
    for name, lines in tables.items():
        print("\n".join(lines))
        if args.write is not None:
            text = args.write.read_text(encoding="utf-8")
            before, begin, rest = text.partition(f"<!-- {name} -->")
            _, end, after = rest.partition(f"<!-- end of {name} -->")
            if not (begin and end):
                parser.error(f"{args.write} has no marks <!-- {name} --> and <!-- end of {name} -->")
            args.write.write_text("\n".join([before + begin, "", *lines, "", end + after]), encoding="utf-8")
    spent = [json.loads(path.read_text()) for path in sorted(args.out.glob("*/cpu_seconds.json"))]
    print(f"{len(spent)} runs took {sum(spent) / 60:.1f} CPU minutes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
