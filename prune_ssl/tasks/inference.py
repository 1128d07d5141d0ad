"""Run a saved model on audio files: transcripts, labels, or speaker scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoFeatureExtractor, PreTrainedModel, SequenceFeatureExtractor, pipeline

from prune_ssl.data import SpeechCollator, Waveform, read_waveform, waveform_problem
from prune_ssl.errors import DataError, ModelError
from prune_ssl.models import load_model
from prune_ssl.models.places import locate
from prune_ssl.tasks.beam import BeamDecoder, BeamSettings
from prune_ssl.tasks.classification import has_classifier
from prune_ssl.tasks.ctc import has_ctc
from prune_ssl.tasks.frames import frame_count
from prune_ssl.tasks.joint import centred, speaker_part
from prune_ssl.tasks.slots import Slots, slots_of
from prune_ssl.tasks.tokenizers import load_tokenizer
from prune_ssl.tasks.verification import cosines, has_xvector, tdnn_frames

CHUNK_SECONDS = 20.0
"""Longer recordings are transcribed in overlapping pieces, as memory grows with the square of the length."""


def transcribe(
    source: str,
    files: Sequence[Path],
    decoding: BeamSettings | None = None,
    allow_pickle: bool = False,
) -> Iterator[tuple[Path, str]]:
    """Transcribe files with a CTC model, one after another.

    Args:
        source: Model folder or hub name.
        files: Audio files that libsndfile reads, at any rate.
        decoding: Beam search with a language model. None: greedy decoding.
        allow_pickle: As in `load_model`.

    Raises:
        ModelError: `source` has no CTC model, no tokenizer or no feature extractor.
        DataError: a file or the language model cannot be read, or the latter does not fit the tokenizer.
        PruneError: beam search is wanted, but the extra `lm` is not installed.
    """
    model, extractor = _load(source, has_ctc, "transcribes (ForCTC)", allow_pickle)
    if decoding is not None:
        beam = BeamDecoder.make(decoding, load_tokenizer(source))
        for path, samples in _read(files, extractor):
            yield path, beam.decode(_logits(model, extractor, samples))
        return
    recognise = pipeline(
        "automatic-speech-recognition",
        model=model,
        tokenizer=load_tokenizer(source),
        feature_extractor=extractor,
    )
    for path, samples in _read(files, extractor):
        long = len(samples) > CHUNK_SECONDS * extractor.sampling_rate
        found: Any = recognise(samples, **({"chunk_length_s": CHUNK_SECONDS} if long else {}))
        yield path, found["text"]


def classify(
    source: str, files: Sequence[Path], best: int = 1, allow_pickle: bool = False
) -> Iterator[tuple[Path, dict[str, float]]]:
    """Classify files, one after another.

    A model for slot filling gives the best values of each slot. A joint model gives those of all its columns
    except the speaker.

    Args:
        source: Model folder or hub name.
        files: Audio files that libsndfile reads, at any rate.
        best: The number of labels per file (or per slot).
        allow_pickle: As in `load_model`.

    Yields:
        Each file with its best labels and their probabilities, the highest first.

    Raises:
        ModelError: `source` has no classification model or no feature extractor.
        DataError: a file cannot be read, or is too short for a joint model.
    """
    wanted = "classifies (ForSequenceClassification, or a joint one)"
    model, extractor = _load(source, _labels_clips, wanted, allow_pickle)
    slots = slots_of(model)
    if slots is not None:
        yield from _slot_values(model, extractor, slots, files, best)
        return
    classifier = pipeline("audio-classification", model=model, feature_extractor=extractor)
    for path, samples in _read(files, extractor):
        found = classifier(samples, top_k=best)
        yield path, {entry["label"]: float(entry["score"]) for entry in found}


def _labels_clips(model: PreTrainedModel) -> bool:
    return has_classifier(model) or speaker_part(model) is not None


def _slot_values(
    model: PreTrainedModel,
    extractor: SequenceFeatureExtractor,
    slots: Slots,
    files: Sequence[Path],
    best: int,
) -> Iterator[tuple[Path, dict[str, float]]]:
    """Yield the most probable values of each slot. Each slot has its own softmax."""
    collate = SpeechCollator(extractor, sample_rate_hz=extractor.sampling_rate)
    speaker = speaker_part(model)
    for path, samples in _read(files, extractor):
        _require_embedding(path, samples, model)
        with torch.inference_mode():
            logits = model(**collate([{"input_values": samples}])).logits[0]
        found: dict[str, float] = {}
        for part in slots.segments.values():
            if part == speaker:
                continue
            shares = logits[part].softmax(-1).topk(min(best, part.stop - part.start))
            for index, share in zip(shares.indices.tolist(), shares.values.tolist(), strict=True):
                found[slots.labels[part.start + index]] = share
        yield path, found


def verify(
    source: str, reference: Path, files: Sequence[Path], allow_pickle: bool = False
) -> Iterator[tuple[Path, float]]:
    """Score files against a reference recording by the cosine of their speaker embeddings, -1 to 1.

    The embedding of a joint model is the part of its outputs that its training judged (see `joint`).

    Args:
        source: Model folder or hub name.
        reference: A recording of the speaker.
        files: The recordings to score.
        allow_pickle: As in `load_model`.

    Raises:
        ModelError: `source` has no speaker model or no feature extractor.
        DataError: a file cannot be read, or is too short for the head.
    """
    model, extractor = _load(source, has_xvector, "makes speaker embeddings (ForXVector)", allow_pickle)
    collate = SpeechCollator(extractor, sample_rate_hz=extractor.sampling_rate)

    part = speaker_part(model)

    def embedding(path: Path, samples: Waveform) -> Waveform:
        _require_embedding(path, samples, model)
        with torch.inference_mode():
            outputs = model(**collate([{"input_values": samples}]))
        if part is not None:
            return np.asarray(centred(outputs.logits[:, part].numpy())[0])
        return np.asarray(outputs.embeddings[0].numpy())

    ((_, given),) = _read([reference], extractor)
    wanted = embedding(reference, given)
    for path, samples in _read(files, extractor):
        pair = np.stack([wanted, embedding(path, samples)])
        yield path, float(cosines(pair, np.array([[0, 1]]))[0])


def load_extractor(source: str) -> SequenceFeatureExtractor:
    """Load a model's feature extractor.

    Raises:
        ModelError: `source` has no feature extractor that can be read.
    """
    try:
        found: SequenceFeatureExtractor = AutoFeatureExtractor.from_pretrained(
            str(locate(source).folder), trust_remote_code=False
        )
    except ModelError:
        raise
    except Exception as error:  # transformers raises errors of every kind for a damaged file
        raise ModelError(
            f"{source} has no preprocessor_config.json, so it is not known whether its audio is normalised "
            "(a wrong guess would silently ruin the results). Put the feature extractor's file there."
        ) from error
    return found


@torch.inference_mode()
def _logits(
    model: PreTrainedModel, extractor: SequenceFeatureExtractor, samples: Waveform
) -> npt.NDArray[np.float32]:
    """Return the logits (T, V) of a recording (N,). A long one is cut into pieces with margins of a sixth.

    The pipeline of transformers cuts in the same way, but does not return logits.
    """
    stride = int(model.config.inputs_to_logits_ratio)
    if getattr(model.config, "add_adapter", False):
        stride *= model.config.adapter_stride**model.config.num_adapter_layers
    collate = SpeechCollator(extractor, sample_rate_hz=extractor.sampling_rate)
    margin = round(CHUNK_SECONDS / 6 * extractor.sampling_rate) // stride
    whole = round(CHUNK_SECONDS * extractor.sampling_rate) // stride
    step, parts = whole - 2 * margin, []
    for start in count(0, step):
        last = start + whole >= len(samples) // stride
        piece = samples[start * stride : None if last else (start + whole) * stride]
        found = model(**collate([{"input_values": piece}])).logits[0].numpy()
        parts.append(found[margin if start else 0 : None if last else margin + step])
        if last:
            break
    return np.concatenate(parts)


def _load(
    source: str, fits: Callable[[PreTrainedModel], bool], wanted: str, allow_pickle: bool
) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    model = load_model(source, allow_pickle=allow_pickle)
    if not fits(model):
        raise ModelError(f"{source} is a {type(model).__name__}: wanted a model that {wanted}")
    return model.eval(), load_extractor(source)


def _require_embedding(path: Path, samples: Waveform, model: PreTrainedModel) -> None:
    """Refuse a file that is too short for an x-vector head. Other heads take all that the frontend takes."""
    if has_xvector(model) and frame_count(len(samples), model) < tdnn_frames(model):
        raise DataError(
            f"{path}: too short ({frame_count(len(samples), model)} frames, the x-vector head needs "
            f"{tdnn_frames(model)}): give a longer recording"
        )


def _read(files: Sequence[Path], extractor: SequenceFeatureExtractor) -> Iterator[tuple[Path, Waveform]]:
    for path in files:
        samples = read_waveform(path, extractor.sampling_rate)
        problem = waveform_problem(samples)
        if problem is not None:
            raise DataError(f"{path}: {problem}")
        yield path, samples
