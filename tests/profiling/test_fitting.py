"""Latency budgets as measured: the table is corrected until what it chooses takes no longer than asked."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import prune_ssl
from prune_ssl import PruningConfig, PruningTrainer, select, trace
from prune_ssl.measuring import Latency
from prune_ssl.profiling import amounts, fit_latency, fitting
from prune_ssl.selection import allowed_widths, parse_budget, resolve
from prune_ssl.selection.latency import LatencyCost
from prune_ssl.training.stages import stages_of
from tests.support.models import checksum, tiny_model
from tests.support.tables import fake_table
from tests.support.training import Tones, arguments

MODEL = tiny_model(num_labels=2)
GRAPH = trace(MODEL)
TABLE = fake_table(GRAPH)
COST = LatencyCost(TABLE, GRAPH)
WHOLE = COST.value(GRAPH.widths())


def latency(text, table=TABLE):
    return tuple(replace(each, table=table) for each in parse_budget(text))


def choose(budget):
    return select(MODEL, GRAPH, budget, round_to=1, seconds=1.0)


class Machine:
    """Takes a share of the uncut model's time that differs from what the table says."""

    def __init__(self, monkeypatch, truth, whole_ms=10.0):
        self.truth, self.whole_ms, self.timed = truth, whole_ms, []
        monkeypatch.setattr(fitting, "_timed", self)

    def __call__(self, model, graph, keep, at, opened):
        predicted = COST.value(graph.widths(keep)) / WHOLE
        self.timed.append(self.truth(predicted))
        return self.whole_ms, self.whole_ms * self.timed[-1]


@pytest.mark.slow
@settings(max_examples=15)
@given(factor=st.floats(0.5, 1.5), level=st.floats(0.5, 500))
def test_a_corrected_table_scales_what_widths_save(factor, level):
    found = LatencyCost(fitting.corrected(TABLE, WHOLE, factor, level), GRAPH)
    for text in ("latency=80%", "latency=60%"):
        widths = GRAPH.widths(choose(latency(text)))
        if found.table.rest_ns:  # what no group changes cannot take less than nothing
            saved = factor * (WHOLE - COST.value(widths))
            assert found.value(widths) == pytest.approx(level * (WHOLE - saved), rel=0.01)
            assert found.value(GRAPH.widths()) == pytest.approx(level * WHOLE, rel=0.01)


@pytest.mark.parametrize(
    "truth",
    [
        lambda share: share + 0.08 * (1 - share),
        lambda share: share - 0.10 * (1 - share),
        lambda share: share**0.8,
        lambda share: 1.4 * share - 0.2,
        lambda share: share,
    ],
)
@pytest.mark.parametrize("asked", [0.4, 0.6, 0.8])
def test_what_is_chosen_takes_as_long_as_asked_where_the_table_is_wrong(monkeypatch, truth, asked):
    machine = Machine(monkeypatch, truth)
    fit = fit_latency(MODEL, GRAPH, latency(f"latency={100 * asked:g}%"), choose)
    assert 0.85 * asked <= fit.share <= asked  # one unit of this model is several percent
    chosen = truth(COST.value(GRAPH.widths(choose(fit.budget))) / WHOLE)
    assert chosen == pytest.approx(fit.share)
    assert len(machine.timed) <= fitting.ROUNDS


def test_a_smaller_cut_that_noise_made_look_slower_does_not_end_the_search(monkeypatch):
    shifts = iter([0.04, 0.12, 0.0, 0.0])
    machine = Machine(monkeypatch, lambda share: share + next(shifts))
    fit = fit_latency(MODEL, GRAPH, latency("latency=60%"), choose)
    first, second, *others = machine.timed
    assert 0.6 < first < second
    assert others
    assert fit.share <= 0.6


def test_an_absolute_latency_is_that_of_the_clock(monkeypatch):
    Machine(monkeypatch, lambda share: share, whole_ms=2 * WHOLE / 1e6)  # twice as slow as in the table
    asked = WHOLE / 1e6
    fit = fit_latency(MODEL, GRAPH, latency(f"latency={asked * 1000:.0f}us"), choose)
    assert 0.45 <= fit.share <= 0.5


def test_an_absolute_latency_is_held_where_the_table_sees_nothing_to_cut(monkeypatch):
    Machine(monkeypatch, lambda share: share, whole_ms=2 * WHOLE / 1e6)
    budget = latency(f"latency={1.2 * WHOLE / 1000:.0f}us")
    assert choose(budget) == {}
    assert 0.5 <= fit_latency(MODEL, GRAPH, budget, choose).share <= 0.6


def test_without_a_latency_nothing_is_timed(monkeypatch):
    machine = Machine(monkeypatch, lambda share: share)
    budget = parse_budget("macs=50%")
    assert fit_latency(MODEL, GRAPH, budget, choose) == fitting.Fit(budget)
    assert not machine.timed


def test_a_latency_below_what_can_be_reached_ends_with_the_fastest_cut(monkeypatch):
    """The table promised more than the machine holds; a trained model must not be lost for that."""
    Machine(monkeypatch, lambda share: 0.7 + 0.3 * share)
    fit = fit_latency(MODEL, GRAPH, latency("latency=30%"), choose)
    assert 0.7 < fit.share < 0.85
    assert choose(fit.budget)


def test_where_another_constraint_limits_the_cut_it_is_timed_but_once_more(monkeypatch):
    machine = Machine(monkeypatch, lambda share: 0.5 * share)
    budget = latency("latency=90%,macs=40%")
    fit = fit_latency(MODEL, GRAPH, budget, choose)
    assert choose(fit.budget) == choose(budget)
    assert len(machine.timed) == 1


