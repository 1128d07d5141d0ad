"""Export a model to a folder for one runtime. The folder is kept only if the graph agrees with PyTorch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

from torch import nn
from transformers import (
    AutoFeatureExtractor,
    PreTrainedModel,
    ProcessorMixin,
    SequenceFeatureExtractor,
)

from prune_ssl.artifacts import prepare_folder
from prune_ssl.errors import ExportError
from prune_ssl.exporting.comparing import Difference, compare
from prune_ssl.exporting.integers import write_integers
from prune_ssl.exporting.judged import JudgedFile, Made, OnCorpus
from prune_ssl.exporting.speech import (
    ONNX_ASR,
    SHERPA,
    require_ctc,
    spoken,
    symbols_of,
    write_onnx_asr,
    write_sherpa,
)
from prune_ssl.exporting.targets import Target, target_named
from prune_ssl.models import load_model
from prune_ssl.models.finite import NOT_FINITE, require_finite
from prune_ssl.optimising import fold_
from prune_ssl.runtimes.conversion import OPSET, WRITERS
from prune_ssl.runtimes.inputs import example
from prune_ssl.runtimes.preparing import can_take_mask, made_for_mask, prepared_copy
from prune_ssl.runtimes.sessions import OPENERS
from prune_ssl.tasks.heads import labels_of
from prune_ssl.tasks.tokenizers import Tokenizer, load_tokenizer
from prune_ssl.tracing import trace
from prune_ssl.writing import new_folder, temporary_folder, write_text

EXPORT_FILE = "export.json"
EXAMPLE_SECONDS = 2.0


@dataclass(frozen=True)
class Exported:
    """The files that `export` wrote, and how well they agree with PyTorch."""

    target: str
    """The name of the target."""
    folder: Path
    """The folder of all files."""
    file: Path
    """The file that the runtime opens."""
    size_bytes: int
    """The size of that file, including a second file of weights if there is one."""
    difference: Difference
    """The difference from PyTorch, over three lengths and two batch sizes."""
    notes: tuple[str, ...]
    """Facts that a user of the file must know."""
    judged: JudgedFile | None = None
    """The verdict of a corpus, if one was given."""
    kind: str = ""
    """The kind of integers of onnx-int8: dynamic or static. Empty for other targets."""


@dataclass(frozen=True)
class _Companions:
    """The feature extractor and the tokenizer of a model, if it has them."""

    extractor: SequenceFeatureExtractor | None
    tokenizer: Tokenizer | None


class Facts(TypedDict):
    """The facts that a program needs to run a graph."""

    model_class: str
    input: str
    takes_attention_mask: bool
    sampling_rate: int
    do_normalize: bool | None
    shortest_samples: int
    samples_per_frame: int
    labels: list[str] | None
    opset: int


def write_export(
    model: nn.Module | str | Path,
    folder: str | Path,
    target: str = "onnx",
    *,
    processor: SequenceFeatureExtractor | ProcessorMixin | None = None,
    overwrite: bool = False,
    on_corpus: OnCorpus | None = None,
) -> Exported:
    """Write a dense or pruned model for a runtime, and compare the graph with PyTorch before it is kept.

    Args:
        model: A model of transformers, dense or pruned, or its folder or hub name.
        folder: The folder to write.
        target: A key of `TARGETS`.
        processor: The feature extractor or processor. None: the one in the model's folder.
        overwrite: Whether to replace an existing folder.
        on_corpus: Judges the file before it is kept. None: it is only compared with PyTorch on noise.

    Raises:
        ExportError: the target is unknown, a package is not installed, the runtime cannot run this model
            correctly, the graph differs from PyTorch, or the corpus refuses it. Nothing is kept then.
        ArtifactError: the folder exists.
    """
    chosen = target_named(target)
    path = prepare_folder(folder, overwrite)
    _require_apart(path, _source_of(model))
    whole = load_model(str(model)) if isinstance(model, str | Path) else model
    if not isinstance(whole, PreTrainedModel):
        raise ExportError(
            f"{type(whole).__name__} is not a model of transformers, and the exporters take no other. Load "
            "the model through transformers, or call the runtime's own exporter."
        )
    require_finite(whole, "export", NOT_FINITE)
    companions = _companions(model, processor)
    ready = prepared_copy(whole)
    if chosen.name in (SHERPA, ONNX_ASR):
        require_ctc(ready, companions.extractor, companions.tokenizer, chosen.name)
    masked = chosen.takes_mask and _takes_mask(ready, companions.extractor)
    facts = _facts(ready, masked, companions.extractor)
    fold_(ready)  # after the tracing, since a folded model is no longer the one that its config describes
    with new_folder(path, replace=overwrite) as new:
        made = Made(chosen, new, new / chosen.file, ready, masked)
        written = ready if companions.tokenizer is None else spoken(ready, companions.tokenizer, chosen.name)
        kind, why = _write_graph(written, made, facts, on_corpus)
        size, difference = _check_and_complete(written, made, companions, facts)
        notes = (*([why] if why else []), *_notes(ready, chosen, masked))
        judged = None if on_corpus is None else on_corpus.judge(made)
        found = Exported(chosen.name, path, path / chosen.file, size, difference, notes, judged, kind)
        _write_facts(new, found, facts)
    return found


def _write_facts(folder: Path, made: Exported, facts: Facts) -> None:
    """Write export.json: the facts that a program needs, and those about the file."""
    content = {
        "target": made.target,
        "file": made.file.name,
        **({"integers": made.kind} if made.kind else {}),
        **facts,
        "difference": asdict(made.difference),
        "size_bytes": made.size_bytes,
        "notes": list(made.notes),
        **({} if made.judged is None else {"judged": made.judged.as_data()}),
    }
    write_text(folder / EXPORT_FILE, json.dumps(content, indent=1) + "\n")


def _write_graph(
    model: PreTrainedModel, made: Made, facts: Facts, on_corpus: OnCorpus | None
) -> tuple[str, str]:
    """Write the graph, and return the kind of its integers and why they were chosen. Empty: it has none."""
    inputs = example(model, EXAMPLE_SECONDS, 2, made.masked)
    metadata = {name: json.dumps(value) for name, value in facts.items()}
    if made.target.name != "onnx-int8":
        WRITERS[made.graph](model, inputs, made.file, metadata)
        return "", ""
    with temporary_folder() as place:
        WRITERS[made.graph](model, inputs, place / "float32.onnx", metadata)
        return write_integers(place / "float32.onnx", made, on_corpus)


def _check_and_complete(
    model: PreTrainedModel, made: Made, companions: _Companions, facts: Facts
) -> tuple[int, Difference]:
    """Compare the graph with PyTorch, add its runtime's files, and return size and difference."""
    target, folder, file, masked = made.target, made.folder, made.file, made.masked
    shortest = facts["shortest_samples"] / facts["sampling_rate"]
    difference = compare(model, OPENERS[target.graph](file), masked, target.tolerance, target.name, shortest)
    for each in (companions.extractor, companions.tokenizer):
        if each is not None:
            each.save_pretrained(folder)
    if companions.tokenizer is not None and target.name == SHERPA:
        write_sherpa(folder, symbols_of(companions.tokenizer, model))
    if companions.tokenizer is not None and target.name == ONNX_ASR:
        symbols = symbols_of(companions.tokenizer, model)
        write_onnx_asr(folder, symbols, {"samples_per_frame": facts["samples_per_frame"]})
    size = sum(each.stat().st_size for each in folder.iterdir() if each.name.startswith(file.stem))
    return size, difference


