"""Model folders as people have them on disk, and as damage, other tools and attackers leave them."""

import copy
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from fuzzing.case import Case
from prune_ssl import load_pretrained, resize, save_pretrained, trace
from prune_ssl.models import FAMILIES, load_model

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

TINY: dict[str, Any] = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 10,
    "conv_dim": [6, 5, 4, 4, 4, 4, 4],
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 9,
    "num_labels": 3,
    "classifier_proj_size": 6,
    "tdnn_dim": [4, 4, 4, 4, 6],
    "xvector_output_dim": 4,
    "num_buckets": 8,
    "max_bucket_distance": 16,
    "codevector_dim": 8,
    "proj_codevector_dim": 8,
    "num_codevectors_per_group": 4,
}
KINDS = ("wav2vec2", "hubert", "wavlm", "unispeech", "data2vec-audio")
HEADS = ("Model", "ForCTC", "ForSequenceClassification", "ForXVector", "ForPreTraining")
PRE_TRAINING = ("quantizer", "project_hid", "project_q", "final_proj")

Fields = dict[str, Any]
Tensors = dict[str, torch.Tensor]
Change = Callable[[random.Random, Path], str]

NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 3, 7, 10**7, 10**9, 10**18, 2**63, -(10**9), 0.5, 8.0, 1e300, float("nan"), float("inf")),
    *("8", "", "eight", True, False, None, [], [8], {}, {"a": 1}),
)
LISTS: tuple[Any, ...] = (
    *([], [8], [4] * 6, [4] * 7, [4] * 8, [0] * 7, [-4] * 7, [10**9] * 7, [4.5] * 7, ["4"] * 7, [True] * 7),
    *([4] * 10**5, None, "4", 4, {}, [[4]], [float("nan")] * 7),
)
NAMES: tuple[Any, ...] = (
    *(None, [], "HubertForCTC", ["Nothing"], [None], [3], {}, 5, ["Wav2Vec2ForSpeechClassification"], [""]),
    *(["BertModel"], ["HubertModel"], ["Wav2Vec2Model"], ["hubertforctc"], ["HubertForCTC", "HubertModel"]),
    *(["os.system"], ["../../x"], ["Wav2Vec2ForCTC"], ["Wav2Vec2ForSequenceClassification"], ["x" * 10_000]),
)
LABELS: tuple[Any, ...] = (
    *([], ["a", "b", "c"], {}, {"0": "a"}, {"0": "a", "1": "b", "2": "c"}, {"0": "a", "1": "a", "2": "a"}),
    *({"a": 0, "b": 1, "c": 2}, {"0": None, "1": "b", "2": "c"}, {"-1": "a"}, {"0": "a", "5": "b"}, "abc", 3),
    *({"0": ["a"], "1": "b", "2": "c"}, {str(index): f"l{index}" for index in range(5_000)}),
)
WORDS: tuple[Any, ...] = ("", "gelu", "relu", "foo", 3, None, [], {}, "group", "layer", "batch", True, "../x")
TEXTS = (
    "",
    "{",
    "[]",
    "null",
    "3",
    '"a"',
    "{}",
    '{"model_type": "hubert"}',
    "\ufeff{}",
    "[" * 50_000,
    "\0" * 9,
)


def make(rng: random.Random, place: Path) -> Case:
    """Draw a folder: a good one, with one or two things changed."""
    folder = place / "model"
    family, head = rng.choice(KINDS), rng.choice(HEADS)
    if not hasattr(transformers, FAMILIES[family].stock("bare").__name__.removesuffix("Model") + head):
        head = "ForCTC"
    model = _tiny(family, head, rng.randrange(10**6))
    pruned = rng.random() < 0.25
    if pruned:
        graph = trace(model)
        save_pretrained(resize(model, graph, _keep(rng, graph)), folder)
    else:
        model.to(rng.choice((torch.float32, torch.float16, torch.bfloat16))).save_pretrained(folder)
    changes = [rng.choice(CHANGES) for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 2)))]
    if pruned and rng.random() < 0.6:
        changes.append(_our_fields)
    words = [change(rng, folder) for change in changes]
    options = rng.choice(({}, {}, {}, {"head": "drop"}, {"allow_pickle": True}))
    label = f"{'pruned ' * pruned}{family} {head}, {options}: {'; '.join(words) or 'as it is'}"
    return Case(label[:400], lambda: _act(folder, options, place))


