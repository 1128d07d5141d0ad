"""Training from scratch: mel filters, layers that tell clips apart from the start, a margin that rises."""

from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments, Wav2Vec2Model
from transformers.models.wav2vec2.modeling_wav2vec2 import AMSoftmaxLoss

from prune_ssl.data import Clip, ClipDataset
from prune_ssl.errors import ModelError
from prune_ssl.models.filterbank import gabor_filters, mel_centres, pass_on_, start_as_filterbank_
from prune_ssl.tasks import Verification
from prune_ssl.tasks.starting import standardise_, start_
from prune_ssl.training.margins import MarginRamp
from tests.support.models import tiny_model
from tests.support.speakers import SHORT, TRAIN


@pytest.mark.parametrize(("bands", "kernel"), [(32, 200), (20, 400)])
def test_a_filter_answers_to_its_own_frequency(bands: int, kernel: int) -> None:
    filters = gabor_filters(bands, kernel).double()
    peaks = torch.fft.rfft(filters, 16_000).abs().argmax(dim=1)  # bins of 1 Hz
    wanted = mel_centres(bands + 1, 16_000)[:-1]
    # Below the resolution of the kernel the mirror image at the negative frequency moves the peak.
    sharp = wanted > 16_000 / kernel * 2
    assert sharp.sum() > bands / 2
    for phase in (peaks[:bands], peaks[bands:]):
        torch.testing.assert_close(phase[sharp].double(), wanted[sharp], rtol=0.03, atol=1)


def test_the_first_convolution_starts_as_the_filterbank_and_nothing_else_changes() -> None:
    model = tiny_model("hubert", "Model")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert start_as_filterbank_(model) is model
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["feature_extractor.conv_layers.0.conv.weight"]
    assert torch.equal(model.feature_extractor.conv_layers[0].conv.weight[:, 0], gabor_filters(6, 10))
    with pytest.raises(ModelError, match="no first convolution over samples"):
        start_as_filterbank_(tiny_model("wav2vec2-bert", "Model"))


@pytest.mark.parametrize(
    ("giver", "shape", "dims"),
    [
        (nn.Linear(3, 4), (7, 6, 3), (0, 1)),
        (nn.LayerNorm(4), (7, 6, 4), (0, 1)),
        (nn.Conv1d(3, 4, 2), (7, 3, 6), (0, 2)),
        (nn.GroupNorm(4, 4), (7, 4, 6), (0, 2)),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, nn.Module) else "",
)
def test_a_layer_is_standardised_by_what_it_gives(
    giver: nn.Module, shape: tuple[int, ...], dims: tuple[int, ...]
) -> None:
    giver, given = giver.double(), 5 + torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        for parameter in giver.parameters():
            parameter.add_(torch.randn_like(parameter))
        giver.weight[2] = 0.0  # a dead unit
        promised = standardise_(giver, giver(given))
        found = giver(given)
    torch.testing.assert_close(found, promised, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.mean(dim=dims), torch.zeros(4).double(), rtol=0, atol=1e-12)
    deviations = torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(found.std(dim=dims), deviations, rtol=0, atol=1e-12)


def mean_cosine(model: PreTrainedModel, clips: tuple[Clip, ...]) -> float:
    """Of the outputs that the loss sees, over all pairs of different clips."""
    waves = torch.from_numpy(np.stack([clip.waveform() for clip in clips]))
    with torch.no_grad():
        units = nn.functional.normalize(model.eval()(waves).logits, dim=1)
    return float((units @ units.T)[~torch.eye(len(clips), dtype=torch.bool)].mean())


def count_hooks(model: PreTrainedModel) -> int:
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())


