"""Students: published sizes to the unit, layers and widths from a teacher, attention maps that are reused."""

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import HubertConfig, HubertModel

import prune_ssl
from prune_ssl import PruningConfig, PruningTrainer, trace
from prune_ssl.distillation import Projections, StudentConfig, make_student, reuse_attention
from prune_ssl.errors import DistillationError, ModelError
from prune_ssl.tracing import SUPERB_LENGTHS, fairseq_term, superb_macs
from tests.support.models import first_output, relative_difference, tiny_model
from tests.support.training import Tones, arguments


def base_teacher():
    with torch.device("meta"):
        return HubertModel(HubertConfig())


def student_of_base(name):
    teacher = base_teacher()
    with torch.device("meta"):
        return make_student(teacher, name)


# Published sizes and MACs (methods 5, 6.1, 7); MACs in billions, with the distillation heads where the
# published features are theirs.
SIZES = [
    ("distilhubert", 23_491_200, 0, 785.9),
    ("star_hubert", 22_308_592, 0, 463.5),
    ("star_hubert_l", 26_626_672, 0, 511.9),
    ("armhubert", 22_015_552, 4_432_896, 501.6),
    ("armhubert_s", 18_403_552, 3_990_528, 449.9),
    ("maskhubert", 22_202_944, 4_432_896, None),
]


@pytest.mark.parametrize(("name", "params", "heads", "billions"), SIZES)
def test_students_of_the_papers_have_their_published_sizes(name, params, heads, billions):
    student = student_of_base(name)
    assert sum(parameter.numel() for parameter in student.parameters()) == params
    graph = trace(student)
    assert graph.cost().params == params
    macs, groups = superb_macs(graph)
    assert sum(groups) == macs
    if heads:
        pairs = [(layer, layer) for layer in range(1, 13)]
        projections = Projections("per_layer", pairs, student.config.hidden_size, 768)
        assert sum(parameter.numel() for parameter in projections.parameters()) == heads
        frames = sum(graph.frames(n / 16_000)[-1] for lengths in SUPERB_LENGTHS for n in lengths)
        macs += frames * 12 * student.config.hidden_size * 768
    if name == "distilhubert":  # the one that was counted with fairseq's attention
        macs += fairseq_term(graph, hidden=768, heads=12, layers=2)
    if billions is not None:
        assert round(macs / 1e9, 1) == billions


def test_the_published_sum_of_the_base_model_comes_out_exactly():
    graph = trace(base_teacher())
    assert superb_macs(graph)[0] == 1_665_522_780_160
    assert superb_macs(graph)[0] + fairseq_term(graph, 768, 12, 12) == 1_669_156_022_848


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_a_student_takes_the_layers_that_are_chosen(family):
    teacher = tiny_model(family, num_hidden_layers=5)
    student = make_student(teacher, StudentConfig(layers=range(0, 5, 2)))
    assert type(student) is type(teacher.base_model)
    source, own = teacher.base_model.state_dict(), student.state_dict()
    for name, value in own.items():
        parts = name.split(".")
        if parts[:2] == ["encoder", "layers"]:
            parts[2] = str(2 * int(parts[2]))
        assert torch.equal(value, source[".".join(parts)]), name
    first = make_student(teacher, StudentConfig(layers=2))
    wave = torch.randn(1, 4000)
    with torch.no_grad():
        states = teacher.base_model(wave, output_hidden_states=True).hidden_states
        torch.testing.assert_close(first(wave).last_hidden_state, states[2])


