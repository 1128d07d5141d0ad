"""The page of nano_superb.py, from the kept rows alone: a table for each task, and the claims."""

from pathlib import Path
from statistics import mean

from nano.cells import CLEAN, FROZEN, METHODS, MODES, TASKS, TEACHER, TUNED
from nano.claims import CLAIMS, Claim, Gain, gain, gain_of, overall
from nano.rows import Row, Rows, at
from prune_ssl.writing import write_text

SAID = """A small HuBERT, pretrained on {hours} (`benchmarks/pretrain_small.py`), is the teacher. Students
of about a quarter of its parameters learn from it without labels, and every model is then fine-tuned on each
task with the same steps, or trained with its encoder frozen (the head reads the last state). The figures are
those of the {split} split in percent, means over seeds. "Gain on the teacher" is in points on the same clips,
positive where the row is better, with a 95% interval over speakers (clips where none are known) and seeds.
MACs and latency (one thread, median) are those of the audio length in the heading.
"""
NAMES = {"accuracy": "accuracy", "f1": "F1 of slots", "eer": "EER", "per": "PER", "wer": "WER"}


def write_page(path: Path, command: str, rows: Rows, hours: str = "the shared corpora") -> None:
    """Write the page."""
    write_text(path, page_text(command, rows, hours))


def page_text(command: str, rows: Rows, hours: str = "the shared corpora") -> str:
    """Return the page."""
    splits = {row.split for row in rows.values()} or {"test"}
    said = SAID.format(hours=hours, split=" and ".join(sorted(splits)))
    parts = [f"# nano-SUPERB\n\nMade by `{command}`.\n", said, claims_text(rows)]
    parts += [task_text(rows, name) for name in TASKS]
    methods = [f"| {each.label} | {each.about} |" for each in METHODS.values()]
    parts.append("\n".join(["## The methods\n", "| method | what was run |", "|---|---|", *methods]) + "\n")
    return "\n".join(parts)


# -- tasks


def task_text(rows: Rows, name: str) -> str:
    """Return the section of a task: a table for each mode, and one of noise and rooms."""
    task = TASKS[name]
    better = "lower" if task.error else "higher"
    title = f"## {name}: {task.words} ({NAMES[task.metric]}, {better} is better; {task.seconds:g} s)\n"
    parts = [title]
    for mode in MODES:
        if any(key[0] == name and key[2] == mode for key in rows):
            parts.append(f"### {mode.capitalize()}\n\n{mode_table(rows, name, mode)}\n")
    if noisy := noise_table(rows, name):
        parts.append(f"### Under noise and in rooms, fine-tuned\n\n{noisy}\n")
    return "\n".join(parts if len(parts) > 1 else [title, "No cell was run.\n"])


def mode_table(rows: Rows, name: str, mode: str) -> str:
    """Return the methods on a task, the teacher first and the others by their mean."""
    task, found = TASKS[name], {each: at(rows, name, each, mode) for each in METHODS}
    known = {method: by_seed for method, by_seed in found.items() if by_seed}
    seeds = sorted({seed for by_seed in known.values() for seed in by_seed})
    also = [task.also] if task.also else []
    head = ["method", NAMES[task.metric], *also, *(f"seed {seed}" for seed in seeds), "gain on the teacher"]
    head += ["MACs", "parameters", "latency", "core min"]
    sign = 1 if task.error else -1
    order = sorted(known, key=lambda each: (each != TEACHER, sign * _mean(known[each])))
    teacher = found[TEACHER]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for method in order:
        by_seed, first = known[method], next(iter(known[method].values()))
        own = None if method == TEACHER else gain(by_seed, teacher, task.error)
        cells = [
            METHODS[method].label,
            f"{100 * _mean(by_seed):.1f}",
            *(f"{100 * _mean(by_seed, each):.1f}" for each in also),
            *(f"{100 * by_seed[seed].value():.1f}" if seed in by_seed else "-" for seed in seeds),
            shown(own),
            f"{first.macs / 1e6:.0f} M",
            f"{first.params / 1e6:.2f} M",
            f"{mean(row.latency_ms for row in by_seed.values()):.1f} ms",
            f"{mean(row.core_seconds for row in by_seed.values()) / 60:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def noise_table(rows: Rows, name: str) -> str:
    """Return the methods that were judged under conditions, or nothing."""
    apart = (CLEAN, TASKS[name].also)
    found = {each: at(rows, name, each, TUNED) for each in METHODS}
    conditions = {
        clips: None
        for by_seed in found.values()
        for row in by_seed.values()
        for clips in row.results
        if clips not in apart
    }
    if not conditions:
        return ""
    lines = [f"| method | {' | '.join([CLEAN, *conditions])} |", "|" + "---|" * (len(conditions) + 2)]
    for method, by_seed in found.items():
        if any(clips in row.results for row in by_seed.values() for clips in conditions):
            values = (f"{100 * _mean(by_seed, clips):.1f}" for clips in (CLEAN, *conditions))
            lines.append(f"| {METHODS[method].label} | {' | '.join(values)} |")
    return "\n".join(lines)


def _mean(by_seed: dict[int, Row], clips: str = CLEAN) -> float:
    found = [row.value(clips) for row in by_seed.values() if clips in row.results]
    return mean(found) if found else float("nan")


def shown(found: Gain | None) -> str:
    """Return a gain in points with its interval."""
    if found is None:
        return "-"
    return f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


# -- claims


def claims_text(rows: Rows) -> str:
    """Return each question with its answer by task."""
    lines = ["| question | answer | task | clips | compared with | gain |", "|---|---|---|---|---|---|"]
    for claim in CLAIMS:
        lines += _claim_lines(rows, claim)
    return "\n".join(["## The claims\n", *lines]) + "\n"


def _claim_lines(rows: Rows, claim: Claim) -> list[str]:
    cases = [(task, clips) for task in claim.tasks for clips in claim.clips]
    found = {case: gain_of(rows, claim, *case) for case in cases}
    known = {case: each for case, each in found.items() if each is not None}
    if not known:
        return [f"| {claim.question} | not run | - | - | - | - |"]
    answers = [each[1].answer(claim.points) for each in known.values()]
    lines = [f"| **{claim.question}** | **{overall(answers)}** | | | | |"]
    frozen = {side.method for side in claim.theirs if side.mode == FROZEN}
    for ((task, clips), (other, each)), answer in zip(known.items(), answers, strict=True):
        name = METHODS[other].label + (", frozen" if other in frozen else "")
        lines.append(f"| | {answer} | {task} | {clips} | {name} | {shown(each)} |")
    return lines
