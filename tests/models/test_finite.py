"""Is every number finite? Of any dtype, without overflow, and with the tensors named where not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_ssl.errors import ModelError
from prune_ssl.models.finite import NAMED, all_finite, not_finite, require_finite, shown_names
from tests.support.models import tiny_model

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=20)
@given(data=st.data())
def test_one_odd_number_is_found_wherever_it_stands(dtype: torch.dtype, data: st.DataObject) -> None:
    shapes = data.draw(st.lists(st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=4))
    tensors = [torch.zeros(shape, dtype=dtype) for shape in shapes]
    assert all_finite(tensors)
    which = data.draw(st.integers(0, len(tensors) - 1))
    place = data.draw(st.integers(0, tensors[which].numel() - 1))
    tensors[which].view(-1)[place] = data.draw(st.sampled_from([float("nan"), float("inf"), -float("inf")]))
    assert not all_finite(tensors)
    state = {str(index): tensor for index, tensor in enumerate(tensors)}
    assert list(not_finite(state)) == [str(which)]


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_largest_numbers_do_not_overflow(dtype: torch.dtype) -> None:
    most = torch.finfo(dtype).max
    assert all_finite([torch.full((1_000,), most, dtype=dtype), torch.full((3,), -most, dtype=dtype)])


def test_what_has_no_floating_point_numbers_is_finite() -> None:
    assert all_finite([])
    assert all_finite([torch.ones(2, dtype=torch.long), torch.zeros(0), torch.empty(3, device="meta")])
    eight = torch.tensor([1.0, 2.0]).to(torch.float8_e5m2)
    assert all_finite([eight])
    assert not all_finite([torch.tensor([float("inf")]).to(torch.float8_e5m2)])


def test_gradients_are_not_followed() -> None:
    assert all_finite([torch.ones(2, requires_grad=True) * 2])


@given(count=st.integers(0, 10))
def test_a_message_names_a_few_and_counts_the_others(count: int) -> None:
    found = shown_names(f"w{index}" for index in range(count))
    assert found.count("w") == min(count, NAMED)
    assert (f"and {count - NAMED} more" in found) == (count > NAMED)


def test_a_model_with_odd_weights_is_refused_by_their_names() -> None:
    model = tiny_model()
    require_finite(model, "the model", "Train it anew.")
    with torch.no_grad():
        model.classifier.bias[1] = float("nan")
    for each in (model, model.state_dict()):
        with pytest.raises(ModelError, match=r"^the model: not finite .*classifier\.bias\. Train it anew\.$"):
            require_finite(each, "the model", "Train it anew.")