def _takes_mask(model: PreTrainedModel, extractor: SequenceFeatureExtractor | None) -> bool:
    """Return whether the graph takes an attention mask, by the model's head, its extractor or frontend."""
    if extractor is None or not can_take_mask(model):
        return made_for_mask(model)
    return bool(extractor.return_attention_mask)


def _facts(model: PreTrainedModel, masked: bool, extractor: SequenceFeatureExtractor | None) -> Facts:
    """Return the facts that a program needs to run the graph."""
    graph = trace(model)
    ratio = int(getattr(model.config, "inputs_to_logits_ratio", 1))
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
    """Return the names of a classifier's outputs, or None for other heads."""
    classifiers = ("ForSequenceClassification", "ForAudioClassification", "ForAudioFrameClassification")
    if not type(model).__name__.endswith(classifiers):
        return None
    return list(labels_of(model))


def _notes(model: PreTrainedModel, target: Target, masked: bool) -> tuple[str, ...]:
    notes = []
    if not masked:
        notes.append("the graph takes no attention mask: give clips one at a time, or clips of equal length")
    elif getattr(model.config, "feat_extract_norm", "layer") == "group":
        notes.append("the frontend's group norm includes padding: clips of unequal length change the outputs")
    if getattr(model.config, "position_embeddings_type", None) == "relative":
        frames = model.config.max_source_positions
        notes.append(
            f"the graph holds relative positions for {frames:,} frames of the encoder "
            "(config: max_source_positions), so it does not run on longer clips"
        )
    if target.name == "openvino":
        notes.append(
            "OpenVINO computes in bfloat16 by default if the processor supports it; the comparison was made "
            "in float32 (INFERENCE_PRECISION_HINT=f32)"
        )
    if target.name == "onnx-int8":
        notes.append("integer weights change outputs by some percent: check the metric before you ship it")
    if target.name == "pt2":
        notes.append("torch.export.load unpickles: open only files that you trust")
    return tuple(notes)


def _source_of(model: nn.Module | str | Path) -> str:
    """Return the folder or hub name of a model, or "" if it was made in this process."""
    return str(getattr(model, "name_or_path", "") if isinstance(model, nn.Module) else model)


def _require_apart(folder: Path, source: str) -> None:
    """Refuse to replace a folder in which the model itself lies.

    Raises:
        ExportError: the model's folder is the folder to write, or lies in it.
    """
    if source and Path(source).is_dir() and Path(source).resolve().is_relative_to(folder.resolve()):
        raise ExportError(
            f"{folder} holds the model {source}, which an export in its place would delete. Give another "
            "folder."
        )


def _companions(
    model: nn.Module | str | Path, processor: SequenceFeatureExtractor | ProcessorMixin | None
) -> _Companions:
    """Return the feature extractor and the tokenizer of the processor, else those in the model's folder."""
    if isinstance(processor, ProcessorMixin):
        return _Companions(
            getattr(processor, "feature_extractor", None), getattr(processor, "tokenizer", None)
        )
    if processor is not None:
        return _Companions(processor, None)
    source = _source_of(model)
    if not source or (isinstance(model, nn.Module) and not Path(source).is_dir()):
        return _Companions(None, None)
    try:
        extractor = AutoFeatureExtractor.from_pretrained(source)
    except (OSError, ValueError):
        extractor = None
    has_tokenizer = not Path(source).is_dir() or (Path(source) / "tokenizer_config.json").is_file()
    return _Companions(extractor, load_tokenizer(source) if has_tokenizer else None)
