"""What people type into the public verbs: folders for models, wrong types, exchanged arguments."""

import math

import numpy as np
import pytest
import torch

import prune_ssl
from prune_ssl import DistillationConfig, DistillationTrainer, PruneError, PruningConfig, PruningTrainer
from prune_ssl.distillation.students import StudentConfig, make_student, reuse_attention
from prune_ssl.errors import BudgetError, DistillationError, ModelError, RecipeError
from prune_ssl.tasks.task import TaskSettings
from tests.support.models import tiny_model
from tests.support.training import quiet_arguments

BUDGET = "macs=80%"
QUICK = prune_ssl.Timing(seconds=0.5, min_iterations=1, min_seconds=0.01, threads=1)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return tiny_model()


@pytest.fixture(scope="module")
def graph(model):
    return prune_ssl.trace(model)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return prune_ssl.save_pretrained(model, tmp_path_factory.mktemp("models") / "dense")


def verbs(model, graph, tmp_path):
    """Every public verb, as a function of what it is given for its model."""
    budget = prune_ssl.selection.as_budget(BUDGET)
    return {
        "trace": prune_ssl.trace,
        "select": lambda given: prune_ssl.select(given, graph, BUDGET),
        "resize": lambda given: prune_ssl.resize(given, graph, {"layer.0.ffn": [0]}),
        "attach_gates": lambda given: prune_ssl.attach_gates(given, graph, PruningConfig(budget=BUDGET)),
        "measure": lambda given: prune_ssl.measure(given, timing=QUICK),
        "report": lambda given: prune_ssl.report(given, with_latency=False),
        "report: baseline": lambda given: prune_ssl.report(model, given, with_latency=False),
        "save_pretrained": lambda given: prune_ssl.save_pretrained(given, tmp_path / "copy", plan={}),
        "with_latency": lambda given: prune_ssl.with_latency(given, graph, BUDGET),
        "fit_latency": lambda given: prune_ssl.fit_latency(given, graph, budget, lambda _: {}),
        "to_stock": prune_ssl.to_stock,
        "PruningTrainer": lambda given: PruningTrainer(
            model=given, args=quiet_arguments(tmp_path), pruning=PruningConfig(budget=BUDGET)
        ),
        "DistillationTrainer": lambda given: DistillationTrainer(given, quiet_arguments(tmp_path)),
        "teacher": lambda given: DistillationTrainer(
            model=tiny_model(),
            args=quiet_arguments(tmp_path),
            distillation=DistillationConfig(),
            teacher=given,
        ),
        "make_student": lambda given: make_student(given, StudentConfig(layers=2)),
        "reuse_attention": lambda given: reuse_attention(given, [1]),
    }


VERBS = (
    *("trace", "select", "resize", "attach_gates", "measure", "report", "report: baseline", "to_stock"),
    *("save_pretrained", "with_latency", "fit_latency", "PruningTrainer", "DistillationTrainer", "teacher"),
    *("make_student", "reuse_attention"),
)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", [str, "path"])
def test_a_folder_stands_for_its_model_in_every_verb(verb, kind, model, graph, folder, tmp_path):
    act = verbs(model, graph, tmp_path)[verb]
    if verb == "attach_gates":
        with pytest.raises(ModelError, match=r"load_model\(.*gives it"):
            act(str(folder))
        return
    assert act(str(folder) if kind is str else folder) is not None


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("given", [3, 0.5, b"x", ["a"], {}, torch.ones(2), object(), type])
def test_what_is_no_model_is_refused_in_one_line(verb, given, model, graph, tmp_path):
    with pytest.raises(ModelError, match="wanted a model, a model folder or a hub name") as caught:
        verbs(model, graph, tmp_path)[verb](given)
    assert "\n" not in str(caught.value)
    assert verb in str(caught.value)


@pytest.mark.parametrize("verb", ["trace", "select", "resize", "attach_gates", "measure", "to_stock"])
def test_nothing_is_no_model(verb, model, graph, tmp_path):
    with pytest.raises(ModelError):
        verbs(model, graph, tmp_path)[verb](None)


def test_a_config_is_not_a_model_and_a_class_is_none_either(model):
    for given in (model.config, type(model)):
        with pytest.raises(ModelError, match="wanted a model"):
            prune_ssl.trace(given)


