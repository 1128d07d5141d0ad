"""Read a checkpoint of DPHuBERT or DiariZen, or the weights of a model of torchaudio or fairseq."""

import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, Wav2Vec2FeatureExtractor

from prune_ssl.errors import ArtifactError, ModelError
from prune_ssl.importing.bare import as_torchaudio, is_fairseq, is_torchaudio, settings_of
from prune_ssl.importing.settings import Settings
from prune_ssl.models import load_model
from prune_ssl.models.origin import forget_origin
from prune_ssl.writing import temporary_folder, write_text

FAMILIES = ("hubert", "wav2vec2", "wavlm")
SCALES = "feature_extractor.dummy_weight"
STAGE_BEFORE = re.compile(r"hard_concrete")
RENAMED = (
    (re.compile(r"^encoder\.feature_projection\."), "feature_projection."),
    (re.compile(r"^encoder\.transformer\."), "encoder."),
    (re.compile(r"(?<=pos_conv_embed\.conv\.)weight_g$"), "parametrizations.weight.original0"),
    (re.compile(r"(?<=pos_conv_embed\.conv\.)weight_v$"), "parametrizations.weight.original1"),
)
"""Patterns that turn the keys of these tools into the keys of a bare model of transformers."""

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Imported:
    """A model of another tool as a model of transformers."""

    model: PreTrainedModel
    """The model, in float32 and evaluation mode."""
    extractor: Wav2Vec2FeatureExtractor
    """Makes the model's input. It normalises the waveform if the other tool did."""
    notes: tuple[str, ...]
    """Facts on this checkpoint that a user should know."""


def import_checkpoint(file: str | Path, family: str | None = None, heads: int | None = None) -> Imported:
    """Return the model in a file of DPHuBERT, DiariZen, torchaudio or fairseq as a model of transformers.

    DPHuBERT (Peng et al., 2023) and DiariZen (Han et al., 2025) save `{"state_dict": ..., "config": ...}`. Of
    torchaudio's and fairseq's wav2vec 2.0, HuBERT and WavLM the weights are enough. Only tensors and plain
    values are read from the file. No code in it is run. See docs/importing.md.

    Args:
        file: The checkpoint, such as DPHuBERT-sp0.75.pth, or pytorch_model.bin of DiariZen's pruning; or the
            `state_dict` of a model of torchaudio, as torch or safetensors saves it.
        family: `hubert` or `wav2vec2`. Their graphs are equal, so the file does not tell which one it is.
            None: `hubert`. A WavLM is recognised without it.
        heads: The number of heads of a layer before it was pruned, for weights without settings. None: that
            of the published model of the same width.

    Raises:
        ArtifactError: the file cannot be read, or is not such a checkpoint.
    """
    path = Path(file)
    if family is not None and family not in FAMILIES:
        raise ArtifactError(f"family: found {family!r:.60}, wanted one of {', '.join(FAMILIES)}.")
    notes: list[str] = []
    state, settings = _contents(path, heads, notes)
    if family is not None and settings.is_wavlm != (family == "wavlm"):
        found = "has" if settings.is_wavlm else "does not have"
        raise ArtifactError(
            f"{path} is not a {family} model: it {found} WavLM's position bias. Leave family out."
        )
    kind = "wavlm" if settings.is_wavlm else family or "hubert"
    if kind == "hubert" and family is None:
        notes.append("read as a HuBERT; the file cannot tell it from a wav2vec 2.0 (see --family)")
    scales = _scales(path, state, settings)
    renamed = _renamed(state) | scales
    if scales:
        notes.append("the last convolution of its frontend scales its channels; the scales are kept")
    if settings.is_wavlm:
        notes += _complete_positions(renamed, settings)
    model = _load(path, settings, kind, bool(scales), renamed)
    extractor = Wav2Vec2FeatureExtractor(
        do_normalize=settings.normalize_waveform,
        return_attention_mask=settings.extractor_mode == "layer_norm",
    )
    return Imported(model, extractor, tuple(notes))


def _scales(path: Path, state: State, settings: Settings) -> State:
    """Take the scales of the frontend's channels out of the weights, and return them if any is not 1."""
    scales = state.pop(SCALES, None)
    if scales is None:
        return {}
    channels = settings.extractor_conv_layer_config[-1][0]
    if scales.shape != (channels,):
        raise ArtifactError(f"{path}: {SCALES} has shape {tuple(scales.shape)}, wanted ({channels},).")
    last = len(settings.extractor_conv_layer_config) - 1
    place = f"feature_extractor.conv_layers.{last}.activation.1.weight"
    return {place: scales.float().reshape(-1, 1, 1)} if bool((scales != 1).any()) else {}


def _contents(path: Path, heads: int | None, notes: list[str]) -> tuple[State, Settings]:
    """Return the weights and the settings of a checkpoint, and add notes on it.

    Raises:
        ArtifactError: the file does not hold a model that can be imported.
    """
    data = _read(path)
    for each in (data, data.get("model") if isinstance(data, Mapping) else None):
        if isinstance(each, Mapping) and (is_torchaudio(each) or is_fairseq(each)):
            return _bare(path, each, heads, notes)
    if heads is not None:
        raise ArtifactError(f"{path} is a checkpoint with settings, which say its heads. Leave heads out.")
    return _with_settings(path, data)


