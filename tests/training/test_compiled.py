"""Training with torch_compile: gates and distillation learn as without it, and break no graph."""

import copy
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from prune_ssl import DistillationConfig, PruningConfig, PruningTrainer
from tests.support.models import tiny_model
from tests.support.training import Tones, arguments

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning"),  # Dynamo's, of torch's and transformers' own code
]
STEPS = 3


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What Dynamo says of each place where it breaks a graph."""
    for name in ("ACCELERATE_DYNAMO_BACKEND", "ACCELERATE_DYNAMO_MODE"):  # TrainingArguments sets them
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    said: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    torch._logging.set_logs(graph_breaks=True)
    logger, handler = logging.getLogger("torch._dynamo.symbolic_convert.__graph_breaks"), Listening()
    logger.addHandler(handler)
    torch._dynamo.reset()
    yield said
    logger.removeHandler(handler)
    torch._logging.set_logs(graph_breaks=False)


def learned(model: nn.Module, folder: Path, compiled: bool) -> tuple[list[float], torch.Tensor]:
    """The losses of each step, and log_alpha at the end."""
    trainer = PruningTrainer(
        model=copy.deepcopy(model),
        args=arguments(
            folder,
            max_steps=STEPS,
            logging_steps=1,
            torch_compile=compiled,
            torch_compile_backend="aot_eager" if compiled else None,
        ),
        train_dataset=Tones(8),
        pruning=PruningConfig(budget="macs=50%", round_to=1),
        distillation=DistillationConfig(losses={"l1": 1.0, "attention": 1.0}, task_weight=0.5),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return losses, trainer.gates.log_alpha.detach()


def test_losses_and_gates_are_those_of_eager_training(breaks: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = tiny_model(num_labels=2, num_hidden_layers=1)
    runs = [learned(model, tmp_path / str(compiled), compiled) for compiled in (False, True)]
    (eager, gates), (compiled, others) = runs
    assert len(eager) == STEPS
    assert compiled == pytest.approx(eager, rel=1e-4)
    torch.testing.assert_close(others, gates, rtol=1e-4, atol=1e-4)
    assert len(gates.unique()) > 1
    assert breaks, "the breaks of transformers' own code were heard"
    places = [text.partition("in user code at ")[2].partition("\n")[0] for text in breaks]
    ours = [place for place in places if "site-packages" not in place]
    assert not ours
