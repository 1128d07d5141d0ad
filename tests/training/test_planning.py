"""The schedule of a run in words: before its gates are planned and after, by cuts, and in stages."""

from prune_ssl import PruningConfig
from prune_ssl.training.planning import schedule_of
from tests.support.models import tiny_model
from tests.support.training import make_trainer


def planned(folder, **settings):
    config = PruningConfig(seconds=1.0, round_to=1, recovery=0.5, **({"budget": "macs=60%"} | settings))
    return make_trainer(folder, tiny_model(num_labels=2), config)


def test_the_rates_of_gates_are_known_once_they_are_planned(tmp_path):
    trainer = planned(tmp_path, preset="hj_pruning", warmup=0.5, initial_keep=0.9, gate_learning_rate=0.2)
    before = schedule_of(trainer)
    assert (before["gate steps"], before["recovery steps"]) == ("12", "6")
    assert before["recovery learning rate"] == "0.001"
    trainer.gates.plan_steps(12)
    after = schedule_of(trainer)
    assert before.items() <= after.items()
    told = {
        "target": "falls over the first 50% of the gate steps (linear)",
        "gate learning rate": "0.2",
        "initial keep": "0.9",
    }
    assert told.items() <= after.items()
    assert not told.keys() & before.keys()


def test_cuts_have_the_steps_after_each(tmp_path):
    found = schedule_of(planned(tmp_path, method="iterative", criterion="taylor", rounds=3))
    assert found["method"] == "iterative, by taylor"
    assert found["steps after each cut"] == "4, 4, 4"


def test_stages_have_steps_of_their_own(tmp_path):
    found = schedule_of(planned(tmp_path, budget="macs=50%", milestones=("macs=70%",)))
    gates, recoveries = ([*map(int, found[name].split(", "))] for name in ("gate steps", "recovery steps"))
    assert sum(gates) == 12
    assert len(gates) == len(recoveries) == 2
