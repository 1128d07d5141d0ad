"""The stock layout: only widths that a config of transformers can say, and one width for all FFNs."""

import pytest

from prune_ssl.selection.kinds import KINDS
from prune_ssl.selection.stock import STOCK_KINDS, stock_ties, stock_widths, ties_of
from prune_ssl.selection.widths import allowed_widths
from prune_ssl.tracing import trace
from tests.support.models import tiny_model

GRAPHS = {name: trace(tiny_model(name, "Model")) for name in ("hubert", "wavlm", "wav2vec2-conformer")}


@pytest.mark.parametrize("family", GRAPHS)
def test_only_what_a_config_has_a_field_for_may_shrink(family: str) -> None:
    graph = GRAPHS[family]
    every = allowed_widths(graph, 4, KINDS)
    found = stock_widths(graph, every)
    assert set(found) == set(every)
    for name, widths in found.items():
        group = graph.groups[name]
        assert widths[-1] == group.size
        if group.kind not in STOCK_KINDS:
            assert widths == [group.size]
    assert found["conv.1"] == every["conv.1"]


@pytest.mark.parametrize("family", GRAPHS)
def test_a_feed_forward_block_never_empties_and_a_layer_may_go(family: str) -> None:
    graph = GRAPHS[family]
    found = stock_widths(graph, allowed_widths(graph, 4, KINDS))
    for name, widths in found.items():
        if graph.groups[name].kind == "ffn":
            assert 0 not in widths
            assert len(widths) > 1
    assert found["layer.1"] == [0, 1]


def test_the_first_layer_stays_where_it_holds_the_position_bias_of_all() -> None:
    first = {
        name: stock_widths(graph, allowed_widths(graph, 4, KINDS))["layer.0"]
        for name, graph in GRAPHS.items()
    }
    assert first["wavlm"] == [1]
    assert first["hubert"] == [0, 1]


def test_a_conformers_convolution_modules_keep_their_width() -> None:
    graph = GRAPHS["wav2vec2-conformer"]
    inside = [
        name for name, group in graph.groups.items() if group.kind == "conv" and name.startswith("layer")
    ]
    assert inside
    found = stock_widths(graph, allowed_widths(graph, 4, KINDS))
    assert all(found[name] == [graph.groups[name].size] for name in inside)


@pytest.mark.parametrize("family", GRAPHS)
def test_all_feed_forward_blocks_are_tied_in_the_stock_layout_only(family: str) -> None:
    graph = GRAPHS[family]
    (tied,) = stock_ties(graph)
    assert {graph.groups[name].kind for name in tied} == {"ffn"}
    assert len(tied) == sum(group.kind == "ffn" for group in graph.groups.values())
    assert ties_of(graph, "stock") == [tied]
    assert ties_of(graph, "hetero") == []


def test_one_block_needs_no_tie() -> None:
    assert stock_ties(trace(tiny_model("hubert", "Model", num_hidden_layers=1))) == []
