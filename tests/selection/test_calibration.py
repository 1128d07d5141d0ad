"""Evidence about units: sums over all that goes with a unit, gradients, and sizes of inputs."""

import pytest
import torch
from torch import nn

from prune_ssl.errors import BudgetError
from prune_ssl.selection.calibration import evaluating, gather_gradients, gather_inputs, unit_sums
from prune_ssl.tracing import trace
from tests.support.models import batch, tiny_model

MODEL = tiny_model(num_labels=2)
GRAPH = trace(MODEL)


def labelled(*lengths: int) -> list[dict[str, torch.Tensor]]:
    return [batch(MODEL, length) | {"labels": torch.tensor([0, 1])} for length in lengths]


def test_every_entry_of_a_unit_is_counted_once() -> None:
    ones = {name: torch.ones_like(value) for name, value in MODEL.named_parameters()}
    group = GRAPH.groups["layer.1.ffn"]
    wanted = 2 * MODEL.config.hidden_size + 1  # a row and its bias, and a column
    assert unit_sums(group, ones).tolist() == [float(wanted)] * group.size
    layer = GRAPH.groups["layer.1"]
    assert unit_sums(layer, ones).tolist() == [
        float(sum(value.numel() for name, value in MODEL.named_parameters() if ".layers.1." in name))
    ]
    assert unit_sums(group, {}).tolist() == [0.0] * group.size


def test_gradients_are_those_of_the_loss_and_a_mean_over_batches() -> None:
    batches = labelled(4000, 5000)
    parts = [gather_gradients(GRAPH, MODEL, [each]) for each in batches]
    whole = gather_gradients(GRAPH, MODEL, iter(batches))
    for place in (0, 1):
        for name, values in whole[place].items():
            mean = (parts[0][place][name] + parts[1][place][name]) / 2
            torch.testing.assert_close(values, mean, rtol=1e-6, atol=1e-12)
    MODEL.zero_grad()
    MODEL(**batches[0]).loss.backward()
    products = {
        name: value.detach() * value.grad
        for name, value in MODEL.named_parameters()
        if value.grad is not None
    }
    group = GRAPH.groups["layer.0.ffn"]
    torch.testing.assert_close(
        parts[0][0]["layer.0.ffn"], unit_sums(group, products).abs(), rtol=1e-4, atol=1e-9
    )
    assert float(parts[0][0]["layer.0.ffn"].sum()) > 0
    MODEL.zero_grad()


@pytest.mark.parametrize("gather", [gather_gradients, gather_inputs])
def test_evidence_summed_over_processes_is_that_of_all_their_batches(gather) -> None:
    batches = labelled(4000, 5000, 6000)
    sums: list[torch.Tensor] = []

    def other_process(values: torch.Tensor) -> torch.Tensor:
        sums.append(values.clone())
        return values

    gather(GRAPH, MODEL, batches[:2], other_process)
    left = iter(sums)
    found, wanted = (
        gather(GRAPH, MODEL, batches[2:], lambda own: own + next(left)),
        gather(GRAPH, MODEL, batches),
    )
    assert next(left, None) is None
    for one, all_ in zip(found, wanted, strict=True) if gather is gather_gradients else [(found, wanted)]:
        for name, values in all_.items():
            torch.testing.assert_close(one[name], values, rtol=1e-9, atol=1e-12)


def test_a_frozen_model_gives_the_same_and_stays_frozen() -> None:
    wanted = gather_gradients(GRAPH, MODEL, [fixed()])
    MODEL.requires_grad_(False)
    try:
        found = gather_gradients(GRAPH, MODEL, [fixed()])
        assert not any(value.requires_grad for value in MODEL.parameters())
    finally:
        MODEL.requires_grad_(True)
    assert all(torch.equal(found[0][name], values) for name, values in wanted[0].items())
    assert all(value.grad is None for value in MODEL.parameters())


def fixed() -> dict[str, torch.Tensor]:
    wave = torch.sin(torch.arange(8000.0) / 7).reshape(2, 4000)
    return {"input_values": wave, "labels": torch.tensor([0, 1])}


def test_inputs_are_root_mean_squares_of_what_each_column_reads() -> None:
    found = gather_inputs(GRAPH, MODEL, [fixed(), fixed()])
    path = next(part.module for part in GRAPH.groups["layer.2.ffn"].of_role("consumer"))
    heard: list[torch.Tensor] = []
    module = MODEL.get_submodule(path)
    handle = module.register_forward_pre_hook(lambda _, given: heard.append(given[0].detach().double()))
    with torch.no_grad():
        MODEL(**fixed())
    handle.remove()
    wanted = heard[0].flatten(0, -2).square().mean(0).sqrt()
    torch.testing.assert_close(found[path], wanted)
    assert found[path].shape == (module.in_features,)
    assert not any(module._forward_pre_hooks for module in MODEL.modules() if isinstance(module, nn.Linear))


def test_a_block_in_evaluation_mode_gives_every_submodule_its_mode_back() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Dropout(), nn.Linear(1, 1))).train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    with pytest.raises(ZeroDivisionError), evaluating([model]):
        assert 1 / sum(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes


def test_calibration_without_batches_or_without_a_loss_is_refused() -> None:
    for gather in (gather_gradients, gather_inputs):
        with pytest.raises(BudgetError, match="the calibration batches are empty"):
            gather(GRAPH, MODEL, [])
    with pytest.raises(BudgetError, match="gives no loss for a calibration batch with input_values: give"):
        gather_gradients(GRAPH, MODEL, [batch(MODEL, 4000)])


def test_a_consumer_that_never_runs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(num_labels=2)
    graph = trace(model)
    last = model.hubert.encoder.layers[2].feed_forward
    monkeypatch.setattr(
        last, "forward", lambda values: nn.functional.linear(values, torch.eye(values.shape[-1]))
    )
    with pytest.raises(
        BudgetError, match=r"layers\.2\.feed_forward\.intermediate_dense never ran as a module"
    ):
        gather_inputs(graph, model, [fixed()])
