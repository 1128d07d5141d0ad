"""The class for a checkpoint: heads are kept, dropped by request, or the model is refused by a tensor."""

import pytest
import torch

from prune_ssl.errors import ModelError
from prune_ssl.models.architectures import choose_class, classes_of
from prune_ssl.models.weights import Stored
from tests.support.models import HEADS, tiny_model


def stored(model, **changes: tuple[int, ...] | None) -> Stored:
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name, shape in changes.items():
        name = name.replace("__", ".")
        if shape is None:
            del shapes[name]
        else:
            shapes[name] = shape
    return Stored(shapes, dict.fromkeys(shapes, torch.float32))


def config_of(model, *names: str):
    model.config.architectures = list(names) or None
    return model.config


@pytest.mark.parametrize("head", HEADS["hubert"])
def test_the_class_that_the_config_names_is_taken(head: str) -> None:
    model = tiny_model("hubert", head)
    name = type(model).__name__
    choice = choose_class("m", config_of(model, name), stored(model), "keep")
    assert choice.cls is type(model)
    assert choice.head.startswith("none" if head == "Model" else f"kept from m ({name})")
    dropped = choose_class("m", config_of(model, name), stored(model), "drop")
    assert dropped.cls.__name__ == "HubertModel"
    assert dropped.head.startswith("none" if head == "Model" else "dropped by request")


def test_classes_of_a_family_begin_with_the_bare_one() -> None:
    model = tiny_model("hubert", "ForCTC")
    names = list(classes_of(model.config))
    assert names[0] == "HubertModel"
    assert {"HubertForCTC", "HubertForSequenceClassification", "HubertForXVector"} <= set(names)


def test_a_head_that_the_named_class_would_lose_is_refused_with_the_fitting_class() -> None:
    model = tiny_model("hubert", "ForCTC")
    with pytest.raises(ModelError, match=r"lm_head.*set architectures to \['HubertForCTC'\].*--head drop"):
        choose_class("m", config_of(model, "HubertModel"), stored(model), "keep")


def test_a_strangers_head_is_refused_and_what_pre_training_left_is_none() -> None:
    model = tiny_model("hubert", "Model")
    odd = stored(model, my_head__weight=(3, 16))
    with pytest.raises(ModelError, match=r"my_head\.weight"):
        choose_class("m", config_of(model, "MyModel"), odd, "keep")
    left = stored(model, final_proj__weight=(3, 16))
    choice = choose_class("m", config_of(model), left, "keep")
    assert choice.cls.__name__ == "HubertModel"
    assert "final_proj" in choice.head


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"hubert__encoder__layers__0__feed_forward__output_dense__bias": (9,)},
            r"found shape \[9\], wanted \[16\]",
        ),
        ({"hubert__encoder__layers__0__feed_forward__output_dense__bias": None}, "1 missing"),
        ({"hubert__encoder__layers__7__feed_forward__output_dense__bias": (16,)}, "1 unexpected"),
    ],
)
def test_weights_that_do_not_fit_their_config_are_refused_by_a_tensor(changes, words: str) -> None:
    model = tiny_model("hubert", "ForCTC")
    with pytest.raises(ModelError, match=words) as caught:
        choose_class("m", config_of(model, "HubertForCTC"), stored(model, **changes), "keep")
    assert "output_dense.bias" in str(caught.value)


def test_a_missing_head_alone_has_a_remedy() -> None:
    model = tiny_model("hubert", "ForCTC")
    bare = stored(model, lm_head__weight=None, lm_head__bias=None)
    with pytest.raises(ModelError, match="--head drop"):
        choose_class("m", config_of(model, "HubertForCTC"), bare, "keep")
    assert choose_class("m", config_of(model, "HubertForCTC"), bare, "drop").cls.__name__ == "HubertModel"


def test_names_of_another_program_are_refused_with_both_kinds_of_name() -> None:
    model = tiny_model("hubert", "Model")
    other = Stored({"w2v.layer.0.weight": (3, 3)}, {"w2v.layer.0.weight": torch.float32})
    with pytest.raises(ModelError, match=r"w2v\.layer\.0\.weight"):
        choose_class("m", config_of(model), other, "keep")
