"""A part with nothing of its own changes nothing of a training."""

from pathlib import Path

import torch
from torch import nn

from prune_ssl.training.part import Part


def test_a_part_without_anything_leaves_training_as_it_is(tmp_path: Path) -> None:
    part, model = Part(), nn.Linear(2, 1)
    loss, outputs = torch.ones(()), object()
    assert part.compute_loss(model, {}, lambda inputs: (loss, outputs)) == (loss, outputs)
    assert part.penalty(3) is None
    assert list(part.callbacks()) == []
    assert part.parameter_groups() == []
    assert list(part.learned()) == []
    logs = {"loss": 1.0}
    part.log(logs, 3)
    assert logs == {"loss": 1.0}
    part.save(tmp_path)
    part.load(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_its_contexts_let_everything_pass() -> None:
    part, model = Part(), nn.Linear(2, 1)
    with part.at_rest(), part.requiring_loss("Trainer"):
        wanted = model(torch.ones(1, 2))
    part.attach(model)
    part.plan_steps(5)
    part.adjust_scheduler(None)  # type: ignore[arg-type]
    assert torch.equal(model(torch.ones(1, 2)), wanted)
    part.detach()
    assert not model._forward_hooks


def test_inner_is_asked_once_and_with_the_batch() -> None:
    asked = []
    batch = {"input_values": torch.zeros(1)}
    Part().compute_loss(nn.Linear(1, 1), batch, lambda inputs: (asked.append(inputs), None))
    assert asked == [batch]
