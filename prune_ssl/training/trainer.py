"""PruningTrainer: gate training as a transformers.Trainer, then finalize (cut) and recovery."""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers.trainer_utils import TrainOutput

from prune_ssl.errors import BudgetError, PruneError
from prune_ssl.gating import Plan, PruningConfig, attach_gates
from prune_ssl.models.arguments import shown
from prune_ssl.models.checkpointing import refuse_reentrant_arguments
from prune_ssl.tracing import PruningGraph, trace
from prune_ssl.tracing.arguments import check_same_model
from prune_ssl.training.calibrating import order_gates
from prune_ssl.training.cutting import agreed
from prune_ssl.training.distilling import DistillationTrainer
from prune_ssl.training.gated_part import GatedPart
from prune_ssl.training.phases import (
    STAGE,
    PruningRun,
    evaluate_dense,
    finalize_one,
    forget_earlier_run,
)
from prune_ssl.training.processes import from_first, on_first
from prune_ssl.training.progress import use_budget_progress
from prune_ssl.training.record import PRUNING, Entry, Finished, PruningRecord, Results
from prune_ssl.training.rounds import planned_steps, train_in_rounds
from prune_ssl.training.settings import refuse_unsupported, with_tables, without_layerdrop
from prune_ssl.training.sharding import refuse_unsupported_sharding, require_same_weights
from prune_ssl.training.stages import Stage, finalize_stages, stages_of


