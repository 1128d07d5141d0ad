"""Sharded training: what it does to an optimiser's groups, and what is refused."""

import re
from types import SimpleNamespace

import pytest
import torch

from prune_ssl.errors import PruneError
from prune_ssl.training.sharding import apart, load_groups, refuse_unsupported_sharding, save_groups


@pytest.mark.parametrize(
    ("fsdp", "plugin", "message"),
    [
        (True, None, "would each train a whole copy. Leave fsdp out"),
        (True, SimpleNamespace(fsdp_version=1), "use fsdp_config={'version': 2}"),
    ],
)
def test_sharding_that_would_be_something_else_is_refused(fsdp, plugin, message):
    trainer = SimpleNamespace(
        args=SimpleNamespace(fsdp=fsdp, device=torch.device("cpu")),
        accelerator=SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin)),
    )
    with pytest.raises(PruneError, match=re.escape(message)):
        refuse_unsupported_sharding(trainer)
    trainer.args.fsdp, trainer.accelerator.state.fsdp_plugin = False, None
    refuse_unsupported_sharding(trainer)


def test_an_optimiser_gets_its_hidden_groups_back_with_their_state(tmp_path):
    def made():
        torch.manual_seed(0)
        weights = [torch.nn.Parameter(torch.randn(3)) for _ in range(3)]
        optimizer = torch.optim.AdamW([{"params": weights[:1]}, {"params": weights[1:], "lr": 0.5}])
        return weights, optimizer

    def step(weights, optimizer):
        sum((each**2).sum() for each in weights).backward()
        optimizer.step()
        optimizer.zero_grad()

    weights, optimizer = made()
    step(weights, optimizer)
    save_groups(tmp_path / "groups", optimizer, 1)
    with apart(optimizer, 1):
        assert len(optimizer.param_groups) == len(optimizer.state) == 1
    assert len(optimizer.param_groups) == 2
    assert len(optimizer.state) == 3
    others, other = made()
    other.param_groups[1]["lr"] = 0.1
    with torch.no_grad():
        for mine, its in zip(others, weights, strict=True):
            mine.copy_(its)
    load_groups(tmp_path / "groups", other, 1)
    step(weights, optimizer)
    step(others, other)
    assert all(torch.equal(a, b) for a, b in zip(weights[1:], others[1:], strict=True))
    assert not torch.equal(weights[0], others[0])  # whose state was not among them
