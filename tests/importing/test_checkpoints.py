"""Checkpoints of DPHuBERT and DiariZen: the imported model computes what their documented graph does.

The graph is written out here with plain functions, from the weights and the config of the file alone.
"""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from typer.testing import CliRunner

from prune_ssl import load_pretrained, resize, trace
from prune_ssl.cli.app import app
from prune_ssl.errors import ArtifactError
from prune_ssl.importing import import_checkpoint
from tests.support.models import first_output

LAYERS, HEADS, WIDTH, SIZE = 3, 4, 16, 4
CONVS = [(6, 10, 5), (5, 3, 2), (7, 3, 2), (6, 3, 2), (5, 3, 2), (4, 2, 2), (9, 2, 2)]


def checkpoint(family, norm, seed=0, scales=True, whole=False):
    """A pruned model in their format, with random weights: {"state_dict", "config"}."""
    draw = torch.Generator().manual_seed(seed)

    def pick(most, least=1):
        return int(torch.randint(least, most + 1, (), generator=draw))

    def tensor(*shape, around=0.0):
        return around + 0.4 * torch.randn(*shape, generator=draw)

    heads = [sorted(torch.randperm(HEADS, generator=draw)[: pick(HEADS)].tolist()) for _ in range(LAYERS)]
    ffn = [pick(12) for _ in range(LAYERS)]
    attends, feeds = [True, seed % 2 == 0, True], [True, True, seed % 3 == 0]
    if whole:
        heads, ffn, attends, feeds = (
            [list(range(HEADS))] * LAYERS,
            [12] * LAYERS,
            [True] * LAYERS,
            [True] * LAYERS,
        )
    config = {
        "extractor_mode": f"{norm}_norm",
        "extractor_conv_layer_config": CONVS,
        "extractor_conv_bias": norm == "layer",
        "encoder_embed_dim": WIDTH,
        "encoder_projection_dropout": 0.1,
        "encoder_pos_conv_kernel": 6,
        "encoder_pos_conv_groups": 2,
        "encoder_num_layers": LAYERS,
        "encoder_use_attention": attends,
        "encoder_use_feed_forward": feeds,
        "encoder_attention_dropout": 0.1,
        "encoder_ff_interm_features": ffn,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.1,
        "encoder_layer_norm_first": norm == "layer",
        "encoder_layer_drop": 0.05,
        "aux_num_out": None,
        "normalize_waveform": norm == "layer",
        "extractor_prune_conv_channels": False,
        "encoder_prune_attention_heads": False,
    }
    if family == "wavlm":
        config |= {
            "encoder_total_num_heads": [HEADS] * LAYERS,
            "encoder_remaining_heads": heads,
            "encoder_num_buckets": 12,
            "encoder_max_distance": 20,
        }
    else:
        config |= {"encoder_num_heads": [len(kept) for kept in heads], "encoder_head_dim": SIZE}
    state, before = {}, 1
    for number, (channels, kernel, _) in enumerate(CONVS):
        at = f"feature_extractor.conv_layers.{number}"
        state[f"{at}.conv.weight"] = tensor(channels, before, kernel)
        if norm == "layer":
            state[f"{at}.conv.bias"] = tensor(channels)
        if norm == "layer" or number == 0:
            state |= {
                f"{at}.layer_norm.weight": tensor(channels, around=1.0),
                f"{at}.layer_norm.bias": tensor(channels),
            }
        before = channels
    if scales:
        state["feature_extractor.dummy_weight"] = 0.1 + 0.9 * torch.rand(before, generator=draw)
    at = "encoder.feature_projection"
    state |= {f"{at}.layer_norm.weight": tensor(before, around=1.0), f"{at}.layer_norm.bias": tensor(before)}
    state |= {f"{at}.projection.weight": tensor(WIDTH, before), f"{at}.projection.bias": tensor(WIDTH)}
    at = "encoder.transformer.pos_conv_embed.conv"
    state |= {f"{at}.weight_g": tensor(1, 1, 6, around=1.0), f"{at}.weight_v": tensor(WIDTH, WIDTH // 2, 6)}
    state[f"{at}.bias"] = tensor(WIDTH)
    norms = ["encoder.transformer.layer_norm"]
    for layer in range(LAYERS):
        at = f"encoder.transformer.layers.{layer}"
        norms += [f"{at}.layer_norm", f"{at}.final_layer_norm"]
        if attends[layer]:
            inner = len(heads[layer]) * SIZE
            for name in ("q_proj", "k_proj", "v_proj"):
                state |= {
                    f"{at}.attention.{name}.weight": tensor(inner, WIDTH),
                    f"{at}.attention.{name}.bias": tensor(inner),
                }
            state |= {
                f"{at}.attention.out_proj.weight": tensor(WIDTH, inner),
                f"{at}.attention.out_proj.bias": tensor(WIDTH),
            }
            if family == "wavlm":
                state |= {
                    f"{at}.attention.gru_rel_pos_linear.weight": tensor(8, SIZE),
                    f"{at}.attention.gru_rel_pos_linear.bias": tensor(8),
                }
                state[f"{at}.attention.gru_rel_pos_const"] = tensor(1, HEADS, 1, 1, around=1.0)
                if layer == 0:
                    state[f"{at}.attention.rel_attn_embed.weight"] = tensor(12, HEADS)
        if feeds[layer]:
            state |= {
                f"{at}.feed_forward.intermediate_dense.weight": tensor(ffn[layer], WIDTH),
                f"{at}.feed_forward.intermediate_dense.bias": tensor(ffn[layer]),
            }
            state |= {
                f"{at}.feed_forward.output_dense.weight": tensor(WIDTH, ffn[layer]),
                f"{at}.feed_forward.output_dense.bias": tensor(WIDTH),
            }
    for name in norms:
        state |= {f"{name}.weight": tensor(WIDTH, around=1.0), f"{name}.bias": tensor(WIDTH)}
    return {"state_dict": state, "config": config, "distill_linear_projs": {"0.weight": torch.ones(2)}}


def buckets(frames, number, most):
    """The bucket of each pair of frames (T5's rule, both directions)."""
    found = torch.zeros(frames, frames, dtype=torch.long)
    half = number // 2
    exact = half // 2
    for query in range(frames):
        for key in range(frames):
            distance = key - query
            bucket = half if distance > 0 else 0
            distance = abs(distance)
            if distance >= exact:
                far = exact + int(math.log(distance / exact) / math.log(most / exact) * (half - exact))
                distance = min(far, half - 1)
            found[query, key] = bucket + distance
    return found


def reference(data, audio):
    """Their forward, step by step: last hidden state (B, T, D) of waveforms (B, N) without padding."""
    state, config = data["state_dict"], data["config"]

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    x = audio[:, None]
    for number, (channels, _, stride) in enumerate(config["extractor_conv_layer_config"]):
        at = f"feature_extractor.conv_layers.{number}"
        x = F.conv1d(x, state[f"{at}.conv.weight"], state.get(f"{at}.conv.bias"), stride)
        if config["extractor_mode"] == "layer_norm":
            x = norm(f"{at}.layer_norm", x.transpose(1, 2)).transpose(1, 2)
        elif number == 0:
            x = F.group_norm(x, channels, state[f"{at}.layer_norm.weight"], state[f"{at}.layer_norm.bias"])
        x = F.gelu(x)
    if "feature_extractor.dummy_weight" in state:
        x = x * state["feature_extractor.dummy_weight"][:, None]
    x = linear(
        "encoder.feature_projection.projection",
        norm("encoder.feature_projection.layer_norm", x.transpose(1, 2)),
    )
    at, first = "encoder.transformer", config["encoder_layer_norm_first"]
    v, g = state[f"{at}.pos_conv_embed.conv.weight_v"], state[f"{at}.pos_conv_embed.conv.weight_g"]
    weight = g * v / v.norm(dim=(0, 1), keepdim=True)
    position = F.conv1d(
        x.transpose(1, 2), weight, state[f"{at}.pos_conv_embed.conv.bias"], padding=3, groups=2
    )
    x = x + F.gelu(position[..., :-1]).transpose(1, 2)  # an even kernel gives one frame too many
    x = x if first else norm(f"{at}.layer_norm", x)
    bias = None
    table = state.get(f"{at}.layers.0.attention.rel_attn_embed.weight")
    if table is not None:
        bias = table[
            buckets(x.shape[1], config["encoder_num_buckets"], config["encoder_max_distance"])
        ].permute(2, 0, 1)
    for layer in range(config["encoder_num_layers"]):
        here = f"{at}.layers.{layer}"
        if config["encoder_use_attention"][layer]:
            heard = norm(f"{here}.layer_norm", x) if first else x
            x = x + attention(data, layer, heard, bias, linear)
        x = x if first else norm(f"{here}.layer_norm", x)
        if config["encoder_use_feed_forward"][layer]:
            heard = norm(f"{here}.final_layer_norm", x) if first else x
            inner = F.gelu(linear(f"{here}.feed_forward.intermediate_dense", heard))
            x = x + linear(f"{here}.feed_forward.output_dense", inner)
        x = x if first else norm(f"{here}.final_layer_norm", x)
    return norm(f"{at}.layer_norm", x) if first else x


def attention(data, layer, x, bias, linear):
    at = f"encoder.transformer.layers.{layer}.attention"
    state, config = data["state_dict"], data["config"]
    batch, frames, _ = x.shape
    q, k, v = (
        linear(f"{at}.{name}_proj", x).reshape(batch, frames, -1, SIZE).transpose(1, 2) for name in "qkv"
    )
    scores = q @ k.transpose(2, 3) / math.sqrt(SIZE)
    if bias is not None:
        kept = config["encoder_remaining_heads"][layer]
        heads = x.reshape(batch, frames, HEADS, SIZE).transpose(1, 2)[
            :, kept
        ]  # the gate hears the layer's input
        two = linear(f"{at}.gru_rel_pos_linear", heads).reshape(batch, len(kept), frames, 2, 4).sum(-1)
        one, other = torch.sigmoid(two).unbind(-1)
        constant = state[f"{at}.gru_rel_pos_const"][0, kept, 0, 0][None, :, None]
        gate = one * (other * constant - 1) + 2
        scores = scores + gate[..., None] * bias[kept]
    mixed = scores.softmax(-1) @ v
    return linear(f"{at}.out_proj", mixed.transpose(1, 2).reshape(batch, frames, -1))


def written(tmp_path, data):
    torch.save(data, tmp_path / "model.pth")
    return tmp_path / "model.pth"


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("family", ["hubert", "wav2vec2", "wavlm"])
@given(seed=st.integers(0, 10_000), scales=st.booleans(), samples=st.integers(5_000, 9_000))
@settings(max_examples=6)
def test_an_imported_model_computes_what_their_graph_does(
    tmp_path_factory, family, norm, seed, scales, samples
):
    data = checkpoint(family, norm, seed, scales)
    found = import_checkpoint(
        written(tmp_path_factory.mktemp("x"), data), None if family == "wavlm" else family
    )
    assert found.model.config.model_type.endswith(family)
    assert found.extractor.do_normalize == (norm == "layer")
    audio = torch.randn(2, samples)
    wanted = reference(data, audio)
    assert float((first_output(found.model, audio) - wanted).abs().max() / wanted.abs().max()) < 1e-5


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_an_imported_model_is_saved_loaded_and_pruned_further(tmp_path, family, norm):
    data = checkpoint(family, norm, 4)
    done = CliRunner().invoke(app, ["import", str(written(tmp_path, data)), str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    model, audio = load_pretrained(tmp_path / "out"), torch.randn(1, 6_000)
    wanted = reference(data, audio)
    assert float((first_output(model, audio) - wanted).abs().max() / wanted.abs().max()) < 1e-5
    graph = trace(model)
    keep = {"conv.6": (0, 2, 5), "layer.0.ffn": (0,)}
    data["state_dict"]["feature_extractor.dummy_weight"] *= torch.zeros(9).index_fill(
        0, torch.tensor([0, 2, 5]), 1
    )
    small = resize(model, graph, keep)
    assert small.feature_extractor.conv_layers[6].activation[1].weight.shape == (3, 1, 1)
    assert sum(value.numel() for value in small.parameters()) == graph.cost(keep).params


def test_a_whole_model_is_of_the_stock_class(tmp_path):
    found = import_checkpoint(written(tmp_path, checkpoint("hubert", "group", scales=False, whole=True)))
    assert type(found.model).__name__ == "HubertModel"
    assert "--family" in found.notes[0]


def test_a_wavlm_that_lost_its_first_attention_has_no_position_bias(tmp_path):
    data = checkpoint("wavlm", "group", 2)
    data["config"]["encoder_use_attention"][0] = False
    for name in [name for name in data["state_dict"] if ".layers.0.attention" in name]:
        del data["state_dict"][name]
    found = import_checkpoint(written(tmp_path, data))
    audio = torch.randn(1, 6_000)
    wanted = reference(data, audio)
    assert float((first_output(found.model, audio) - wanted).abs().max() / wanted.abs().max()) < 1e-5
    assert "table of relative positions" in " ".join(found.notes)


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


def change(data, kind):
    """Damage a checkpoint in one way."""
    state, config = data["state_dict"], data["config"]
    if kind == "gates":
        state["encoder.transformer.layers.0.attention.hard_concrete_for_heads.log_alpha"] = torch.ones(4)
    elif kind == "flag":
        config["encoder_prune_attention_heads"] = True
    elif kind == "training":
        state = {f"student_model.{name}": value for name, value in state.items()}
        return {"state_dict": state}
    elif kind == "short":
        config["encoder_ff_interm_features"] = [1]
    elif kind == "missing field":
        del config["encoder_embed_dim"]
    elif kind == "missing weight":
        del state["encoder.transformer.layer_norm.weight"]
    elif kind == "shape":
        config["encoder_ff_interm_features"][0] += 1
    elif kind == "huge":
        config["encoder_embed_dim"] = 10**12
    elif kind == "scales":
        state["feature_extractor.dummy_weight"] = torch.ones(3)
    elif kind == "nothing":
        return {"weights": state}
    elif kind == "code":
        data["more"] = Harmful()
    return data


WORDS = {
    "gates": "hard_concrete",
    "flag": "encoder_prune_attention_heads",
    "training": "training checkpoint",
    "short": "encoder_ff_interm_features has 1 entries for 3 layers",
    "missing field": "encoder_embed_dim",
    "missing weight": "do not fit",
    "shape": "do not fit",
    "huge": "encoder_embed_dim",
    "scales": "dummy_weight",
    "nothing": "not a checkpoint of DPHuBERT",
    "code": "more than tensors",
}


@pytest.mark.parametrize("kind", sorted(WORDS))
def test_a_wrong_file_is_one_error_that_says_why(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path, change(checkpoint("hubert", "group", 1), kind))
    with pytest.raises(ArtifactError, match=WORDS[kind]):
        import_checkpoint(file)
    done = CliRunner().invoke(app, ["import", str(file), str(tmp_path / "out")])
    assert done.exit_code == 2
    assert done.output.count("error:") == 1
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.pth"):
        import_checkpoint(tmp_path / "x.pth")
    with pytest.raises(ArtifactError, match="not a file"):
        import_checkpoint(tmp_path / "missing.pth")


def test_a_family_that_the_file_contradicts_is_refused(tmp_path):
    file = written(tmp_path, checkpoint("wavlm", "group"))
    with pytest.raises(ArtifactError, match="not a hubert model"):
        import_checkpoint(file, "hubert")


def test_a_text_file_is_no_checkpoint_and_the_error_says_so_in_words(tmp_path):
    (tmp_path / "a.pt").write_text("hello")
    with pytest.raises(ArtifactError, match=r"cannot be read .* \(KeyError: .*Give the"):
        import_checkpoint(tmp_path / "a.pt")
