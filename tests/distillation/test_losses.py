"""A user adds a distillation loss from outside, as docs/add_a_loss.md says: the page is run as it stands."""

import re
from pathlib import Path

import pytest
import torch

import prune_ssl
from prune_ssl import DistillationConfig, register_loss
from prune_ssl.distillation import LOSSES, Distiller, on_hidden_states
from prune_ssl.distillation.hidden import l1
from prune_ssl.errors import DistillationError
from tests.support.models import tiny_model

PAGE = Path(prune_ssl.__file__).parents[1] / "docs" / "add_a_loss.md"


@pytest.fixture(autouse=True)
def own_losses():
    """What a test registers goes with it."""
    before = dict(LOSSES)
    yield
    LOSSES.clear()
    LOSSES.update(before)


def of_two_models(losses):
    """The parts of one batch, for a student that is not its teacher."""
    torch.manual_seed(3)
    student, teacher = tiny_model(num_labels=2).eval(), tiny_model(num_labels=2)
    distiller = Distiller(DistillationConfig(losses=losses), teacher, student)
    clips = {"input_values": torch.randn(2, 4000)}
    with distiller.listening():
        outputs = student(**clips)
    distiller.loss(clips, outputs)
    return distiller.parts


def test_the_page_runs_as_it_stands():
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), names)
    distiller, loss = names["distiller"], names["loss"]
    assert set(distiller.parts) == {"huber", "channel_means"}
    assert min(distiller.parts.values()) > 0
    expected = distiller.parts["huber"] + 0.1 * distiller.parts["channel_means"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert any(each.grad is not None and each.grad.abs().sum() > 0 for each in names["student"].parameters())


def test_the_page_names_every_member_of_a_loss():
    table = set(re.findall(r"^\| `(\w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    public = {name for name in vars(prune_ssl.distillation.Loss) if not name.startswith("_")}
    assert table == public


def test_a_registered_function_gives_what_the_own_loss_of_that_function_gives():
    register_loss("again", on_hidden_states(l1))
    parts = of_two_models({"l1": 1.0, "again": 0.5})
    assert parts["again"] == parts["l1"] > 0


@pytest.mark.parametrize(
    ("name", "factory", "told"),
    [
        ("l1", on_hidden_states(l1), "one of the package's own"),
        ("projections", on_hidden_states(l1), "one of the package's own"),
        ("no name", on_hidden_states(l1), "wanted a letter"),
        (3, on_hidden_states(l1), "found the name 3"),
        ("mine", 0.5, "wanted a function of"),
    ],
)
def test_what_cannot_be_registered_is_refused(name, factory, told):
    with pytest.raises(DistillationError, match=told):
        register_loss(name, factory)


def test_a_factory_that_returns_no_loss_is_refused_before_training():
    register_loss("mine", lambda config, models: l1)
    with pytest.raises(DistillationError, match=r"losses\.mine: its factory returned .*wanted a .*Loss"):
        of_two_models({"mine": 1.0})


@pytest.mark.parametrize("plain", [l1, lambda student, teacher, valid: student])
def test_a_plain_function_in_the_place_of_a_factory_is_refused_before_training(plain):
    register_loss("mine", plain)
    with pytest.raises(DistillationError, match=r"losses\.mine: its factory raised .*on_hidden_states"):
        of_two_models({"mine": 1.0})


def test_an_unknown_loss_is_told_with_the_registered_ones():
    register_loss("huber", on_hidden_states(l1))
    with pytest.raises(DistillationError, match="did you mean 'huber'"):
        DistillationConfig(losses={"hubr": 1.0})


def test_what_a_loss_relies_on_is_not_pruned():
    register_loss("mine", on_hidden_states(l1))
    distiller = Distiller(DistillationConfig(losses={"mine": 1.0}), tiny_model(), tiny_model())
    with pytest.raises(DistillationError, match="units of kind 'hidden' are to be pruned"):
        distiller.check_prunable(["ffn", "hidden"])
    distiller.check_prunable(["ffn", "conv"])