def test_a_narrower_student_starts_from_the_leading_entries():
    teacher = tiny_model("hubert", "Model")
    student = make_student(teacher, StudentConfig(hidden_size=8, intermediate_size=12, num_attention_heads=2))
    block, source = (m.encoder.layers[1].feed_forward.intermediate_dense for m in (student, teacher))
    assert torch.equal(block.weight, source.weight[:12, :8])
    torch.manual_seed(1)
    fresh = make_student(teacher, StudentConfig(hidden_size=8, init="random"))
    assert not torch.equal(
        fresh.feature_extractor.conv_layers[1].conv.weight,
        teacher.feature_extractor.conv_layers[1].conv.weight,
    )


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_thin_student_that_reuses_maps_runs_saves_and_loads(family, norm, tmp_path):
    teacher = tiny_model(family, "Model", norm)
    shape = StudentConfig(hidden_size=8, intermediate_size=12, thin_frontend=True, reuse="even")
    student = make_student(teacher, shape)
    assert student(torch.randn(1, 4000)).last_hidden_state.shape == (1, 12, 8)
    assert trace(student).cost().params == sum(parameter.numel() for parameter in student.parameters())
    prune_ssl.save_pretrained(student, tmp_path / "student")
    again = prune_ssl.load_pretrained(tmp_path / "student")
    wave = torch.randn(2, 5000)
    assert torch.equal(first_output(again, wave), first_output(student, wave))


def test_a_student_of_a_pruned_model_starts_as_that_model():
    """DPWavLM as the student that hears noise."""
    model = tiny_model("wavlm", "Model").eval()
    graph = trace(model)
    plan = prune_ssl.select(model, graph, budget="macs=50%", criterion="magnitude", round_to=1)
    small = prune_ssl.resize(model, graph, plan).eval()
    student = make_student(small, StudentConfig())
    assert type(student) is type(small)
    wave = torch.randn(2, 4000)
    assert torch.equal(first_output(student, wave), first_output(small, wave))


def test_a_thin_frontend_is_in_proportion_to_the_teacher_s():
    """A student of a tiny teacher is smaller than it, with the shape of the papers' students."""
    teacher = tiny_model(
        "hubert",
        "Model",
        conv_dim=[32] * 7,
        conv_kernel=[10, 3, 3, 3, 3, 2, 2],
        conv_stride=[5, 2, 2, 2, 2, 2, 2],
        num_feat_extract_layers=7,
    )
    student = make_student(teacher, StudentConfig(hidden_size=8, intermediate_size=8, thin_frontend=True))
    assert student.config.conv_dim == [8, 16, 16, 16, 16, 16, 8, 8, 8]
    assert student.num_parameters() < teacher.num_parameters()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("tinyhubert", "there is no student 'tinyhubert'"),
        (StudentConfig(layers=9), r"wanted at least one, of 0 to 2"),
        (StudentConfig(layers=()), "wanted at least one"),
        (StudentConfig(hidden_size=9), "hidden_size: found 9, wanted a multiple of 4 heads"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(shape, message):
    with pytest.raises(DistillationError, match=message):
        make_student(tiny_model(), shape)


# -- attention maps that are reused


def eager(model):
    model.set_attn_implementation("eager")
    return model


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_reusing_layers_attend_as_the_layer_below(family, attention):
    model = tiny_model(family, "Model", "layer", num_hidden_layers=4)
    model.set_attn_implementation(attention)
    reusing = reuse_attention(model)
    waves = torch.randn(2, 6000)
    mask = torch.ones(2, 6000, dtype=torch.long)
    mask[1, 4000:] = 0
    with torch.no_grad():
        found = reusing(waves, attention_mask=mask, output_attentions=True)
        wanted = eager(copy.deepcopy(model))(waves, attention_mask=mask, output_attentions=True)
    for below, above in ((0, 1), (2, 3)):
        assert torch.equal(found.attentions[below], found.attentions[above])
    torch.testing.assert_close(found.attentions[0], wanted.attentions[0])  # as the stock layer has it
    rows = found.attentions[1].sum(-1)
    torch.testing.assert_close(rows, torch.ones_like(rows))  # a softmax, once
    assert relative_difference(found.last_hidden_state, wanted.last_hidden_state) > 1e-3


def test_reuse_is_the_identity_where_maps_were_equal_already():
    """A layer that reads the same and has the same queries and keys reuses what it would have made."""
    model = eager(tiny_model("hubert", "Model", num_hidden_layers=2))
    first, second = model.encoder.layers
    with torch.no_grad():
        for leaf in ("q_proj", "k_proj"):
            for layer in (first, second):
                layer.attention.get_submodule(leaf).weight.zero_()
                layer.attention.get_submodule(leaf).bias.fill_(0.3)
    wave = torch.randn(2, 4000)
    assert relative_difference(first_output(reuse_attention(model), wave), first_output(model, wave)) < 1e-6


def test_reuse_saves_what_the_paper_says():
    model = eager(tiny_model("hubert", "Model", num_hidden_layers=4))
    reusing = reuse_attention(model)
    dense, cost = trace(model).cost(seconds=1.0), trace(reusing).cost(seconds=1.0)
    D, T = 16, 49
    assert dense.params - cost.params == 2 * 2 * (D * D + D)
    assert dense.macs - cost.macs == 2 * (2 * T * D * D + T * T * D)
    assert cost.params == sum(parameter.numel() for parameter in reusing.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        reusing(torch.randn(1, 16_000))
    assert counter.get_total_flops() == 2 * cost.macs


@pytest.mark.slow
def test_what_reuses_maps_is_pruned_saved_and_loaded(tmp_path):
    model = reuse_attention(tiny_model(num_labels=2, num_hidden_layers=4), layers=[1])
    graph = trace(model)
    assert {"layer.0.heads", "layer.1.heads"}.isdisjoint(graph.groups)
    assert {"layer.2.heads", "layer.1.ffn", "conv.0"} <= graph.groups.keys()
    assert "share their maps" in graph.not_pruned["hubert.encoder.layers.1.attention"]
    trainer = PruningTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=4),
        pruning=PruningConfig(budget="macs=70%", seconds=1.0, round_to=1, recovery=0.5),
        train_dataset=Tones(8),
    )
    trainer.train()
    small = trainer.finalize()
    cost = trace(small).cost(seconds=1.0)
    assert cost == graph.cost(trainer.plan.keep, seconds=1.0)
    assert cost.macs <= 0.7 * graph.cost(seconds=1.0).macs
    prune_ssl.save_pretrained(small, tmp_path / "small")
    wave = torch.randn(1, 4000)
    assert torch.equal(
        first_output(prune_ssl.load_pretrained(tmp_path / "small"), wave), first_output(small, wave)
    )


