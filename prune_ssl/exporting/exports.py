"""export(): a model becomes a folder for one runtime, kept only once it was found equal to PyTorch."""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoFeatureExtractor, PreTrainedModel

from prune_ssl.artifacts import prepare_folder
from prune_ssl.errors import ExportError
from prune_ssl.exporting.comparing import Difference, compare
from prune_ssl.exporting.conversion import OPSET, WRITERS
from prune_ssl.exporting.inputs import example
from prune_ssl.exporting.quantising import quantise_onnx
from prune_ssl.exporting.sessions import OPENERS
from prune_ssl.exporting.speech import require_ctc, silenced, symbols_of, write_onnx_asr, write_sherpa
from prune_ssl.exporting.targets import Target, target_named
from prune_ssl.models import family_of, load_model
from prune_ssl.tasks.tokenizers import load_tokenizer
from prune_ssl.tracing import trace
from prune_ssl.writing import new_folder, write_text

EXPORT_FILE = "export.json"
EXAMPLE_SECONDS = 2.0


@dataclass(frozen=True)
class Exported:
    """What `export` wrote."""

    target: str
    folder: Path
    file: Path
    """The file that the runtime opens."""
    size_bytes: int
    """Of that file, with a weights file beside it."""
    difference: Difference
    """From PyTorch, over three lengths and two batches."""
    notes: tuple[str, ...]
    """What a user of the file must know."""


@dataclass(frozen=True)
class _Beside:
    """What belongs to a model and is not in it."""

    extractor: Any
    tokenizer: Any


def export(
    model: nn.Module | str | Path,
    folder: str | Path,
    target: str = "onnx",
    *,
    processor: Any = None,
    overwrite: bool = False,
) -> Exported:
    """Write a dense or pruned model for a runtime, and compare it with PyTorch before it is kept.

    Batch and time are dynamic in every graph. A model that was made for an attention mask takes one. The
    frontend of others hears padding, so their graph takes clips of one length (or one at a time).

    Args:
        model: a model of transformers, dense or pruned, or the folder of one.
        folder: where to write: the graph, the processor's files, and export.json with all that a program
            needs to know.
        target: a key of `TARGETS`: onnx, onnx-int8, openvino, pt2, torchscript, sherpa-onnx, onnx-asr.
        processor: feature extractor or processor; None: that of the folder.
        overwrite: replace what is there.

    Raises:
        ExportError: an unknown target, a package that is not installed, a model that the runtime cannot be
            right for, or a graph that differs from PyTorch; nothing is kept then.
        ArtifactError: the folder exists.
    """
    chosen = target_named(target)
    path = prepare_folder(folder, overwrite)
    whole = load_model(str(model)) if isinstance(model, str | Path) else model
    beside = _beside(model, processor)
    if not isinstance(whole, PreTrainedModel):
        raise ExportError(
            f"{type(whole).__name__} is not a model of transformers, which the exporters take. Load the "
            "model through transformers, or call the runtime's own exporter."
        )
    ready = _prepared(whole)
    if chosen.name in ("sherpa-onnx", "onnx-asr"):
        require_ctc(ready, beside.extractor, beside.tokenizer, chosen.name)
        ready = silenced(ready, beside.tokenizer)
    with new_folder(path, replace=overwrite) as new:
        made = _write(ready, new, chosen, beside)
    return Exported(chosen.name, path, path / chosen.file, *made)


def _write(
    model: PreTrainedModel, folder: Path, target: Target, beside: _Beside
) -> tuple[int, Difference, tuple[str, ...]]:
    """Write graph and files, compare, and return size, difference and notes."""
    masked = target.takes_mask and _takes_mask(model, beside.extractor)
    said = _facts(model, masked, beside)
    graph, file = _graph_of(target), folder / target.file
    inputs = example(model, EXAMPLE_SECONDS, 2, masked)
    WRITERS[graph](model, inputs, file, {name: json.dumps(value) for name, value in said.items()})
    if target.name == "onnx-int8":
        quantise_onnx(file)
    shortest = said["shortest_samples"] / said["sampling_rate"]
    difference = compare(model, OPENERS[graph](file), masked, target.tolerance, target.name, shortest)
    for each in (beside.extractor, beside.tokenizer):
        if each is not None:
            each.save_pretrained(folder)
    if target.name == "sherpa-onnx":
        write_sherpa(folder, symbols_of(beside.tokenizer, model))
    if target.name == "onnx-asr":
        symbols = symbols_of(beside.tokenizer, model)
        write_onnx_asr(folder, symbols, {"samples_per_frame": said["samples_per_frame"]})
    size = sum(each.stat().st_size for each in folder.iterdir() if each.name.startswith(file.stem))
    notes = _notes(model, target, masked)
    content = {
        "target": target.name,
        "file": target.file,
        **said,
        "difference": asdict(difference),
        "size_bytes": size,
        "notes": list(notes),
    }
    write_text(folder / EXPORT_FILE, json.dumps(content, indent=1) + "\n")
    return size, difference, notes


