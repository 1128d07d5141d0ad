"""Folders for speech runtimes: what sherpa-onnx and onnx-asr want beside a CTC graph."""

import copy
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from prune_ssl.errors import ExportError
from prune_ssl.tasks.ctc import has_ctc
from prune_ssl.writing import write_text

BLANK, SPACE = "<blk>", "\u2581"
NEVER = -1e4
"""Bias of a symbol that is never to be printed."""


def symbols_of(tokenizer: Any, model: PreTrainedModel) -> list[str]:
    """Return the symbol of every output of a CTC head, as both runtimes write them: V names.

    Outputs beyond the tokenizer's tokens get names of their own; they are never printed (`silenced`).
    """
    head: Any = model.get_submodule("lm_head")
    known = {index: token for token, index in tokenizer.get_vocab().items()}
    names = [known.get(index, f"<unused{index}>") for index in range(head.out_features)]
    delimiter = getattr(tokenizer, "word_delimiter_token", None)
    names = [SPACE if delimiter is not None and name == delimiter else name for name in names]
    names[tokenizer.pad_token_id] = BLANK
    return names


def silenced(model: PreTrainedModel, tokenizer: Any) -> PreTrainedModel:
    """Return a copy whose head never gives special tokens (but the blank), nor outputs without a token.

    Both runtimes print every symbol that they are given; transformers' tokenizers leave those out.
    """
    made: PreTrainedModel = copy.deepcopy(model)
    head: Any = made.get_submodule("lm_head")
    named = set(tokenizer.get_vocab().values())
    mute = set(range(head.out_features)) - named | set(tokenizer.all_special_ids)
    mute -= {tokenizer.pad_token_id, getattr(tokenizer, "word_delimiter_token_id", None)}
    if head.bias is None:
        head.bias = nn.Parameter(torch.zeros(head.out_features))
    with torch.no_grad():
        head.bias[sorted(mute)] = NEVER
    return made


def require_ctc(model: PreTrainedModel, extractor: Any, tokenizer: Any, name: str) -> None:
    """Refuse what a speech runtime cannot be right for.

    Raises:
        ExportError: no CTC head, no tokenizer, another rate, or audio that must not be normalised.
    """
    if not has_ctc(model):
        raise ExportError(f"{name}: {type(model).__name__} does not transcribe; wanted a ForCTC model.")
    if model.main_input_name != "input_values":
        raise ExportError(f"{name}: {type(model).__name__} takes features; the runtime gives it a waveform.")
    if tokenizer is None:
        raise ExportError(f"{name}: the model has no tokenizer (vocab.json); put its files into the folder.")
    if extractor is None or not extractor.do_normalize or extractor.sampling_rate != 16_000:
        found = "no feature extractor" if extractor is None else f"do_normalize={extractor.do_normalize}, "
        found += "" if extractor is None else f"sampling_rate={extractor.sampling_rate}"
        raise ExportError(
            f"{name} normalises audio of 16 kHz to mean 0 and variance 1 before the graph; this model was "
            f"trained otherwise ({found}), and would hear another loudness. Export to onnx instead."
        )


def write_sherpa(folder: Path, symbols: list[str]) -> None:
    """Write tokens.txt for `sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc`."""
    lines = [f"{symbol} {index}\n" for index, symbol in enumerate(symbols)]
    write_text(folder / "tokens.txt", "".join(lines))


def write_onnx_asr(folder: Path, symbols: list[str], said: Mapping[str, object]) -> None:
    """Write vocab.txt, config.json and the adapter that onnx-asr needs for graphs of waveforms."""
    lines = [f"{symbol} {index}\n" for index, symbol in enumerate(symbols)]
    write_text(folder / "vocab.txt", "".join(lines))
    config = {"model_type": "waveform-ctc", **said}
    write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")
    adapter = resources.files("prune_ssl") / "exporting" / "onnx_asr_adapter.py"
    write_text(folder / "waveform_ctc.py", adapter.read_text(encoding="utf-8"))