@pytest.mark.parametrize("milliseconds", [WHOLE / 1e6 + 1, 900_000])
def test_a_cut_that_no_width_of_the_table_tells_does_not_end_a_run(monkeypatch, milliseconds):
    """Hidden size is timed as fixed, and an absolute latency may be more than the uncut model takes."""
    monkeypatch.setattr(fitting, "_timed", lambda *_: (10.0, 6.0))
    graph = trace(MODEL)

    def hidden(budget):
        return select(MODEL, graph, budget, round_to=1, seconds=1.0, kinds=("hidden",))

    budget = latency(f"latency={milliseconds:.3f}ms,macs=95%")
    fit = fit_latency(MODEL, graph, budget, hidden)
    assert fit.share == 0.6
    assert hidden(fit.budget)


def test_real_models_are_timed_and_left_as_they_were():
    before = checksum(MODEL)
    (limit,) = latency("latency=60%@cpu,threads=1,seconds=1")
    whole, cut = fitting._timed(MODEL, GRAPH, choose((limit,)), limit.at, {})
    assert 0 < cut < 2 * whole
    assert checksum(MODEL) == before


def trainer(folder, budget, **more):
    torch.manual_seed(1)
    settings = {"max_steps": 6, "seed": 7, "save_strategy": "steps", "save_steps": 2}
    return PruningTrainer(
        model=tiny_model(num_labels=2),
        args=arguments(folder, **settings),
        pruning=PruningConfig(budget=budget, round_to=1, seconds=1.0, recovery=0.5, **more),
        train_dataset=Tones(8),
    )


@pytest.mark.parametrize("more", [{}, {"method": "one_shot"}])
def test_training_holds_a_latency_as_measured(tmp_path, monkeypatch, more):
    machine = Machine(monkeypatch, lambda share: min(1.15 * share, 1.0))
    made = trainer(tmp_path, latency("latency=60%"), **more)
    made.train()
    made.finalize()
    assert 1.15 * COST.value(GRAPH.widths(made.plan.keep)) / WHOLE <= 0.6
    assert machine.timed[-1] <= 0.6


@pytest.mark.slow
def test_a_resumed_run_does_not_time_its_cut_again(tmp_path, monkeypatch):
    Machine(monkeypatch, lambda share: min(1.15 * share, 1.0))
    made = trainer(tmp_path, latency("latency=60%"))
    made.train()
    wanted, plan = checksum(made.finalize()), made.plan
    other = Machine(monkeypatch, lambda share: share)
    again = trainer(tmp_path, latency("latency=60%"))
    again.train(resume_from_checkpoint=True)
    assert checksum(again.finalize()) == wanted
    assert (again.plan, again.latency_share) == (plan, made.latency_share)
    assert not other.timed
    fresh = trainer(tmp_path, latency("latency=60%"))
    fresh.train()
    fresh.finalize()
    assert other.timed


@pytest.mark.slow
def test_later_stages_refer_to_what_earlier_ones_were_measured_to_take(tmp_path, monkeypatch):
    timed = []

    def timing(model, graph, keep, at, opened):
        """Take what the dense model's table says of what is left, and 10 % of the savings less."""
        left = {name: graph.groups[name].size if name in graph.groups else 0 for name in GRAPH.groups}
        cut = left | {name: len(units) for name, units in keep.items()}
        before, after = (1 - 0.9 * (1 - COST.value(widths) / WHOLE) for widths in (left, cut))
        timed.append(after)
        return before, after

    monkeypatch.setattr(fitting, "_timed", timing)
    made = trainer(tmp_path, latency("latency=60%"), milestones=(latency("latency=80%"),))
    made.train()
    found = []
    for each in made.finalize_all():
        found.append(1 - 0.9 * (1 - COST.value(GRAPH.widths(each.plan.keep)) / WHOLE))
        assert found[-1] == pytest.approx(timed[-1])
    assert 0.7 <= found[0] <= 0.8
    assert 0.52 <= found[1] <= 0.6


def test_a_stage_that_is_slower_than_its_table_said_asks_for_no_more_than_can_be_reached():
    """A trained run must not end because a timing leaves less room for the next budget than there was."""
    config = PruningConfig(budget=latency("latency=20%"), milestones=(latency("latency=80%"),), round_to=1)
    *_, last = stages_of(config, GRAPH, 100)
    for share in (0.8, 1.0, 100.0):
        budget = last.budget(share, GRAPH, GRAPH, config)
        (limit,) = resolve(budget, GRAPH, allowed_widths(GRAPH, 1), 1.0)
        assert limit.fraction <= 0.2 / share + 0.2
    assert limit.fraction > 0.2 / share


def test_a_latency_budget_is_judged_by_low_quartiles_where_the_machine_does_other_work(monkeypatch):
    model = tiny_model()
    at = prune_ssl.selection.Conditions(seconds=0.2)
    times = {
        "whole": [Latency(10, 9, 11, 60, 1, 0.2, low_ms=9.5)],
        "cut": [Latency(6, 5, 7, 60, 1, 0.2, low_ms=5.5)],
    }
    monkeypatch.setattr(amounts, "measure_interleaved", lambda *_args, **_more: times)
    assert fitting._timed(model, trace(model), {}, at, {}) == (10, 6)
    times["cut"] = [replace(times["cut"][0], p90_ms=20, median_ms=18)]
    assert fitting._timed(model, trace(model), {}, at, {}) == (9.5, 5.5)
