"""Checks that a GPU gives right and repeatable results."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch

import prune_ssl
from gpu_checks.setting import ALL, NotHere, Outcome, Setting, Step, copied
from prune_ssl.measuring.environment import describe_environment
from prune_ssl.measuring.memory import peak_memory_bytes
from prune_ssl.resizing import resize
from prune_ssl.tracing import PruningGraph

BOUNDS = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""Type -> the most by which masked and cut outputs may differ, relative to the largest output."""


def facts(setting: Setting) -> Outcome:
    """Describe the machine."""
    found: dict[str, object] = dict(describe_environment(None))
    found |= {
        "gpus": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }
    if setting.on_gpu:
        found["name"] = torch.cuda.get_device_name(0)
    return Outcome(True, found)


def recipes(setting: Setting) -> Outcome:
    """Run the shipped recipes of students and of gates on tiny models, up to their reports."""
    if setting.tiny:
        raise NotHere("recipes are not run at tiny size")
    from prune_ssl.pipeline import run
    from prune_ssl.recipes import load_recipe

    lines: list[str] = []
    ended: dict[str, object] = {}
    for name in ("distilhubert", "ks_digits_hj_mac_kd", "armhubert", "robust_hubert"):
        with tempfile.TemporaryDirectory() as folder:
            try:
                recipe = load_recipe(f"recipes/{name}.yaml", ["smoke=true", f"output={folder}/run"])
                ended[name] = run(recipe, True, lines.append).report_html.is_file()
            except Exception as error:  # the next recipe is to be tried all the same
                ended[name] = f"{type(error).__name__}: {error}"[:300]
    return Outcome(all(value is True for value in ended.values()), ended)


