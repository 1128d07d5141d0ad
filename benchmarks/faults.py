"""Kill runs, or let the disk be full, at the steps of their writing, and count what does not recover.

    python benchmarks/faults.py --page docs/faults.md      # the table of the page
    python benchmarks/faults.py --only gates --how kill --points 20
    python benchmarks/faults.py --only gates --how kill --step 117

A step is a primitive one of `prune_ssl.writing` (make, write, sync, move, exchange, unlink, drop) or of
training. A run is disturbed at one step, resumed, resumed once more, and compared with one that nothing
disturbed: weights, plans and results bit-equal, and the same files in its folder.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from faulting.ranks import RankRuns
from faulting.runs import METHODS, TRAIN, Outcome, Replacements, WholeRuns, count_training_steps
from faulting.sweeps import Sweeps

KILLS = {"gates": 64, "progressive": 8, "one_shot": 6, "iterative": 8, "student": 5, "overwrite": 100}
TWICE = {"gates": 8}
FULL_DISKS = {"gates": 20, "overwrite": 100}
ON_RANKS = "ranks-"
READ_ONLY = {"gates": 12, "student": 4, "shard": 4}
ROWS = {
    "kill": KILLS | {"shard": 12} | {f"{ON_RANKS}{method}": 4 for method in METHODS},
    "twice": TWICE,
    "enospc": FULL_DISKS | {"shard": 4},
    "erofs": READ_ONLY,
    "term": {"gates": 12, "student": 4, "shard": 4},
    "clock": {"gates": 6, "student": 4, "shard": 2},
}
WORDS = {
    "kill": "`kill -9`",
    "twice": "`kill -9`, and again when resumed",
    "enospc": "a full disk",
    "erofs": "a disk that became read-only",
    "term": "SIGTERM (preemption)",
    "clock": "a clock that jumps by a year",
}
FAULTS = ("lost", "refused", "different", "stray", "traceback")
SPACE = ("make", "write", "sync")
TITLES = {"overwrite": "`prune --overwrite`", "shard": "`sweep --shard`"}


def main() -> int:
    """Run the chosen experiments. The exit status is 1 if one did not recover."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", choices=list(ROWS["kill"]), action="append", help="repeatable (default: all)"
    )
    parser.add_argument("--how", choices=list(ROWS), action="append", help="default: all")
    parser.add_argument("--points", type=int, help="of each row (default: as on the page)")
    parser.add_argument("--step", type=int, help="this one alone")
    parser.add_argument("--jobs", type=int, default=1, help="processes that try")
    parser.add_argument("--page", type=Path, help="write the table into this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    count_training_steps()
    rows = list[str]()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        for what in arguments.only or ROWS["kill"]:
            runs = made(what, Path(name))
            for how, points in ROWS.items():
                if what not in points or how not in (arguments.how or [how]):
                    continue
                trained = 0.5 if isinstance(runs, RankRuns) else 0.2
                chosen = _chosen(runs.steps, how, arguments.points or points[what], trained)
                began = time.monotonic()
                numbers = [arguments.step] if arguments.step else chosen
                found = _tried(runs, how, numbers, arguments.jobs)
                rows.append(_row(what, how, found, len(runs.steps), time.monotonic() - began))
                bad += sum(bool(each.faults) for each in found)
                print(rows[-1], flush=True)
    if arguments.page:
        arguments.page.write_text(PAGE.format(head=HEAD, rows="\n".join(rows)), encoding="utf-8")
    return 1 if bad else 0


def made(what: str, place: Path) -> WholeRuns | Replacements | Sweeps:
    """Return the experiments of a row."""
    if what in METHODS:
        return WholeRuns(what, place)
    if what.startswith(ON_RANKS):
        return RankRuns(what.removeprefix(ON_RANKS), place)
    return Sweeps(place) if what == "shard" else Replacements(place)


def _chosen(steps: Sequence[tuple[str, str]], how: str, points: int, trained: float) -> list[int]:
    """Return the numbers of steps to disturb, evenly among those of training and those of writing.

    Args:
        steps: The kind and path of each step.
        how: How they are disturbed.
        points: The number of steps to choose.
        trained: The share of them that are steps of training.
    """
    numbered = list(enumerate(steps, 1))
    if how in ("enospc", "erofs"):
        return _evenly([number for number, (kind, _) in numbered if kind in SPACE], points)
    training = _evenly([number for number, (kind, _) in numbered if kind == TRAIN], int(trained * points))
    writing = [number for number, (kind, _) in numbered if kind != TRAIN]
    return sorted(training + _evenly(writing, points - len(training)))


def _evenly(numbers: list[int], count: int) -> list[int]:
    if count >= len(numbers):
        return numbers
    return [numbers[round(index * (len(numbers) - 1) / max(count - 1, 1))] for index in range(count)]


def _tried(runs: WholeRuns | Replacements | Sweeps, how: str, numbers: list[int], jobs: int) -> list[Outcome]:
    """Disturb at each of the steps, in forked processes; replacements share a folder and come in turn."""
    if jobs == 1 or isinstance(runs, Replacements):
        return [_shown(runs.disturbed(how, number)) for number in numbers]
    with multiprocessing.get_context("fork").Pool(jobs, _take, (runs, how)) as pool:
        return [_shown(outcome) for outcome in pool.imap(_disturbed, numbers)]


_given: list[tuple[WholeRuns | Sweeps, str]] = []


def _take(runs: WholeRuns | Sweeps, how: str) -> None:
    _given.append((runs, how))


def _disturbed(number: int) -> Outcome:
    runs, how = _given[-1]
    return runs.disturbed(how, number)


def _shown(outcome: Outcome) -> Outcome:
    print(f"  {outcome.step} {outcome.kind} {outcome.path}: {outcome.faults or 'recovered'}", flush=True)
    return outcome


HEAD = """\
| what | disturbed by | steps it has | tried | training | saving | deleting | lost | refused to resume | \
other weights | stray files | traceback | s each |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"""

PAGE = """\
# A finished thing stays finished: runs that are killed, and disks that are full

`python benchmarks/faults.py --page docs/faults.md`

Every file and folder that prune_ssl writes or deletes goes through `prune_ssl.writing`, in primitive steps
that are counted: make a folder, write, wait for the disk, rename, let two folders change names, delete a
file, delete an empty folder. A whole run (a tiny HuBERT on tones: dense training, gates, cut, recovery,
report; checkpoints every 2 steps) is killed with SIGKILL before such a step, or before a step of training;
a file that was being brought to the disk is cut in half, as a power cut may leave it. Or the disk is full or
read-only from that step on, or SIGTERM comes, or the clock jumps a year back and forth. Then the run is
resumed with `--resume`, and once more, which must train nothing; its
weights, plans and results must be bit-equal to those of a run that nothing disturbed, and its folder must
hold the same files.

Of a run on two processes (gloo) one is killed: the second at a step of training, the first, which alone
writes, at a step of writing. The other one is terminated then, as torchrun does, and both are resumed. Of a
sweep by `--shard` worker 1 is disturbed, and worker 2 goes on. The same sweep on Ray and on four shards with
workers that are killed: [many_machines.md](many_machines.md).

For `prune --overwrite` a whole model (the old one or the new one) must load after every kill, with
`load_pretrained` and with transformers' own `AutoModelForAudioClassification`; the next replacement must
leave nothing else beside it. A full disk must end in one line of error, or in none where only a cache is
concerned.

{head}
{rows}

Tried steps are spread evenly over all steps of the kind. The columns from *lost* to *traceback* count tries
that did not recover.

What is not covered: a file system that cannot let two folders change names in one step (other systems than
Linux, some network file systems). There an old model is renamed before the new one takes its place. Killed
between the two, it lies beside its place as `.NAME.old-*`, from which `load_pretrained` and the next run
put it back; transformers alone does not. tests/writing/test_atomic.py tries that way at every step.
"""


def _row(what: str, how: str, found: Sequence[Outcome], steps: int, seconds: float) -> str:
    title = f"`run` on two processes, {what.removeprefix(ON_RANKS)}"
    parts = Counter(each.part for each in found)
    faults = Counter(kind for each in found for kind in {fault.split()[0] for fault in each.faults})
    cells = [
        title if what.startswith(ON_RANKS) else TITLES.get(what, f"`run`, {what}"),
        WORDS[how],
        steps,
        len(found),
        *(parts[part] for part in ("training", "saving", "deleting")),
        *(faults[kind] for kind in FAULTS),
        f"{seconds / max(len(found), 1):.1f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    raise SystemExit(main())