def test_a_pruned_model_can_reuse_maps():
    model = tiny_model(num_hidden_layers=2)
    keep = {"layer.0.heads": [0, 2], "layer.1.heads": [1, 2], "conv.1": [0, 1, 5], "layer.1.ffn": [3]}
    small = prune_ssl.resize(model, trace(model), keep)
    assert first_output(reuse_attention(small), torch.randn(1, 4000)).shape == (1, 5)
    uneven = prune_ssl.resize(model, trace(model), {"layer.0.heads": [0]})
    with pytest.raises(ModelError, match="has 4 heads and the one below 1"):
        reuse_attention(uneven)
    emptied = prune_ssl.resize(model, trace(model), {"layer.0.heads": []})
    with pytest.raises(ModelError, match="BiasAttention is not an attention of four Linears"):
        reuse_attention(emptied)


def test_a_model_that_reuses_maps_trains_and_keeps_nothing_of_a_step():
    model = reuse_attention(tiny_model(attention_dropout=0.1)).train()
    model(torch.randn(2, 4000), labels=torch.tensor([0, 1])).loss.backward()
    copy.deepcopy(model)  # fails where a module keeps a tensor with a history
    assert all(parameter.grad is not None for parameter in model.hubert.encoder.parameters())
    model.activation_checkpointing_enable({"use_reentrant": False})
    loss = model(torch.randn(2, 4000), labels=torch.tensor([0, 1])).loss
    with pytest.raises(ModelError, match="Switch gradient checkpointing"):
        loss.backward()


@pytest.mark.parametrize("layers", [[0], [7]])
def test_a_layer_without_one_below_cannot_reuse_a_map(layers):
    with pytest.raises(ModelError, match=f"attention layer {layers[0]} cannot reuse a map"):
        reuse_attention(tiny_model(), layers)
