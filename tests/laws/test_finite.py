"""Training stops at the first number that is not finite; no such state is written, handed over or resumed."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from prune_ssl import (
    DistillationConfig,
    DistillationTrainer,
    PruningConfig,
    PruningTrainer,
    load_pretrained,
    report,
    save_pretrained,
    trace,
)
from prune_ssl.data import Clip, ClipDataset
from prune_ssl.errors import ArtifactError, ModelError, TrainingError
from prune_ssl.models.finite import all_finite, not_finite
from prune_ssl.training.manifest import write_manifest
from tests.support.models import checksum, tiny_model
from tests.support.slow import slow_but
from tests.support.training import Jittered, Tones, arguments

STEPS = 8
PHASES = {  # phase -> method, and where its checkpoints are
    "dense": (None, ""),
    "distillation": (None, ""),
    "pruning": ("gates", ""),
    "recovery": ("gates", "recovery"),
    "round-1": ("one_shot", "round-1"),
    "round-2": ("iterative", "round-2"),
}


class Holed(Tones):
    """Tones of which one clip may have a hole."""

    hole = None

    def __getitem__(self, index):
        item = dict(self.items[index])
        if index == self.hole:
            wave = item["input_values"].clone()
            wave[100] = float("nan")
            item["input_values"] = wave
        return item


class Spoil(TrainerCallback):
    """Puts a NaN into a weight at a step of one training."""

    def __init__(self, step, title):
        self.step, self.title, self.trainer = step, title, None

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step == self.step and Path(args.output_dir).name in ("run", self.title):
            next(iter(model.parameters())).data.view(-1)[0] = float("nan")


def make(folder, phase, data, callbacks=(), **more):
    """The trainer of the run that has the phase."""
    torch.manual_seed(1)
    model = tiny_model(num_labels=2)
    settings = {
        "model": model,
        "args": arguments(
            folder / "run", max_steps=STEPS, save_strategy="steps", save_steps=2, save_total_limit=2, **more
        ),
        "train_dataset": data,
        "callbacks": list(callbacks),
    }
    if phase == "dense":
        return DistillationTrainer(**settings)
    if phase == "distillation":
        return DistillationTrainer(
            **settings, teacher=tiny_model(num_labels=2), distillation=DistillationConfig(losses={"l1": 1.0})
        )
    method = PHASES[phase][0]
    config = PruningConfig(budget="macs=70%", seconds=1.0, round_to=1, method=method, rounds=2)
    return PruningTrainer(**settings, pruning=config)


def go(trainer, resume=False):
    trainer.train(resume_from_checkpoint=resume)
    return trainer.finalize() if isinstance(trainer, PruningTrainer) else trainer.model


def states(folder):
    """Every tensor of every checkpoint and cut that a run left."""
    return {
        f"{path}:{name}": value
        for path in folder.rglob("*.safetensors")
        for name, value in load_file(path).items()
    }


FEW = slow_but(("dense", "recovery"), PHASES)


@pytest.mark.filterwarnings("ignore::prune_ssl.PruneWarning")
@pytest.mark.parametrize("phase", FEW)
def test_a_clip_that_is_not_finite_stops_every_phase_and_its_run_can_go_on(tmp_path, phase):
    wanted = checksum(go(make(tmp_path / "whole", phase, Holed(16))))
    data = Holed(16)

    class Break(TrainerCallback):
        """Gives the clip its hole in the middle of the phase."""

        def on_step_begin(self, args, state, control, **kwargs):
            place = PHASES[phase][1] or "run"
            if state.global_step == STEPS // 4 and Path(args.output_dir).name == place:
                Holed.hole = 5

    try:
        with pytest.raises(TrainingError) as found:
            go(make(tmp_path, phase, data, [Break()]))
    finally:
        Holed.hole = None
    message = str(found.value)
    assert "\n" not in message
    assert "the loss is nan" in message
    assert "Not finite are the samples of item 5 of the training data" in message
    assert all_finite(states(tmp_path / "run").values())
    assert states(tmp_path / "run")
    assert checksum(go(make(tmp_path, phase, Holed(16)), resume=True)) == wanted


@pytest.mark.filterwarnings("ignore::prune_ssl.PruneWarning")
@pytest.mark.parametrize("phase", FEW)
def test_a_callback_that_spoils_a_weight_is_noticed_before_it_is_written(tmp_path, phase):
    place = PHASES[phase][1] or "run"
    spoil = Spoil(2, place)
    with pytest.raises(TrainingError, match=r"is not finite before a checkpoint was written"):
        go(make(tmp_path, phase, Tones(16), [spoil]))
    assert all_finite(states(tmp_path / "run").values())


@pytest.mark.filterwarnings("ignore::prune_ssl.PruneWarning")
@pytest.mark.parametrize("phase", FEW)
def test_a_learning_rate_of_1e30_hands_no_model_over(tmp_path, phase):
    rate = {"learning_rate": 1e30}
    trainer = make(tmp_path, phase, Tones(16), **rate)
    with pytest.raises(TrainingError, match=r"is not finite|the loss is|the norm of the gradient"):
        go(trainer)
    assert all_finite(states(tmp_path / "run").values())


@pytest.mark.filterwarnings("ignore::prune_ssl.PruneWarning")
@pytest.mark.parametrize("recovery", [1.0, 1 / STEPS])
def test_a_recovery_at_1e30_hands_no_model_over_even_of_one_step(tmp_path, recovery):
    torch.manual_seed(1)
    trainer = PruningTrainer(
        model=tiny_model(num_labels=2),
        args=arguments(tmp_path, max_steps=STEPS, warmup_steps=0),
        pruning=PruningConfig(
            budget="macs=70%", seconds=1.0, round_to=1, recovery=recovery, recovery_learning_rate=1e30
        ),
        train_dataset=Tones(16),
    )
    trainer.train()
    with pytest.raises(TrainingError, match=r"^recovery, step") as found:
        trainer.finalize()
    assert "Lower the learning rate (1e+30)" in str(found.value)


class Poison(TrainerCallback):
    """Changes something else than the model's weights."""

    def __init__(self, act):
        self.act = act

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if state.global_step == 3:
            self.act()