# -- a model and its graph

WITH_GRAPH = {
    "select": lambda model, graph: prune_ssl.select(model, graph, BUDGET),
    "resize": lambda model, graph: prune_ssl.resize(model, graph, {}),
    "attach_gates": lambda model, graph: prune_ssl.attach_gates(model, graph, PruningConfig(budget=BUDGET)),
    "with_latency": lambda model, graph: prune_ssl.with_latency(model, graph, BUDGET),
}


@pytest.mark.parametrize("verb", WITH_GRAPH)
def test_exchanged_arguments_are_named(verb, model, graph):
    with pytest.raises(ModelError, match=rf"the model comes first, then its graph: {verb}\(model, graph"):
        WITH_GRAPH[verb](graph, model)


@pytest.mark.parametrize("verb", WITH_GRAPH)
@pytest.mark.parametrize("wrong", [None, BUDGET, {"layer.0.ffn": [0]}, 3])
def test_what_is_no_graph_is_refused(verb, wrong, model):
    with pytest.raises(ModelError, match=r"in the graph's place, wanted the result of prune_ssl\.trace"):
        WITH_GRAPH[verb](model, wrong)


@pytest.mark.parametrize("verb", WITH_GRAPH)
@pytest.mark.parametrize("more", [{"intermediate_size": 32}, {"num_hidden_layers": 2}, {"vocab_size": 9}])
def test_the_graph_of_another_model_is_refused_by_the_parameter_that_differs(verb, more, model):
    kind = "ForCTC" if "vocab_size" in more else "ForSequenceClassification"
    other = prune_ssl.trace(tiny_model(head=kind, **more))
    with pytest.raises(ModelError, match=r"not the one that was traced: \S+ has shape"):
        WITH_GRAPH[verb](model, other)


def test_a_graph_of_some_groups_serves_them(model):
    graph = prune_ssl.trace(model, only="layer.0.*")
    assert set(graph.groups) == {
        name for name in prune_ssl.trace(model).groups if name.startswith("layer.0.")
    }
    small = prune_ssl.resize(model, graph, {"layer.0.ffn": [1]})
    assert small.hubert.encoder.layers[0].feed_forward.intermediate_dense.out_features == 1


# -- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0.5}, r"found 0\.5 \(float\).*Did you mean 'macs=50%'"),
        ({"budget": 50}, r"found 50 \(int\).*Did you mean 'macs=50%'"),
        ({"budget": None}, r"found None"),
        ({"budget": ()}, r"found \(\)"),
        ({"budget": ["macs=50%"]}, "budget: found"),
        ({"budget": True}, "found True"),
        ({"budget": math.nan}, "found nan"),
        ({"steps": "100"}, r"steps: found '100' \(str\), wanted a whole number or None"),
        ({"steps": 10.5}, "steps: found 10.5"),
        ({"steps": True}, "steps: found True"),
        ({"round_to": "8"}, "round_to: found '8'"),
        ({"round_to": 8.0}, "round_to: found 8.0"),
        ({"kinds": "ffn"}, "kinds: found 'ffn'.*wanted a list of text"),
        ({"kinds": ["ffn", 3]}, "kinds: found"),
        ({"kinds": None}, "kinds: found None"),
        ({"seconds": math.nan}, "seconds: found nan"),
        ({"seconds": math.inf}, "seconds: found inf"),
        ({"seconds": "10"}, "seconds: found '10'"),
        ({"seconds": True}, "seconds: found True"),
        ({"recovery": math.nan}, "recovery: found nan"),
        ({"recovery_learning_rate": "1e-4"}, "recovery_learning_rate: found '1e-4'"),
        ({"warmup": [0.1]}, "warmup: found"),
        ({"isomorphic": "yes"}, "isomorphic: found 'yes'.*wanted True or False"),
        ({"isomorphic": 1}, "isomorphic: found 1"),
        ({"method": 3}, "method: found 3.*wanted one of gates, iterative, one_shot"),
        ({"layout": None}, "layout: found None.*wanted one of hetero, stock"),
        ({"milestones": "macs=80%"}, "milestones: found 'macs=80%'.*wanted a list"),
        ({"milestones": [0.8]}, "found 0.8"),
        ({"milestones": None}, "milestones: found None"),
        ({"rounds": math.inf}, "rounds: found inf"),
    ],
    ids=str,
)
def test_pruning_settings_of_a_wrong_type_are_refused_when_made(settings, message):
    with pytest.raises(BudgetError, match=message) as caught:
        PruningConfig(**({"budget": BUDGET} | settings))
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_lists_and_whole_floats_are_taken():
    made = PruningConfig(
        budget=BUDGET,
        kinds=["ffn"],
        steps=np.int64(7),
        seconds=5,
        recovery=np.float32(0.5),
        milestones=["macs=90%"],
    )
    assert (made.kinds, made.steps, made.seconds, made.recovery) == (("ffn",), 7, 5, 0.5)
    assert type(made.steps) is int