def _tiny(family: str, head: str, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    stem = FAMILIES[family].stock("bare").__name__.removesuffix("Model")
    fields = copy.deepcopy(TINY) | ({"conv_pos_kernel_size": 3} if family.startswith("data2vec") else {})
    model: PreTrainedModel = getattr(transformers, stem + head)(
        getattr(transformers, f"{stem}Config")(**fields)
    )
    return model.eval()


def _keep(rng: random.Random, graph: Any) -> dict[str, list[int]]:
    names = [name for name, group in graph.groups.items() if group.kind in ("heads", "ffn", "conv")]
    return {name: [0, 1][: rng.randint(1, 2)] for name in rng.sample(names, 2)}


# -- what is changed


def _fields(folder: Path) -> Fields:
    found: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _set(folder: Path, changes: Fields) -> str:
    try:
        fields = _fields(folder)
    except (OSError, ValueError, RecursionError):
        return "config is broken already"
    (folder / "config.json").write_text(json.dumps(fields | changes), encoding="utf-8")
    return str({name: str(value)[:60] for name, value in changes.items()})


def _number(rng: random.Random, folder: Path) -> str:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    names += (
        "num_feat_extract_layers",
        "num_conv_pos_embeddings",
        "num_conv_pos_embedding_groups",
        "num_labels",
    )
    names += ("classifier_proj_size", "layerdrop", "hidden_dropout", "layer_norm_eps", "mask_time_prob")
    names += ("mask_time_length", "pad_token_id", "initializer_range", "final_dropout", "xvector_output_dim")
    return _set(folder, {rng.choice(names): rng.choice(NUMBERS)})


def _list(rng: random.Random, folder: Path) -> str:
    names = ("conv_dim", "conv_kernel", "conv_stride", "tdnn_dim", "tdnn_kernel", "tdnn_dilation")
    return _set(folder, {rng.choice(names): rng.choice(LISTS)})


def _architectures(rng: random.Random, folder: Path) -> str:
    return _set(folder, {"architectures": rng.choice(NAMES)})


def _labels(rng: random.Random, folder: Path) -> str:
    return _set(folder, {rng.choice(("id2label", "id2label", "label2id")): rng.choice(LABELS)})


def _word(rng: random.Random, folder: Path) -> str:
    names = (
        "hidden_act",
        "feat_extract_norm",
        "feat_extract_activation",
        "dtype",
        "torch_dtype",
        "model_type",
    )
    names += (
        "ctc_loss_reduction",
        "_name_or_path",
        "auto_map",
        "quantization_config",
        "transformers_version",
    )
    return _set(
        folder, {rng.choice(names): rng.choice((*WORDS, "float16", "bert", "hubert", "pruned_hubert"))}
    )


def _our_fields(rng: random.Random, folder: Path) -> str:
    layer: Any = rng.choice(
        (
            *(
                {},
                {"num_attention_heads": 1},
                {"intermediate_size": 3},
                {"removed": ["layer"]},
                {"heads": [0]},
            ),
            *({"num_attention_heads": 99}, {"intermediate_size": -1}, {"intermediate_size": 10**9}, [], None),
            *({"removed": "layer"}, {"removed": ["roof"]}, {"head_dim": "4"}, {"heads": [9]}, {"x": 1}),
        )
    )
    index = rng.choice(("0", "1", "2", "999", "-1", "x", "1.0", "00", ""))
    changes: Fields = {
        "pruned_layers": rng.choice(({index: layer}, {index: layer}, {index: layer}, [], None, "x", {})),
        "head_size": rng.choice(NUMBERS),
        "reused_maps": rng.choice((None, [], [1], [99], [0], "x", [True])),
        "residual_dims": rng.choice((None, [], [0], list(range(8)), [-1], [10**9], "x")),
        "prune_format_version": rng.choice((1, 2, 99, 0, "1", None, True)),
        "position_size": rng.choice((None, 8, 0, 10**9, "x")),
        "bare_projection": rng.choice((False, True, "x", None)),
    }
    name = rng.choice(list(changes))
    return _set(folder, {name: changes[name]})


def _text(rng: random.Random, folder: Path) -> str:
    text = rng.choice(TEXTS)
    (folder / "config.json").write_text(text, encoding="utf-8")
    return f"config.json is {text[:20]!r}"


def _gone(rng: random.Random, folder: Path) -> str:
    name = rng.choice(("config.json", "model.safetensors"))
    (folder / name).unlink(missing_ok=True)
    return f"no {name}"


def _a_field_gone(rng: random.Random, folder: Path) -> str:
    try:
        fields = _fields(folder)
    except (OSError, ValueError, RecursionError):
        return "config is broken already"
    name = rng.choice(sorted(fields) or ["nothing"])
    fields.pop(name, None)
    (folder / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    return f"no field {name}"


def _bytes(rng: random.Random, folder: Path) -> str:
    file = folder / rng.choice(("model.safetensors", "model.safetensors", "config.json"))
    if not file.is_file():
        return "gone already"
    data = bytearray(file.read_bytes() or b"x")
    how = rng.choice(("cut", "flip", "flip", "longer", "empty", "pointer"))
    if how == "flip":
        place = rng.randrange(min(len(data), 3_000))
        data[place] ^= 1 << rng.randrange(8)
    else:
        start = rng.randrange(len(data))
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
        data = {"cut": data[:start], "longer": data + b"more", "empty": bytearray(), "pointer": pointer}[how]  # type: ignore[assignment]
    file.write_bytes(data)
    return f"{file.name} {how}"


def _tensors(rng: random.Random, folder: Path) -> str:
    """Rename, drop, reshape, add or retype a tensor."""
    file = folder / "model.safetensors"
    try:
        tensors: Tensors = load_file(file)
    except Exception:
        return "weights are broken already"
    name = rng.choice(sorted(tensors))
    how = rng.choice(("drop", "rename", "reshape", "head", "retype", "wrapped", "int8", "own prefix", "half"))
    if how == "drop":
        del tensors[name]
    elif how == "rename":
        tensors[f"{name}_v2"] = tensors.pop(name)
    elif how == "reshape":
        shape = [*tensors[name].shape, 1] if rng.random() < 0.5 else [*tensors[name].shape[:-1], 3]
        tensors[name] = torch.zeros(shape)
    elif how == "head":
        tensors[rng.choice(("classifier.dense.weight", "head.weight", "lm_head.1.bias"))] = torch.ones(3, 4)
    elif how == "retype":
        tensors[name] = tensors[name].to(rng.choice((torch.float64, torch.float16, torch.bfloat16)))
    elif how == "int8":
        tensors[name] = torch.ones(tensors[name].shape, dtype=torch.int8)
    elif how == "half":
        tensors = {key: value.half() for key, value in tensors.items()}
    else:
        start = "module." if how == "wrapped" else "encoder_model."
        tensors = {start + key: value for key, value in tensors.items()}
    save_file(tensors, file, metadata={"format": "pt"})
    return f"{how} {name}"


def _index(rng: random.Random, folder: Path) -> str:
    """Put shards, or an index that is odd, in the place of the one file."""
    file = folder / "model.safetensors"
    try:
        tensors: Tensors = load_file(file)
    except Exception:
        return "weights are broken already"
    names, half = sorted(tensors), len(tensors) // 2
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    parts = dict(zip(files, (names[:half], names[half:]), strict=True))
    for shard, members in parts.items():
        save_file({name: tensors[name] for name in members}, folder / shard, metadata={"format": "pt"})
    where = {name: shard for shard, members in parts.items() for name in members}
    how = rng.choice(("right", "right", "gone", "outside", "no map", "a number", "both"))
    content: Any = {"metadata": {"total_size": 1}, "weight_map": where}
    if how == "outside":
        content["weight_map"][names[0]] = "../../etc/passwd"
    elif how == "a number":
        content["weight_map"][names[0]] = 3
    elif how == "no map":
        content = rng.choice(({}, [], None, {"weight_map": {}}, {"weight_map": "x"}))
    (folder / "model.safetensors.index.json").write_text(json.dumps(content), encoding="utf-8")
    if how == "gone":
        (folder / files[0]).unlink()
    if how != "both":
        file.unlink()
    return f"shards, {how}"


class _Mark:
    """Leaves a file behind where a pickle of it is opened without care."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def _pickle(rng: random.Random, folder: Path) -> str:
    """Weights as torch pickles them, or something else under that name."""
    file = folder / "model.safetensors"
    try:
        tensors: Any = load_file(file)
    except Exception:
        return "weights are broken already"
    how = rng.choice(("weights", "weights", "code", "a list", "nested", "no pickle"))
    content = {"a list": [1], "nested": {"state_dict": tensors}, "code": {"a": _Mark(folder / "ran")}}
    torch.save(content.get(how, tensors), folder / "pytorch_model.bin")
    if how == "no pickle":
        (folder / "pytorch_model.bin").write_bytes(b"GIF89a")
    if rng.random() < 0.8:
        file.unlink()
    return f"pytorch_model.bin, {how}"


def _more_files(rng: random.Random, folder: Path) -> str:
    """What lies around in folders."""
    name = rng.choice(
        ("adapter_config.json", "vocab.json", "tf_model.h5", "preprocessor_config.json", "x y ü.txt")
    )
    (folder / name).write_text(rng.choice(("{}", "x", "")), encoding="utf-8")
    if rng.random() < 0.3:
        (folder / "link.txt").symlink_to("/etc/hostname")
    if rng.random() < 0.3:
        (folder / "loop").symlink_to(folder, target_is_directory=True)
    if rng.random() < 0.3:
        shutil.copytree(folder, folder.parent / "copy", symlinks=True)
        shutil.move(str(folder.parent / "copy"), str(folder / "checkpoint-10"))
    return f"with {name}"


CHANGES: tuple[Change, ...] = (
    *(_number, _number, _list, _architectures, _architectures, _labels, _word, _text, _gone, _a_field_gone),
    *(_bytes, _bytes, _tensors, _tensors, _tensors, _index, _pickle, _more_files),
)


# -- what is checked


def _act(folder: Path, options: Any, place: Path) -> None:
    """Load the folder: what is taken has all stored weights, and computes the same when saved again."""
    try:
        model = load_model(folder, **options)
    finally:
        assert not (folder / "ran").exists(), "code ran from a pickle"
    stored, state = _stored(folder), {_spelled(name): value for name, value in model.state_dict().items()}
    prefix = f"{model.base_model_prefix}."
    named = {_spelled(name): value for name, value in stored.items()}
    with_prefix = any(name.startswith(prefix) for name in named)
    for name, value in named.items():
        inner = name.startswith(prefix) or not with_prefix
        own = next((n for n in (name, name.removeprefix(prefix), prefix + name) if n in state), None)
        if own is None:
            left = "masked_spec_embed" in name or name.split(".")[0] in PRE_TRAINING
            assert left or inner or options.get("head") == "drop", f"{name} was lost without a word"
        else:
            assert torch.equal(state[own], value.to(state[own].dtype)), f"{name} has other values"
    samples = torch.randn(1, 16_000)
    with torch.no_grad():
        before = model.eval()(samples)[0]
        again = load_pretrained(save_pretrained(model, place / "again"))(samples)[0]
    assert torch.equal(before.isnan(), again.isnan())
    assert torch.equal(before.nan_to_num(), again.nan_to_num()), "what was saved computes something else"


def _spelled(name: str) -> str:
    """A tensor's name with weight norm as of old, whichever way it is written."""
    name = name.replace("parametrizations.weight.original0", "weight_g")
    return name.replace("parametrizations.weight.original1", "weight_v")


def _stored(folder: Path) -> Tensors:
    single = folder / "model.safetensors"
    if single.is_file():
        return load_file(single)
    shards = sorted(folder.glob("model-*.safetensors"))
    if shards:
        return {name: value for shard in shards for name, value in load_file(shard).items()}
    found: Tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    return found