def _read(path: Path) -> object:
    """Return the tensors and plain values in a file.

    Raises:
        ArtifactError: the file cannot be read, or holds other things.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} is not a file. Give the checkpoint's file.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise ArtifactError(f"{path} cannot be read as safetensors: {str(error)[:200]}") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ArtifactError(
            f"{path} holds more than tensors and plain values, or is no checkpoint at all. Nothing of it was "
            "run or read. Give the checkpoint's own file; of fairseq's files give the weights alone, see "
            "docs/importing.md."
        ) from error
    except Exception as error:  # torch raises errors of every kind for a foreign file
        words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ArtifactError(
            f"{path} cannot be read as a checkpoint of torch ({words}). Give the checkpoint's own file."
        ) from error


def _bare(
    path: Path, weights: Mapping[str, object], heads: int | None, notes: list[str]
) -> tuple[State, Settings]:
    """Return weights without settings under torchaudio's names, and the settings that their shapes show."""
    tensors = {name: value for name, value in weights.items() if isinstance(value, torch.Tensor)}
    state, left_out = as_torchaudio(tensors)
    if left_out:
        notes.append(
            f"left out what only pretraining needs: {', '.join(left_out[:3])}" + "..." * (len(left_out) > 3)
        )
    notes.append("the strides of its convolutions are taken to be 5, then 2, as in all published models")
    try:
        return state, settings_of(state, heads)
    except KeyError as error:
        raise ArtifactError(
            f"{path} has no {error.args[0]}: the weights are not those of a whole model."
        ) from error
    except ValidationError as error:
        raise ArtifactError(f"{path}: {_first(error)}.") from error
    except ValueError as error:
        raise ArtifactError(f"{path}: {error}.") from error


def _first(error: ValidationError) -> str:
    """Return the place and the words of the first error."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or "config"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def _with_settings(path: Path, data: object) -> tuple[State, Settings]:
    """Return the weights and the settings of a checkpoint of DPHuBERT or DiariZen."""
    content: Mapping[str, object] = data if isinstance(data, Mapping) else {}
    state, settings = content.get("state_dict"), content.get("config")
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise ArtifactError(
            f"{path} is not a checkpoint of DPHuBERT or DiariZen: wanted 'state_dict' and 'config' in it, or "
            "the weights of a model of torchaudio or fairseq."
        )
    if any(STAGE_BEFORE.search(name) for name in state):
        raise ArtifactError(
            f"{path} was saved before its units were cut (it holds gates, hard_concrete). Run that "
            "tool's own pruning step first, and give the file that it writes."
        )
    if not isinstance(settings, Mapping):
        more = (
            " It looks like a training checkpoint." if any("student_model." in name for name in state) else ""
        )
        raise ArtifactError(f"{path} has no 'config', which holds the sizes of its layers.{more}")
    asked = sorted(str(name) for name, value in settings.items() if "_prune_" in str(name) and value is True)
    if asked:
        raise ArtifactError(
            f"{path} was saved before its units were cut ({', '.join(asked)}). Run that tool's own "
            "pruning step first, and give the file that it writes."
        )
    try:
        return dict(state), Settings.model_validate(dict(settings))
    except ValidationError as error:
        raise ArtifactError(f"{path}: config, {_first(error)}.") from error


def _renamed(state: Mapping[str, torch.Tensor]) -> State:
    """Return the weights under the names of a bare model of transformers. A CTC head keeps its names."""
    made = {}
    for name, value in state.items():
        new = name
        for pattern, text in RENAMED:
            new = pattern.sub(text, new)
        made[new] = value.detach().to(torch.float32).contiguous().clone()
    return made


def _complete_positions(state: State, settings: Settings) -> list[str]:
    """Cut WavLM's position constants to the kept heads, and replace a lost position table by zeros."""
    for layer in range(settings.encoder_num_layers):
        name = f"encoder.layers.{layer}.attention.gru_rel_pos_const"
        value = state.get(name)
        kept = list(settings.heads_of(layer))
        if value is not None and value.dim() == 4 and value.shape[1] == settings.all_heads:
            state[name] = value[:, kept].clone()
    table = "encoder.layers.0.attention.rel_attn_embed.weight"
    if table in state:
        return []
    state[table] = torch.zeros(settings.encoder_num_buckets, settings.all_heads)
    return ["its first layer lost the table of relative positions, so no layer has a position bias"]


def _load(path: Path, settings: Settings, family: str, scaled: bool, state: State) -> PreTrainedModel:
    """Build the model by its config, and load the weights strictly."""
    config = settings.config(family, scaled)
    if settings.aux_num_out is not None:
        head = {f"aux.{leaf}": f"lm_head.{leaf}" for leaf in ("weight", "bias")}
        state = {head.get(name, f"{family}.{name}"): value for name, value in state.items()}
    with temporary_folder() as place:
        write_text(place / "config.json", json.dumps(config))
        save_file(state, str(place / "model.safetensors"), metadata={"format": "pt"})
        try:
            model = load_model(place)
        except ModelError as error:
            raise ArtifactError(
                f"{path}: its weights do not fit its config: {str(error).replace(str(place), path.name)}"
            ) from error
    forget_origin(model)
    model.name_or_path = model.config.name_or_path = ""
    model.eval()
    return model