def _graph_of(target: Target) -> str:
    return target.name if target.name in WRITERS else "onnx"


def _prepared(model: PreTrainedModel) -> PreTrainedModel:
    """Return a float32 copy on the CPU, in evaluation mode, that hands out nothing but its outputs."""
    family_of(model)
    made: PreTrainedModel = copy.deepcopy(model).float().cpu().eval()
    made.config.output_hidden_states = made.config.output_attentions = False
    return made


def _takes_mask(model: PreTrainedModel, extractor: Any) -> bool:
    """Whether the model was made for an attention mask: its feature extractor says so, else its frontend."""
    if extractor is not None:
        return bool(extractor.return_attention_mask)
    return getattr(model.config, "feat_extract_norm", "layer") == "layer"


def _facts(model: PreTrainedModel, masked: bool, beside: _Beside) -> dict[str, Any]:
    """Return what a program that runs the graph must know, as plain data."""
    graph = trace(model)
    ratio = int(getattr(model.config, "inputs_to_logits_ratio", 1))
    extractor = beside.extractor
    return {
        "model_class": type(model).__name__,
        "input": model.main_input_name,
        "takes_attention_mask": masked,
        "sampling_rate": 16_000 if extractor is None else int(extractor.sampling_rate),
        "do_normalize": None if extractor is None else bool(getattr(extractor, "do_normalize", False)),
        "shortest_samples": int(graph.receptive_field),
        "samples_per_frame": ratio,
        "labels": _labels(model),
        "opset": OPSET,
    }


def _labels(model: PreTrainedModel) -> list[str] | None:
    """Return the names of a classifier's outputs, None for other heads."""
    classifiers = ("ForSequenceClassification", "ForAudioClassification", "ForAudioFrameClassification")
    if not type(model).__name__.endswith(classifiers):
        return None
    names: Mapping[Any, str] = model.config.id2label or {}
    return [names[index] for index in sorted(names)]


def _notes(model: PreTrainedModel, target: Target, masked: bool) -> tuple[str, ...]:
    notes = []
    if not masked:
        notes.append("no attention mask: give clips one at a time, or batches of one length")
    elif getattr(model.config, "feat_extract_norm", "layer") == "group":
        notes.append("the frontend's group norm hears padding: batches of unlike lengths change outputs")
    if target.name == "openvino":
        notes.append(
            "OpenVINO computes in bfloat16 by itself where the processor has it; it was compared in float32 "
            "(INFERENCE_PRECISION_HINT=f32)"
        )
    if target.name == "onnx-int8":
        notes.append("integer weights move outputs by some percent: judge the metric before you ship it")
    if target.name == "pt2":
        notes.append("torch.export.load unpickles: open only files that you trust")
    return tuple(notes)


def _beside(model: Any, processor: Any) -> _Beside:
    """Find feature extractor and tokenizer: of the given processor, else in the model's folder."""
    if processor is not None:
        extractor = getattr(processor, "feature_extractor", processor)
        return _Beside(extractor, getattr(processor, "tokenizer", None))
    if not isinstance(model, str | Path):
        return _Beside(None, None)
    try:
        extractor = AutoFeatureExtractor.from_pretrained(str(model))
    except (OSError, ValueError):
        extractor = None
    has_tokenizer = not Path(model).is_dir() or (Path(model) / "tokenizer_config.json").is_file()
    return _Beside(extractor, load_tokenizer(str(model)) if has_tokenizer else None)