class PruningTrainer(DistillationTrainer):
    """A `transformers.Trainer` that learns under a budget which units should go.

    `train()` trains weights and gates jointly: task loss + augmented Lagrangian (HJ-Pruning, methods 3), and
    the losses of a DistillationConfig (DPHuBERT, methods 4), in recovery too; the teacher is by default the
    dense model. `finalize()` projects the gates to the exact budget, cuts the model, fine-tunes the small
    one (`PruningConfig.recovery`) and returns it. Recovery has a trainer of its own with the same arguments,
    data, callbacks, collator and `compute_loss_func`; a given optimiser, and a `compute_loss` of a subclass,
    serve gate training only. With `PruningConfig.method` "iterative" or "one_shot" `train()` cuts by a
    criterion instead, and all training is like that of recovery. Under several processes all draw the same
    gates and make the same cut.

    With `milestones` the run is progressive: the steps of gate training are shared among the budgets,
    `train()` trains the gates of the first, and `finalize_all()` gives its model and goes on from there to
    the next. Later stages have trainers of their own (a given optimiser serves the first one's gates only).

    Attributes:
        pruning: the config, with what this machine takes where the budget is a latency.
        graph: of the dense model.
        gates: the gates; `gates.summary(step)` says where they stand.
        stages: of a progressive run.
        run: what the phases share; the properties below are read from its record.
    """

    phase = PRUNING

    def __init__(
        self, *args: Any, pruning: PruningConfig, graph: PruningGraph | None = None, **kwargs: Any
    ) -> None:
        """Trace the model and attach gates; the arguments are DistillationTrainer's, and two more.

        Args:
            *args: of DistillationTrainer.
            pruning: what is pruned, and how.
            graph: what `trace` of the model gave; None: the model is traced now.
            **kwargs: of DistillationTrainer.

        Raises:
            DistillationError: student and teacher do not fit together.
            BudgetError: the budget cannot be met; nothing was trained.
            PruneError: a setting under which gates would learn something else, such as a given scheduler.
            ModelError, TraceError: the model cannot be pruned.
        """
        _require_config(pruning)
        super().__init__(*args, **kwargs)
        refuse_unsupported(self.args, self.lr_scheduler)
        if pruning.method == "gates":
            refuse_reentrant_arguments(self.args, "gates")
        refuse_unsupported_sharding(self)
        if self.distiller is not None:
            pruning = pruning.without_hidden()
            self.distiller.check_prunable(pruning.kinds)
        model = self.model
        assert isinstance(model, nn.Module)
        layerdrop = without_layerdrop(model)
        self.graph: PruningGraph = trace(model) if graph is None else graph
        check_same_model(model, self.graph)
        self.pruning = pruning = from_first(lambda: with_tables(pruning, model, self.graph))
        self.stages = self._planned_stages()
        budget = (*pruning.milestones, pruning.budget)[0]
        self.gates = attach_gates(
            model, self.graph, dataclasses.replace(pruning, budget=budget, milestones=())
        )
        record = PruningRecord()
        self.run = PruningRun(
            trainer=self,
            config=pruning,
            graph=self.graph,
            gates=self.gates,
            distiller=self.distiller,
            callbacks=list(kwargs.get("callbacks") or ()),
            layerdrop=layerdrop,
            record=record,
        )
        if pruning.method == "gates":
            self.add_part(GatedPart(self.gates, record, pruning.kinds, self.args))
        else:
            self.gates.detach()
        self._finished: Finished | None = None
        use_budget_progress(self, self.phase)

    # -- where the run stands

    @property
    def plan(self) -> Plan | None:
        """What was kept, once finalized."""
        return self.run.record.plan

    @property
    def history(self) -> list[Entry]:
        """One entry per logging step: phase, step, expected and target fractions, keeps by kind."""
        return self.run.record.history

    @property
    def results(self) -> Results:
        """The evaluation metrics "dense" (before), "cut" (right after the cut), "recovered"."""
        return self.run.record.results

    @property
    def latency_share(self) -> float:
        """The part of the latency that the cut left, as measured (1: no latency budget)."""
        return self.run.record.latency_share

    @property
    def warnings(self) -> list[str]:
        """What makes it doubtful that the gates learned what was meant, a line each."""
        return self.run.record.warnings

    # -- training

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the dense model (when there is an eval_dataset), then train weights and gates.

        After `resume_from_checkpoint=True` (the newest checkpoint, or a new start where there is none)
        `finalize` resumes too, and both end as if nothing had happened.

        Raises:
            PruneError: the model was cut already.
        """
        if self.plan is not None:
            raise BudgetError(
                "this trainer has cut its model already; make a new PruningTrainer to prune again."
            )
        self.run.resuming = resume_from_checkpoint
        if self.pruning.method != "gates":
            return self._train_by_cuts()
        if not resume_from_checkpoint:
            on_first(lambda: forget_earlier_run(self.run))
        evaluate_dense(self.run)
        self.run.gate_start = order_gates(self.run)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _train_by_cuts(self) -> TrainOutput:
        """Cut by the criterion and train what is left, in rounds; the last round trains to the end."""
        if isinstance(self.run.resuming, str):
            raise PruneError(
                f"method {self.pruning.method!r} resumes from its newest cut and checkpoint: "
                "train(resume_from_checkpoint=True)."
            )
        made, steps = train_in_rounds(self.run)
        require_same_weights(made.model, self.accelerator)
        self.model = self.model_wrapped = made.model
        self.run.record.plan = agreed(Plan.of(self.graph, made.keep), self.accelerator)
        self.state.global_step = steps
        return TrainOutput(steps, 0.0, {})

    # -- the cut and after

    def finalize(self) -> nn.Module:
        """Project the gates to the exact budget, cut, recover, and return the small model.

        The small model becomes `trainer.model`. Calling again returns it.
        """
        *_, last = self.finalize_all()
        return last.model

    def finalize_all(self) -> Iterator[Finished]:
        """Yield the models of the milestones, largest first, and at last that of the budget.

        Each stage starts from what the one before left; the plans are in units of the dense model. Calling
        again yields the last one.
        """
        if self._finished is not None:
            yield self._finished
            return
        if self.stages:
            made = finalize_stages(self.run, self.stages, self._train_stage)
        else:
            made = finalize_one(self.run)
        for each in made:
            record = self.run.record
            record.plan, record.results, record.history = each.plan, each.results, each.history
            record.outcomes = each.outcomes
            if each.last:
                self.model = self.model_wrapped = each.model
                self._finished = each
            yield each

    # -- progressive runs

    def _planned_stages(self) -> list[Stage]:
        """Plan the stages of a progressive run, of which this trainer trains the first; none otherwise."""
        if not self.pruning.milestones:
            return []
        planned = planned_steps(self)
        stages = stages_of(self.pruning, self.graph, planned)
        self.args = copy.copy(self.args)  # `replace` would reset the state of this trainer's accelerator
        self.args.max_steps = stages[0].steps
        if self.args.warmup_steps >= 1:  # below that it is a part of the steps; last stages are shortest
            self.args.warmup_steps = self.args.warmup_steps * stages[-1].steps // planned
        return stages

    def _train_stage(self, small: nn.Module, number: int, latency_share: float) -> PruningRun:
        """Train the gates of stage `number` (from 1) on the model that the stage before left.

        Args:
            small: that model.
            number: of the stage.
            latency_share: the part of the dense model's latency that it was measured to take.
        """
        stage, graph, first = self.stages[number - 1], trace(small), self.run
        budget = stage.budget(latency_share, self.graph, graph, self.pruning)
        if self.distiller is not None:
            self.distiller.attach(small)
        seconds = self.pruning.seconds
        kept = graph.cost(seconds=seconds).macs / self.graph.cost(seconds=seconds).macs
        # A subclass may compute another loss; one with arguments of its own cannot be made here.
        kind = type(self) if type(self).__init__ is PruningTrainer.__init__ else PruningTrainer
        trainer = kind(
            model=small,
            args=dataclasses.replace(
                self.args,
                output_dir=str(first.folder / f"{STAGE}{number}"),
                max_steps=stage.steps,
                learning_rate=self.args.learning_rate * self.pruning.rate_factor(kept),
            ),
            pruning=dataclasses.replace(self.pruning, budget=budget, milestones=()),
            graph=graph,
            **first.handed_on(),
        )
        trainer.phase, trainer.starts_easy = f"{PRUNING}-{number}", False
        trainer.run.record.take_dense(self.run.record)
        trainer.train(resume_from_checkpoint=bool(first.resuming))
        return trainer.run


def _require_config(pruning: object) -> None:
    if not isinstance(pruning, PruningConfig):
        wanted = pruning if isinstance(pruning, str) else "macs=50%"
        raise BudgetError(
            f"pruning: found {shown(pruning)}, wanted prune_ssl.PruningConfig(budget={wanted!r})."
        )
    if pruning.method == "auto":
        raise BudgetError(
            "method 'auto' compares methods on the validation clips of a recipe (`prune-ssl run`): give a "
            "PruningTrainer gates, iterative or one_shot."
        )
