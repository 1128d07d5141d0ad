"""Calibration: the order in which gates start, and that finding it changes nothing else."""

import pytest
import torch

from prune_ssl import PruningConfig
from prune_ssl.errors import BudgetError
from prune_ssl.selection.criteria import score_units
from prune_ssl.training.calibrating import calibrated_scores, calibration_batches, order_gates
from prune_ssl.training.seeded_items import FollowEpoch
from tests.support.models import tiny_model
from tests.support.training import Tones, Unlabelled, make_trainer

SETTINGS = {"budget": "macs=19%", "seconds": 1.0, "round_to": 1}


def made(folder, **settings):
    return make_trainer(folder, tiny_model(num_labels=2), PruningConfig(**SETTINGS | settings), max_steps=2)


def test_gates_start_in_the_order_of_the_taylor_scores_of_the_dense_model(tmp_path):
    trainer = made(tmp_path)
    weights = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    stream = torch.get_rng_state()
    assert order_gates(trainer.run) == "taylor"
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(weights[name], value) for name, value in trainer.model.state_dict().items())
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert not any(isinstance(each, FollowEpoch) for each in trainer.callback_handler.callbacks)
    trainer.gates.plan_steps(2)
    start = trainer.gates.log_alpha.detach()
    trainer.gates.detach()
    batches = calibration_batches(trainer.run, trainer.model)
    scores = score_units(trainer.model, trainer.graph, "taylor", batches)
    for name, span in trainer.gates.spans.items():
        assert torch.equal(start[span].argsort(stable=True), scores[name].argsort(stable=True))


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"preset": "hj_pruning"}, "equal"),
        ({"budget": "macs=60%"}, "equal"),
        ({"gate_start": "equal"}, "equal"),
        ({"gate_start": "magnitude"}, "magnitude"),
        ({"preset": "hj_pruning", "gate_start": "taylor"}, "taylor"),
    ],
)
def test_the_config_decides_in_which_order_gates_start(tmp_path, settings, wanted):
    trainer = made(tmp_path, **settings)
    assert order_gates(trainer.run) == wanted
    trainer.gates.plan_steps(2)
    assert (len(set(trainer.gates.log_alpha.tolist())) == 1) == (wanted == "equal")


def test_without_labels_gates_start_alike_unless_an_order_was_asked_for(tmp_path):
    trainer = made(tmp_path)
    trainer.train_dataset = Unlabelled(16)
    assert order_gates(trainer.run) == "equal"
    trainer = made(tmp_path, gate_start="taylor")
    trainer.train_dataset = Unlabelled(16)
    with pytest.raises(BudgetError, match="gives no loss for a calibration batch"):
        order_gates(trainer.run)


class TwoColumns(Tones):
    """Tones with labels that the model's own loss cannot take."""

    def __getitem__(self, index):
        item = self.items[index]
        return item | {"labels": torch.stack([item["labels"], 1 - item["labels"]])}


def of_first_column(outputs, labels, num_items_in_batch=None):
    return 3 * torch.nn.functional.cross_entropy(outputs["logits"], labels[:, 0])


def test_scores_follow_from_the_loss_of_the_task(tmp_path):
    trainer = made(tmp_path)
    trainer.gates.detach()
    own = calibrated_scores(trainer.run, trainer.model, trainer.graph, "taylor")
    inputs = calibrated_scores(trainer.run, trainer.model, trainer.graph, "activation")
    trainer.train_dataset, trainer.compute_loss_func = TwoColumns(16), of_first_column
    found = calibrated_scores(trainer.run, trainer.model, trainer.graph, "taylor")
    for name, scores in own.items():
        torch.testing.assert_close(found[name], 3 * scores, rtol=1e-4, atol=1e-9)
    again = calibrated_scores(trainer.run, trainer.model, trainer.graph, "activation")
    assert all(torch.allclose(again[name], scores) for name, scores in inputs.items())
    gated = made(tmp_path)
    gated.train_dataset, gated.compute_loss_func = TwoColumns(16), of_first_column
    assert order_gates(gated.run) == "taylor"
