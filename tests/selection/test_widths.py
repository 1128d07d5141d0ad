"""Widths that groups may end with: multiples, the full width, and zero where a group may empty."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.errors import BudgetError
from prune_ssl.selection.kinds import KINDS, ROUNDED_KINDS, UNIT_KINDS
from prune_ssl.selection.widths import allowed_widths, check_kinds
from prune_ssl.tracing import trace
from tests.support.models import tiny_model

GRAPH = trace(tiny_model())


@given(
    kind=st.sampled_from(KINDS),
    size=st.integers(1, 200),
    minimum=st.integers(0, 1),
    round_to=st.integers(1, 64),
)
def test_widths_rise_from_the_least_to_the_full_one_in_whole_steps(kind, size, minimum, round_to) -> None:
    graph = SimpleNamespace(groups={"g": SimpleNamespace(kind=kind, size=size, minimum=minimum)})
    (found,) = allowed_widths(graph, round_to, kinds=(kind,)).values()
    assert found == sorted(set(found))
    assert found[-1] == size
    assert found[0] >= minimum
    assert (found[0] == 0) == (minimum == 0)
    step = round_to if kind in ROUNDED_KINDS else 1
    assert all(width % step == 0 for width in found[:-1])
    assert len(found) == len([width for width in range(0, size, step) if width >= minimum]) + 1


def test_kinds_that_are_not_pruned_keep_their_width() -> None:
    found = allowed_widths(GRAPH, 4, kinds=("ffn",))
    for name, group in GRAPH.groups.items():
        assert (len(found[name]) > 1) == (group.kind == "ffn")
        assert found[name][-1] == group.size
    assert found["layer.0.ffn"] == [0, 4, 8, 12, 16, 20, 24]


def test_by_default_units_are_pruned_and_nothing_else() -> None:
    found = allowed_widths(GRAPH)
    assert {GRAPH.groups[name].kind for name, widths in found.items() if len(widths) > 1} <= set(UNIT_KINDS)
    assert found["layer.1.heads"] == [0, 1, 2, 3, 4]  # heads are whole by nature
    assert found == allowed_widths(GRAPH, 8, UNIT_KINDS)


@pytest.mark.parametrize("kinds", [(), ("convs",), ("ffn", "layers")])
def test_a_kind_that_is_none_is_refused(kinds: tuple[str, ...]) -> None:
    for act in (check_kinds, lambda given: allowed_widths(GRAPH, kinds=given)):
        with pytest.raises(BudgetError, match=r"kinds: found .*, wanted some of conv, heads, ffn"):
            act(kinds)
