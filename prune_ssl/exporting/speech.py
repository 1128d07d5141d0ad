"""Folders for speech runtimes: the files that sherpa-onnx and onnx-asr need besides a CTC graph."""

import copy
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel, SequenceFeatureExtractor

from prune_ssl.errors import ExportError
from prune_ssl.exporting.comparing import NEVER
from prune_ssl.models import family_of
from prune_ssl.tasks.ctc import has_ctc
from prune_ssl.tasks.tokenizers import Tokenizer
from prune_ssl.writing import write_text

SHERPA, ONNX_ASR = "sherpa-onnx", "onnx-asr"
BLANK, SPACE = "<blk>", "\u2581"
EPSILON = 1e-7
"""The addition to the variance of a waveform, as in transformers' feature extractors."""


def symbols_of(tokenizer: Tokenizer, model: PreTrainedModel) -> list[str]:
    """Return the V symbols of a CTC head's outputs, as both runtimes write them.

    Outputs without a token get the name `<unusedN>`. They are never printed (see `silenced`).
    """
    known = {index: token for token, index in tokenizer.get_vocab().items()}
    names = [known.get(index, f"<unused{index}>") for index in range(_head_of(model).out_features)]
    delimiter = getattr(tokenizer, "word_delimiter_token", None)
    names = [SPACE if delimiter is not None and name == delimiter else name for name in names]
    names[tokenizer.pad_token_id] = BLANK
    return names


def _head_of(model: PreTrainedModel) -> nn.Linear:
    head = model.get_submodule("lm_head")
    if not isinstance(head, nn.Linear):
        raise ExportError(f"{type(model).__name__}.lm_head is a {type(head).__name__}, wanted a Linear.")
    return head


def silenced(model: PreTrainedModel, tokenizer: Tokenizer) -> PreTrainedModel:
    """Return a copy whose head never emits special tokens (except the blank) or outputs without a token.

    Both runtimes print every emitted symbol, while transformers' tokenizers leave these out.
    """
    made: PreTrainedModel = copy.deepcopy(model)
    head = _head_of(made)
    named = set(tokenizer.get_vocab().values())
    mute = set(range(head.out_features)) - named | set(tokenizer.all_special_ids)
    mute -= {tokenizer.pad_token_id, getattr(tokenizer, "word_delimiter_token_id", None)}
    if "bias" not in dict(head.named_parameters()):
        head.bias = nn.Parameter(torch.zeros(head.out_features))
    with torch.no_grad():
        head.bias[sorted(mute)] = NEVER
    return made


class Renormalised(nn.Module):
    """A frontend that brings each waveform to mean 0 and variance 1 before it hears it."""

    def __init__(self, frontend: nn.Module) -> None:
        super().__init__()
        self.frontend = frontend

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Return the frontend's features of waveforms, (B, N)."""
        centred = waveform - waveform.mean(-1, keepdim=True)
        found: torch.Tensor = self.frontend(
            centred / (centred.square().mean(-1, keepdim=True) + EPSILON).sqrt()
        )
        return found


def renormalise_(model: PreTrainedModel) -> None:
    """Let a CTC model normalise its waveforms itself, in place.

    sherpa-onnx adds 1e-5 to the variance, where transformers adds 1e-7. Quiet speech has a variance near
    1e-5, so its scale would be wrong by 30%. sherpa-onnx gives the graph one recording at a time, unpadded.
    """
    name = family_of(model).conv.partition(".")[0]
    backbone = model.base_model
    setattr(backbone, name, Renormalised(backbone.get_submodule(name)))


def spoken(model: PreTrainedModel, tokenizer: Tokenizer, target: str) -> PreTrainedModel:
    """Return a model as its graph for a target must be; a copy if the target is a speech runtime."""
    if target not in (SHERPA, ONNX_ASR):
        return model
    made = silenced(model, tokenizer)
    if target == SHERPA:
        renormalise_(made)
    return made


def require_ctc(
    model: PreTrainedModel,
    extractor: SequenceFeatureExtractor | None,
    tokenizer: Tokenizer | None,
    name: str,
) -> Tokenizer:
    """Refuse a model that a speech runtime cannot run correctly, else return its tokenizer.

    Raises:
        ExportError: the model has no CTC head or no tokenizer, takes another rate, or takes audio that is not
            normalised.
    """
    if not has_ctc(model):
        raise ExportError(f"{name}: {type(model).__name__} does not transcribe: give a ForCTC model.")
    if model.main_input_name != "input_values":
        raise ExportError(
            f"{name}: {type(model).__name__} takes features, but the runtime gives it a waveform: export to "
            "onnx instead."
        )
    if tokenizer is None:
        raise ExportError(f"{name}: the model has no tokenizer (vocab.json): put its files into the folder.")
    normalises = bool(getattr(extractor, "do_normalize", False))
    if extractor is None or not normalises or extractor.sampling_rate != 16_000:
        found = "no feature extractor" if extractor is None else f"do_normalize={normalises}, "
        found += "" if extractor is None else f"sampling_rate={extractor.sampling_rate}"
        raise ExportError(
            f"{name} normalises audio of 16 kHz to mean 0 and variance 1 before the graph. This model was "
            f"trained otherwise ({found}), so the audio would have a wrong scale. Export to onnx instead."
        )
    return tokenizer


def write_sherpa(folder: Path, symbols: list[str]) -> None:
    """Write tokens.txt for `sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc`."""
    lines = [f"{symbol} {index}\n" for index, symbol in enumerate(symbols)]
    write_text(folder / "tokens.txt", "".join(lines))


def write_onnx_asr(folder: Path, symbols: list[str], settings: Mapping[str, object]) -> None:
    """Write vocab.txt, config.json and the adapter that onnx-asr needs for graphs that take waveforms."""
    lines = [f"{symbol} {index}\n" for index, symbol in enumerate(symbols)]
    write_text(folder / "vocab.txt", "".join(lines))
    config = {"model_type": "waveform-ctc", **settings}
    write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")
    adapter = resources.files("prune_ssl") / "exporting" / "onnx_asr_adapter.py"
    write_text(folder / "waveform_ctc.py", adapter.read_text(encoding="utf-8"))