def test_a_started_head_tells_clips_apart_where_a_fresh_one_does_not() -> None:
    task = Verification(("low", "high"))
    model = task.with_head(Wav2Vec2Model(deepcopy(SHORT))).train()
    assert mean_cosine(model, TRAIN) > 0.8
    backbone = deepcopy(model.wav2vec2.state_dict())
    hooks = count_hooks(model)
    start_(model.train(), TRAIN, task.collator(), backbone=False, head=True)
    assert model.training
    assert abs(mean_cosine(model, TRAIN)) < 0.2
    assert all(torch.equal(tensor, backbone[name]) for name, tensor in model.wav2vec2.state_dict().items())
    assert count_hooks(model) == hooks


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_started_frontend_gives_standard_features(norm: str) -> None:
    task = Verification(("low", "high"))
    model = tiny_model("wav2vec2", "Model", norm)
    start_(model, TRAIN, task.collator(), backbone=True, head=True)  # there is no head: nothing is done
    waves = task.collator()([{"input_values": clip.waveform()} for clip in TRAIN])["input_values"]
    with torch.no_grad():
        projected = model.feature_projection(model.feature_extractor(waves).transpose(1, 2))[0]
    width = model.config.hidden_size
    torch.testing.assert_close(projected.mean((0, 1)), torch.zeros(width), rtol=0, atol=1e-3)
    torch.testing.assert_close(projected.std((0, 1)), torch.ones(width), rtol=0, atol=1e-3)


def voices() -> tuple[Clip, ...]:
    """Eight speakers by one formant, in noise."""
    generator, time, clips = np.random.default_rng(0), np.arange(4_800) / 16_000, []
    for speaker in range(8):
        for index in range(4):
            wave = 0.3 * generator.standard_normal(len(time))
            for hz in 110 * np.arange(1, 36) * (1 + 0.02 * generator.standard_normal(35)):
                gain = np.exp(-(((hz - 400 - 250 * speaker) / 250) ** 2))
                wave += gain * np.sin(2 * np.pi * hz * time + generator.uniform(0, 6))
            path = Path(f"voices/{speaker}/{index}.wav")
            clips.append(Clip(path, str(speaker), 0.3, samples=wave.astype(np.float32)))
    return tuple(clips)


def loss_after(steps: int, *, started: bool) -> float:
    """Of AM-softmax without margin, all clips in each batch."""
    task, clips = Verification(tuple(map(str, range(8)))), voices()
    torch.manual_seed(0)
    model = task.with_head(Wav2Vec2Model(deepcopy(SHORT)))
    if started:
        start_(model, clips, task.collator(), backbone=True, head=True)
    model.objective.margin = 0.0
    data = ClipDataset(clips, task.encode)
    batch = task.collator()([data[index] for index in range(len(data))])
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(batch["input_values"], labels=batch["labels"]).loss
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def test_a_started_model_leaves_chance_where_a_fresh_one_stays() -> None:
    chance = np.log(8)
    assert loss_after(12, started=False) > chance / 2
    assert loss_after(12, started=True) < chance / 4


def test_the_margin_rises_in_training_and_is_whole_after_it() -> None:
    objective = AMSoftmaxLoss(4, 3, margin=0.2)
    ramp, state, control = MarginRamp(objective), TrainerState(max_steps=100), TrainerControl()
    arguments = TrainingArguments(use_cpu=True)
    margins = []
    for step in (0, 40, 60, 80, 99):
        state.global_step = step
        ramp.on_step_begin(arguments, state, control)
        margins.append(objective.margin)
    assert margins == pytest.approx([0.0, 0.0, 0.1, 0.2, 0.2])
    objective.margin = 0.0
    ramp.on_train_end(arguments, state, control)
    assert objective.margin == 0.2


def test_later_convolutions_pass_on_what_the_first_hears() -> None:
    model = pass_on_(tiny_model("wav2vec2", "Model", "layer"))
    convs = [layer.conv for layer in model.feature_extractor.conv_layers]
    for before, conv in pairwise(convs):
        assert conv.in_channels == before.out_channels
        # A unit answers to a steady tone in its own channel more than random weights do to any.
        steady = conv.weight.detach().sum(dim=2)
        own = steady.diagonal()
        assert own.mean() > 0.5
        assert abs(own.mean() - 1) < abs(steady.mean() - 1)
    with pytest.raises(ModelError, match="no first convolution over samples"):
        pass_on_(tiny_model("wav2vec2-bert", "Model"))
