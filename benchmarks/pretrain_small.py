"""Pretrain a small HuBERT on the training audio of the corpora, on a CPU.

    python benchmarks/pretrain_small.py --data PATH/TO/CORPORA --out out/pretrain --steps 8000
    python benchmarks/pretrain_small.py --data PATH/TO/CORPORA --out out/pretrain --round 2 --layer 4

Round 1 predicts clusters of MFCC. Round 2 predicts clusters of a layer's states of round 1, from whose
weights it goes on. Audio and targets are made once and kept in OUT. The same command goes on from the newest
checkpoint, which is written every few minutes; `--minutes` ends a run early. `--probe` judges the newest
weights, and random ones, by keywords on validation clips. `--release FOLDER` writes float16 weights with a
model card. No test clip is ever read.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from pretraining.audio import TRAIN, Store, decode
from pretraining.model import MaskedPrediction, new_model
from pretraining.probe import KEYWORDS, note, probe, read_clips, shown
from pretraining.release import write_release
from pretraining.targets import Mfcc, States, make_targets
from pretraining.training import Batches, Schedule, train
from transformers import HubertModel

from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.training.manifest import find_checkpoint
from prune_ssl.writing import new_folder, write_text

CLUSTERS = {1: 100, 2: 250}
PROBES = "probes.txt"


def main() -> int:
    args = parsed()
    quiet_libraries()
    torch.manual_seed(args.seed)
    if args.probe:
        run_probe(args)
    elif args.release:
        model, steps = newest(args)
        facts = json.loads((folder_of(args) / "facts.json").read_text(encoding="utf-8"))
        path = args.out / PROBES
        probes = path.read_text(encoding="utf-8").strip() if path.is_file() else "not measured"
        write_release(args.release, model, facts | {"probes": probes, "unmasked": args.unmasked}, steps)
    else:
        run_round(args)
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("PRUNE_SSL_DATA")
    parser.add_argument("--data", type=Path, default=data, required=data is None, help="folder of corpora")
    parser.add_argument("--out", type=Path, default=Path("out/pretrain"))
    parser.add_argument("--steps", type=int, default=8000, help="of the whole round")
    parser.add_argument("--minutes", type=float, help="the run ends after so many, with a checkpoint")
    parser.add_argument("--round", type=int, choices=(1, 2), default=1)
    parser.add_argument("--layer", type=int, default=4, help="round 2: the layer whose states are clustered")
    parser.add_argument("--rate", type=float, default=1e-3, help="the highest learning rate")
    parser.add_argument("--unmasked", type=float, default=0.0, help="weight of the loss on unmasked frames")
    parser.add_argument("--batch-seconds", type=float, default=32.0)
    parser.add_argument("--crop-seconds", type=float, default=4.0)
    parser.add_argument("--checkpoint-minutes", type=float, default=4.0)
    parser.add_argument("--config", default="{}", help="changes of the model's config, as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    parser.add_argument("--probe", action="store_true", help="only judge the newest weights, and random ones")
    parser.add_argument("--probe-clips", type=int, default=1800, help="training clips of the probe")
    parser.add_argument("--release", type=Path, help="only write float16 weights and a card to this folder")
    return parser.parse_args()


def folder_of(args: argparse.Namespace) -> Path:
    return Path(args.out) / f"round{args.round}"


def start_of(args: argparse.Namespace) -> MaskedPrediction:
    """Return the model that a round starts from."""
    model = new_model(CLUSTERS[args.round], args.unmasked, **json.loads(args.config))
    if args.round == 2:
        model.hubert.load_state_dict(first_round(args).state_dict())
    return model


def first_round(args: argparse.Namespace) -> HubertModel:
    """Return the model that round 1 has made.

    Raises:
        SystemExit: round 1 is not over.
    """
    folder = Path(args.out) / "round1" / "model"
    if not folder.is_dir():
        raise SystemExit(f"{folder} is not there: run round 1 to its last step first")
    return HubertModel.from_pretrained(folder)


def targets_of(args: argparse.Namespace, store: Store, model: MaskedPrediction) -> Path:
    """Return the file of targets, and make it if it is not there."""
    path = folder_of(args) / "targets.int16"
    features = Mfcc(model.config) if args.round == 1 else States(first_round(args), args.layer)
    make_targets(store, features, CLUSTERS[args.round], path, args.seed)
    return path


def run_round(args: argparse.Namespace) -> None:
    """Train a round up to its last step, or for some minutes."""
    folder = folder_of(args)
    store = decode(args.data, args.out)
    say(f"{len(store.pieces)} clips, {store.seconds / 60:.1f} minutes of audio")
    model = start_of(args)
    say(f"{sum(each.numel() for each in model.hubert.parameters()):,} parameters")
    path = targets_of(args, store, model)
    schedule = Schedule(
        steps=args.steps,
        learning_rate=args.rate,
        batch_seconds=args.batch_seconds,
        crop_seconds=args.crop_seconds,
        minutes=args.minutes,
        checkpoint_minutes=args.checkpoint_minutes,
        seed=args.seed,
        bf16=args.bf16,
    )
    by_corpus: dict[str, float] = {}
    for piece in store.pieces:
        by_corpus[piece.corpus] = by_corpus.get(piece.corpus, 0.0) + piece.length / 16_000 / 60
    facts = {"minutes": by_corpus, "clips": len(store.pieces), "round": args.round, "steps": args.steps}
    write_text(folder / "facts.json", json.dumps(facts))
    log = train(model, Batches(store, path, model.config, schedule), folder / "training")
    if log and log[-1]["step"] >= args.steps:
        with new_folder(folder / "model", replace=True) as new:
            model.hubert.save_pretrained(new)
    say(f"step {log[-1]['step'] if log else 0} of {args.steps}: loss {log[-1]['loss'] if log else '-'}")


def newest(args: argparse.Namespace) -> tuple[HubertModel, int]:
    """Return the newest weights of a round with their step: those of its end, or of its last checkpoint.

    Raises:
        SystemExit: there is no checkpoint.
    """
    finished = folder_of(args) / "model"
    if finished.is_dir():
        return HubertModel.from_pretrained(finished), args.steps
    checkpoint = find_checkpoint(folder_of(args) / "training", True)
    if checkpoint is None:
        raise SystemExit(f"{folder_of(args)}: found no checkpoint")
    return HubertModel.from_pretrained(checkpoint), int(checkpoint.name.rpartition("-")[2])


def run_probe(args: argparse.Namespace) -> None:
    """Judge the newest weights and random ones, and keep the lines in OUT."""
    clips = read_clips(args.data / KEYWORDS / TRAIN, args.probe_clips)
    judged = read_clips(args.data / KEYWORDS / "validation")
    found = {"random": new_model(2, **json.loads(args.config)).hubert}
    path = args.out / PROBES
    if path.is_file() and "random" in path.read_text(encoding="utf-8"):
        found = {}
    model, step = newest(args)
    for name, each in (*found.items(), (f"round {args.round}, step {step}", model)):
        line = f"{name}: {shown(probe(each, clips, judged))}"
        say(line)
        note(path, line)


if __name__ == "__main__":
    raise SystemExit(main())