@pytest.mark.parametrize(
    "settings",
    [
        *({"losses": losses} for losses in ("l1", ["l1"], {"l1": "1"}, {"l1": math.nan}, {1: 1.0}, None, 3)),
        *({"task_weight": weight} for weight in ("1", math.nan, math.inf, True, None)),
        *({"layers": layers} for layers in ("01", 3, [0.5], [True], [(0, 1, 2)], [None])),
        *({"temperature": "2"}, {"mask_length": 2.5}, {"teacher_cache": 3}, {"enhancement": "x"}),
        *({"learning_rate": math.nan}, {"logit_groups": 3}, {"projection": None}, {"layer_weights": ["1"]}),
    ],
    ids=str,
)
def test_distillation_settings_of_a_wrong_type_are_refused_when_made(settings):
    with pytest.raises(DistillationError) as caught:
        DistillationConfig(**settings)
    assert "\n" not in str(caught.value)


def test_distillation_settings_of_the_right_types_are_taken():
    made = DistillationConfig(
        layers=[0, (1, 2)], layer_weights=[1, 0.5], losses={"l1": 1}, logit_groups=range(1, 3)
    )
    assert made.layers == ((0, 0), (1, 2))
    assert made.layer_weights == (1.0, 0.5)


@pytest.mark.parametrize(
    "settings",
    [
        {"layers": "2"},
        {"layers": 1.5},
        {"hidden_size": "16"},
        {"hidden_size": 16.0},
        {"init": "zero"},
        {"reuse": "odd"},
        {"thin_frontend": 1},
        {"layers": True},
    ],
    ids=str,
)
def test_shapes_of_students_of_a_wrong_type_are_refused(settings):
    with pytest.raises(DistillationError):
        StudentConfig(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"speed": "1.1"}, {"speed": math.nan}, {"weights": "1,2"}, {"target": 3}, {"decoding": {}}],
    ids=str,
)
def test_settings_of_tasks_of_a_wrong_type_are_refused(settings):
    with pytest.raises(RecipeError):
        TaskSettings(**settings)


@pytest.mark.parametrize("pruning", ["macs=50%", 0.5, None, {"budget": "macs=50%"}, PruningConfig])
def test_a_trainer_wants_a_config(pruning, tmp_path):
    with pytest.raises(
        BudgetError, match=r"pruning: found .*wanted prune_ssl\.PruningConfig\(budget='macs=50%'\)"
    ):
        PruningTrainer(model=tiny_model(), args=quiet_arguments(tmp_path), pruning=pruning)


@pytest.mark.parametrize("config", ["macs=50%", None, {"budget": "macs=50%"}])
def test_attached_gates_want_a_config(config, model, graph):
    with pytest.raises(PruneError, match="PruningConfig"):
        prune_ssl.attach_gates(model, graph, config)


def test_a_trainer_wants_a_distillation_config(tmp_path):
    with pytest.raises(DistillationError, match=r"wanted prune_ssl\.DistillationConfig"):
        DistillationTrainer(model=tiny_model(), args=quiet_arguments(tmp_path), distillation={"l1": 1.0})


@pytest.mark.parametrize("config", [3, None, {"layers": 2}, "no_such"])
def test_a_student_wants_a_shape_or_a_name(config, model):
    with pytest.raises(DistillationError):
        make_student(model, config)