@pytest.mark.parametrize("what", ["log_alpha", "multipliers"])
def test_gates_and_multipliers_are_watched_too(tmp_path, what):
    trainer = make(tmp_path, "pruning", Tones(16))
    trainer.add_callback(Poison(lambda: getattr(trainer.gates, what).grad.view(-1)[:1].fill_(float("nan"))))
    with pytest.raises(TrainingError, match=rf"^pruning, step 4 of 8: gates\.{what} is not finite after"):
        trainer.train()
    assert all_finite(states(tmp_path).values())


def test_projections_of_distillation_are_watched_too(tmp_path):
    torch.manual_seed(1)
    trainer = DistillationTrainer(
        model=tiny_model(num_labels=2, hidden_size=8),
        args=arguments(tmp_path),
        teacher=tiny_model(num_labels=2),
        distillation=DistillationConfig(losses={"l1": 1.0}),
        train_dataset=Tones(8),
    )
    learned = next(iter(trainer.distiller.learned.parameters()))
    trainer.add_callback(Poison(lambda: learned.grad.view(-1)[:1].fill_(float("inf"))))
    with pytest.raises(TrainingError, match=r"distillation\.projections\S* is not finite after"):
        trainer.train()


def test_a_gradient_that_is_not_finite_stops_before_the_step(tmp_path):
    model = tiny_model(num_labels=2)
    before = None

    def spoil(gradient):
        return gradient * float("inf")

    trainer = DistillationTrainer(model=model, args=arguments(tmp_path), train_dataset=Tones(8))
    model.classifier.weight.register_hook(spoil)
    before = checksum(model)
    with pytest.raises(TrainingError, match=r"step 1 of 12: the norm of the gradient is (nan|inf)"):
        trainer.train()
    assert checksum(model) == before


def test_a_gradient_scaler_may_skip_steps_but_not_for_ever(tmp_path):
    trainer = DistillationTrainer(
        model=tiny_model(num_labels=2), args=arguments(tmp_path), train_dataset=Tones(8)
    )
    trainer.accelerator.scaler = SimpleNamespace()
    model = torch.nn.Linear(2, 2)
    for step in range(25):
        trainer._get_grad_norm(model, torch.tensor(math.inf if step != 20 else 1.0))
    for _ in range(21):
        trainer._get_grad_norm(model, torch.tensor(math.inf))
    with pytest.raises(TrainingError, match="in 26 steps that the fp16 scaler skipped"):
        trainer._get_grad_norm(model, torch.tensor(math.inf))


def clips_with_a_hole(place):
    generator = np.random.default_rng(0)
    waves = [0.1 * generator.standard_normal(4000).astype(np.float32) for _ in range(8)]
    if place is not None:
        waves[place][7] = np.inf
    return [
        Clip(Path(f"corpus/clip{index}.wav"), str(index % 2), 0.25, samples=wave)
        for index, wave in enumerate(waves)
    ]


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("sampling", ["random", "group_by_length"])
def test_the_message_names_the_files(tmp_path, accumulation, sampling):
    trainer = DistillationTrainer(
        model=tiny_model(num_labels=2),
        args=arguments(
            tmp_path,
            gradient_accumulation_steps=accumulation,
            train_sampling_strategy=sampling,
            per_device_train_batch_size=2,
        ),
        train_dataset=ClipDataset(clips_with_a_hole(6), int),
    )
    with pytest.raises(
        TrainingError, match=r"samples of corpus/clip6\.wav\. The clips of this step: "
    ) as found:
        trainer.train()
    assert str(found.value).count("corpus/clip") >= 1 + 2


