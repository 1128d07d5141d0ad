"""The schedule of a pruning run in a few words each, for its log and its report."""

from collections.abc import Callable

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from prune_ssl.gating.projection import initial_keep
from prune_ssl.gating.schedule import RATE_GROWTH
from prune_ssl.training.cutting import rounds_of
from prune_ssl.training.rounds import planned_steps
from prune_ssl.training.trainer import PruningTrainer


def schedule_of(trainer: PruningTrainer) -> dict[str, str]:
    """Return the steps and rates of a pruning run.

    They follow from the config and the number of steps. Those of gates are known once their training begins,
    so that before it only the steps are returned.

    Args:
        trainer: The trainer. In a progressive run the rates are those of its first stage.
    """
    config, steps = trainer.pruning, planned_steps(trainer)
    recoveries = [stage.recovery for stage in trainer.stages] or [round(config.recovery * steps)]
    tuned, base = config.preset == "tuned", f"{trainer.args.learning_rate:.3g}"
    rate = f"{base} * (dense MACs / kept MACs)^{RATE_GROWTH}" if tuned else base
    after = rate if config.recovery_learning_rate is None else f"{config.recovery_learning_rate:.3g}"
    last = {"recovery steps": _joined(recoveries), "recovery learning rate": after}
    if config.method != "gates":
        rounds = _joined(rounds_of(config, steps))
        method = f"{config.method}, by {config.criterion}"
        return {"method": method, "steps after each cut": rounds, "learning rate": rate} | last
    found = {"preset": config.preset, "learning rate": base}
    found |= {"gate steps": _joined([stage.steps for stage in trainer.stages] or [steps])}
    lagrangian = trainer.gates.lagrangian
    if lagrangian.steps:
        found |= {
            "target": f"falls over the first {lagrangian.warmup:.0%} of the gate steps ({config.schedule})",
            "gate learning rate": f"{lagrangian.learning_rate:.3g}",
            "gate start": trainer.run.gate_start,
            "initial keep": f"{initial_keep(lagrangian):.3g}",
        }
    return found | last


def _joined(counts: list[int]) -> str:
    return ", ".join(map(str, counts))


class AtStart(TrainerCallback):
    """Calls a function when training begins, after the gates have been planned."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Call the function."""
        self.act()