def exactness(setting: Setting) -> Outcome:
    """Compare masked models with cut ones, of three families and all kinds."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    figures: dict[str, object] = {}
    good = True
    forms = {"wav2vec2": {}, "wavlm": {}, "wav2vec2-conformer": {}}
    for family in list(forms)[: setting.many(3, 1)]:
        for dtype, bound in BOUNDS.items():
            worst = _difference(setting, family, dtype)
            figures[f"{family} {str(dtype).removeprefix('torch.')}"] = worst
            good = good and worst < bound
    return Outcome(good, figures)


def _difference(setting: Setting, family: str, dtype: torch.dtype) -> float:
    model = setting.model(family).eval().to(dtype)
    graph = prune_ssl.trace(model)
    keep = {
        name: list(range(0, group.size, 2))
        for name, group in graph.groups.items()
        if group.kind in ALL and group.size > 1
    }
    audio = setting.batch(2, 2.0)["input_values"].to(dtype)
    config = prune_ssl.PruningConfig(budget="macs=100%", round_to=1, kinds=ALL)
    gates = prune_ssl.attach_gates(model, graph, config).to(dtype)
    with torch.no_grad():
        gates.hold(keep)
        masked = model(audio).logits
        gates.detach()
        cut = resize(model, graph, keep)(audio).logits
    return float((masked - cut).abs().max() / masked.abs().max())


def ranks(setting: Setting) -> Outcome:
    """Let two gate objects learn from equal gradients: they must stay equal to the last bit."""
    model = setting.model()
    graph = prune_ssl.trace(model)
    steps = setting.many(300, 20)
    first, second = (_learned(setting, graph, model, steps) for _ in range(2))
    difference = float((first.log_alpha - second.log_alpha).detach().abs().max())
    same = first.finalize(untrained=True).keep == second.finalize(untrained=True).keep
    return Outcome(difference == 0 and same, {"steps": steps, "difference": difference, "equal keeps": same})


def _learned(setting: Setting, graph: PruningGraph, model: torch.nn.Module, steps: int) -> prune_ssl.Gates:
    torch.manual_seed(0)
    gates = prune_ssl.attach_gates(
        model, graph, prune_ssl.PruningConfig(budget="macs=50%", steps=steps, round_to=1)
    )
    gates.detach()
    optimizer = torch.optim.AdamW(gates.parameter_groups())
    source = torch.Generator().manual_seed(2)
    worth = torch.randn(len(gates.log_alpha), generator=source).abs() * 1e-3
    for step in range(steps):
        noise = torch.randn(len(worth), generator=source) * 1e-3
        gates.draw(True)
        loss = -((worth + noise).to(setting.device) * gates.current()).sum()
        (loss + gates.penalty(step)).backward()
        optimizer.step()
        optimizer.zero_grad()
        gates.clamp_()
    return gates


def scaler(setting: Setting) -> Outcome:
    """Train gates in float16 with a scaler of gradients, and one batch that overflows."""
    if not setting.on_gpu or setting.tiny:
        raise NotHere("float16 with a scaler is tried on a GPU")
    model, steps = setting.model(), 60
    step = Step(model, setting.batch(4, 2.0), prune_ssl.trace(model))
    assert step.gates is not None
    gates, grown = step.gates, torch.amp.GradScaler("cuda")
    gates.plan_steps(steps)
    for number in range(steps):
        factor = 1e38 if number == steps // 2 else 1.0
        with torch.autocast("cuda", torch.float16):
            loss = model(**step.batch).loss * factor + gates.penalty(number)
        grown.scale(loss).backward()
        grown.step(step.optimizer)
        grown.update()
        step.optimizer.zero_grad()
        gates.clamp_()
    expected, target = float(gates.expected()[0]), gates.lagrangian.target(steps - 1)[0]
    finite = bool(gates.log_alpha.isfinite().all())
    return Outcome(
        finite and abs(expected - target) <= 0.03, {"finite": finite, "expected": expected, "target": target}
    )


def crossing(setting: Setting) -> Outcome:
    """Go on from a checkpoint on the device, and on the CPU, and back: the gates draw the same."""
    model = setting.model()
    graph = prune_ssl.trace(model)
    step = Step(model, setting.batch(2, 2.0), graph)
    for _ in range(2):
        step()
    step.close()
    assert step.gates is not None
    drawn, state = [], step.gates.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        for device in (setting.device, "cpu", setting.device):
            torch.save(state, Path(folder) / "gates.pt")
            state = torch.load(Path(folder) / "gates.pt", map_location="cpu", weights_only=True)
            there = Step(copied(model).to(device), {}, graph)
            assert there.gates is not None
            there.gates.load_state_dict(state)
            state = there.gates.state_dict()
            there.gates.draw(True)
            drawn.append(there.gates.current().detach().cpu())
    apart = [float((each - drawn[0]).abs().max()) for each in drawn]
    return Outcome(max(apart) <= 1e-6, {"differences of the draw": apart, "bit-equal": max(apart) == 0})


def measuring(setting: Setting) -> Outcome:
    """Measure the peak of a forward pass with and without a second model beside it."""
    model = setting.model().eval()
    seconds = setting.many(10, 1)
    if not setting.on_gpu or setting.tiny:
        raise NotHere("peaks are compared on a GPU")
    alone = peak_memory_bytes(model, seconds)
    other = copied(model)
    beside = peak_memory_bytes(model, seconds)
    del other
    figures: dict[str, object] = {"alone": alone, "beside another model": beside}
    return Outcome(alone is not None and beside is not None and abs(beside - alone) <= 0.02 * alone, figures)


def several_gpus(setting: Setting) -> Outcome:
    """Ask for a run of one process that sees two GPUs: it is refused before anything is trained."""
    from prune_ssl.errors import RecipeError
    from prune_ssl.pipeline.arguments import refuse_one_process_for_several_gpus

    try:
        refuse_one_process_for_several_gpus("words", {"dense": SimpleNamespace(n_gpu=2)})
    except RecipeError as error:
        return Outcome("torchrun" in str(error), {"refusal": str(error)})
    return Outcome(False, {"refusal": None})