@pytest.mark.parametrize("criterion", ["taylor", "magnitude"])
def test_a_clip_that_is_not_finite_does_not_choose_the_units(tmp_path, criterion):
    trainer = PruningTrainer(
        model=tiny_model(num_labels=2),
        args=arguments(tmp_path),
        pruning=PruningConfig(budget="macs=70%", seconds=1.0, method="one_shot", criterion=criterion),
        train_dataset=ClipDataset(clips_with_a_hole(2), int),
    )
    with pytest.raises(TrainingError, match=r"clip2\.wav"):
        trainer.train()


def test_batches_reach_the_loss_without_the_numbers_of_their_clips(tmp_path):
    seen = []

    class Seeing(DistillationTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            seen.append(sorted(inputs))
            return super().compute_loss(model, inputs, *args, **kwargs)

    Seeing(
        model=tiny_model(num_labels=2),
        args=arguments(tmp_path, max_steps=2, dataloader_num_workers=1),
        train_dataset=Jittered(8),
    ).train()
    assert seen == [["input_values", "labels"]] * 2


# -- what is kept


def spoiled(value=float("nan")):
    model = tiny_model(num_labels=2)
    model.classifier.weight.data[0, 0] = value
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_such_model_is_saved_or_reported(tmp_path, value):
    with pytest.raises(ArtifactError, match=r"not finite.*classifier\.weight"):
        save_pretrained(spoiled(value), tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(ModelError, match=r"report: the pruned model: not finite.*classifier\.weight"):
        report(spoiled(value), with_latency=False)
    with pytest.raises(ModelError, match=r"report: the dense model"):
        report(tiny_model(num_labels=2), baseline=spoiled(value), with_latency=False)


def test_a_model_is_not_saved_in_a_dtype_that_cannot_hold_it(tmp_path):
    model = spoiled(1e6)
    with pytest.raises(ArtifactError, match=r"classifier\.weight"):
        save_pretrained(model, tmp_path / "half", dtype=torch.float16)
    save_pretrained(model, tmp_path / "whole")
    assert float(load_pretrained(tmp_path / "whole").classifier.weight[0, 0].detach()) == 1e6


def test_a_buffer_counts_too(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    model[1].running_var[0] = float("inf")
    with pytest.raises(ArtifactError, match=r"1\.running_var"):
        save_pretrained(model, tmp_path / "model", plan={})


@pytest.mark.filterwarnings("ignore::prune_ssl.PruneWarning")
@pytest.mark.parametrize(
    ("phase", "file"),
    [
        ("pruning", "checkpoint-8/model.safetensors"),
        ("pruning", "checkpoint-8/gates.safetensors"),
        ("round-2", "cut.safetensors"),
    ],
)
def test_no_such_state_is_resumed_from(tmp_path, phase, file):
    trainer = make(tmp_path, phase, Tones(16))
    trainer.train()
    path = tmp_path / "run" / file
    weights = load_file(path)
    name = max(weights, key=lambda each: weights[each].numel())
    weights[name].view(-1)[-1] = float("nan")
    save_file(weights, path, metadata=_metadata(path))
    if path.parent.name.startswith("checkpoint-"):
        (path.parent / "complete.json").unlink()
        write_manifest(path.parent)  # as a version would have that looked at no numbers
    with pytest.raises(TrainingError, match=rf"not finite.*{name}"):
        go(make(tmp_path, phase, Tones(16)), resume=True)


def _metadata(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()


def test_names_and_counts():
    state = {name: torch.ones(2) for name in "abcdef"} | {"whole": torch.tensor([1])}
    assert all_finite(state.values())
    state["c"][1] = math.inf
    state["half"] = torch.tensor([65_504.0, float("nan")], dtype=torch.float16)
    assert list(not_finite(state)) == ["c", "half"]
    assert all_finite([torch.full((3,), 3e38), torch.empty(0), torch.empty(2, device="meta")])


def test_weights_that_are_large_are_finite(tmp_path):
    save_pretrained(spoiled(3e38), tmp_path / "model")
    assert trace(load_pretrained(tmp_path / "model"))
