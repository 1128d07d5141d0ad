"""Checks that gates and distillation cost a GPU little: waits, launches, time and memory."""

import statistics
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from timing import timed

import prune_ssl
from gpu_checks.setting import ALL, LAYER_NORMS, UNITS, NotHere, Outcome, Setting, Step, copied
from prune_ssl.distillation import DistillationConfig, Distiller

LOSSES: dict[str, dict[str, float]] = {
    "l1 and cosine": {"l1": 1.0, "cosine": 1.0},
    "star": {"layer_gram": 1e-3, "intra_gram": 1e-3},
}
MOST_TIME = 1.10
"""The most that a gated step of three kinds may take, of a plain one."""
MOST_LAUNCHES = {"three kinds": 1.10, "all kinds": 1.25}
MOST_MEMORY = {"three kinds": 1.05, "all kinds": 1.10}


@contextmanager
def counted_waits() -> Iterator[Counter[str]]:
    """Count the waits of the host whose innermost line of Python outside of torch is one of prune_ssl."""
    found: Counter[str] = Counter()

    def note(message: object, category: object, filename: str, lineno: int, *_more: object) -> None:
        lines = [line for line in traceback.extract_stack() if "/torch/" not in line.filename]
        ours = [line for line in lines[:-1] if "/prune_ssl/" in line.filename]
        if ours and "synchron" in str(message):
            found[f"{ours[-1].filename.rpartition('/prune_ssl/')[2]}:{ours[-1].lineno}"] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")


def waits(setting: Setting) -> Outcome:
    """Count the waits of the host in training steps, and in a batch of evaluation."""
    if not setting.on_gpu:
        raise NotHere("waits are counted on a GPU")
    batch, figures, good = setting.batch(4, 2.0), {}, True
    for name, kinds in (("three kinds", UNITS), ("all kinds", ALL)):
        model = setting.model()
        step = Step(model, batch, prune_ssl.trace(model), kinds)
        found = _waits_of(step)
        model.eval()
        with counted_waits() as seen, torch.no_grad():
            model(**batch)
        step.close()
        figures[name], figures[f"{name}, evaluation"] = dict(found), dict(seen)
        good = good and not found and sum(seen.values()) <= 1
    for name, losses in LOSSES.items():
        found = _waits_of(_distilled(setting, batch, losses))
        figures[name], good = dict(found), good and not found
    return Outcome(good, figures)


def _waits_of(step: Callable[[], object]) -> Counter[str]:
    step()
    step()
    with counted_waits() as found:
        step()
    return found


def _distilled(
    setting: Setting, batch: dict[str, torch.Tensor], losses: dict[str, float], teacher_dtype: str = "auto"
) -> Callable[[], object]:
    """Return a step of a student under bf16, as the trainer makes it."""
    student = setting.model()
    config = DistillationConfig(losses=losses, teacher_dtype=teacher_dtype)  # type: ignore[arg-type]
    distiller = Distiller(config, copied(student), student).to(torch.device(setting.device))
    distiller.half = torch.bfloat16
    step = Step(student, batch, half=True)

    def make() -> None:
        with distiller.listening(), torch.autocast(setting.device.split(":")[0], torch.bfloat16):
            outputs = student(**batch)
        (outputs.loss + distiller.loss(batch, outputs)).backward()
        step.optimizer.step()
        step.optimizer.zero_grad()

    return make


def times(setting: Setting) -> Outcome:
    """Time plain and gated steps in turns, and count the kernels that they launch."""
    figures: dict[str, object] = {}
    good = True
    for shape, half in (((8, 5), False), ((8, 15), True))[: setting.many(2, 1)]:
        model = setting.model()
        graph = prune_ssl.trace(model)
        batch = setting.batch(*shape)
        ratios, launches = _in_turns(setting, model, graph, batch, half)
        name = f"{shape[0]} clips of {shape[1]} s, {'bf16' if half else 'float32'}"
        figures[name] = {"times": ratios, "launches": launches}
        if setting.on_gpu and half:
            good = good and ratios["three kinds"] <= MOST_TIME
        good = good and all(
            launches[each] <= most for each, most in MOST_LAUNCHES.items() if each in launches
        )
    return Outcome(good, figures)


def _in_turns(
    setting: Setting,
    model: torch.nn.Module,
    graph: prune_ssl.PruningGraph,
    batch: dict[str, torch.Tensor],
    half: bool,
) -> tuple[dict[str, float], dict[str, float]]:
    """Return time and launches of each kind of step as parts of those of a plain one."""
    kinds: dict[str, tuple[str, ...] | None] = {
        "plain": None,
        "three kinds": UNITS,
        "all kinds": ALL,
        "control": None,
    }
    spent: dict[str, list[float]] = {name: [] for name in kinds}
    launched: dict[str, int] = {}
    for turn in range(setting.many(12, 2)):
        for name, chosen in kinds.items():
            step = Step(model, batch, None if chosen is None else graph, chosen or UNITS, half)
            step()
            with timed(setting.device, spent[name], []):
                step()
            if turn == 0 and setting.on_gpu and not setting.tiny:
                launched[name] = _launches(step)
            step.close()
    middle = {name: statistics.median(each) for name, each in spent.items()}
    return (
        {name: each / middle["plain"] for name, each in middle.items()},
        {name: each / launched["plain"] for name, each in launched.items()},
    )


def _launches(step: Callable[[], object]) -> int:
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        step()
        torch.cuda.synchronize()
    return sum(event.device_type == DeviceType.CUDA for event in profiled.events() or ())


def teachers(setting: Setting) -> Outcome:
    """Time distilled steps with the teacher in float32 and in the precision of the student."""
    batch = setting.batch(8, 15)
    spent: dict[str, list[float]] = {"float32": [], "auto": []}
    steps = {name: _distilled(setting, batch, LOSSES["l1 and cosine"], name) for name in spent}
    for turn in range(setting.many(12, 2)):
        for name, step in steps.items():
            with timed(setting.device, spent[name], [], keep=turn > 0):
                step()
    middle = {name: statistics.median(each) for name, each in spent.items()}
    good = not setting.on_gpu or setting.tiny or middle["auto"] <= middle["float32"]
    return Outcome(good, {"milliseconds": middle})


def memory(setting: Setting) -> Outcome:
    """Compare the peak memory of plain and gated steps, for both kinds of frontend."""
    if not setting.on_gpu or setting.tiny:
        raise NotHere("peaks are compared on a GPU")
    figures: dict[str, object] = {}
    good = True
    for frontend, more in (("group norm", {}), ("layer norm", LAYER_NORMS)):
        peaks: dict[str, int] = {}
        for name, kinds in (("plain", None), ("three kinds", UNITS), ("all kinds", ALL)):
            model = setting.model("wav2vec2", **more)
            graph = None if kinds is None else prune_ssl.trace(model)
            step = Step(model, setting.batch(4, 5), graph, kinds or UNITS)
            step()
            torch.cuda.reset_peak_memory_stats()
            step()
            peaks[name] = torch.cuda.max_memory_allocated()
            step.close()
            del step, model
            torch.cuda.empty_cache()
        figures[frontend] = peaks
        good = good and all(peaks[name] <= most * peaks["plain"] for name, most in MOST_MEMORY.items())
    return Outcome(good, figures)
