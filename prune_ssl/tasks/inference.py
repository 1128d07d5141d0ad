"""Owns first tries of a saved model on audio files: transcripts, labels, speaker scores."""

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
"""Longer recordings are transcribed in overlapping pieces: memory grows with the square of the length."""


def transcribe(
    source: str,
    files: Sequence[Path],
    decoding: BeamSettings | None = None,
    allow_pickle: bool = False,
) -> Iterator[tuple[Path, str]]:
    """Transcribe files with a CTC model, one after another.

    Args:
        source: Model folder or hub name.
        files: Audio that libsndfile reads, at any rate.
        decoding: Beam search with a language model; None: greedy.
        allow_pickle: See `load_model`; so in the functions below.

    Raises:
        ModelError: no CTC model, tokenizer or feature extractor is there.
        DataError: a file cannot be read, or a language model, or not with this tokenizer.
        PruneError: the extra `lm` is not installed.
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
    """Label files with a classification model; the `best` labels with their probabilities, highest first.

    Of a model that fills slots, the `best` values of each slot; of a joint model, those of all columns but
    the speaker.

    Raises:
        ModelError: no classification model or feature extractor is there.
        DataError: a file cannot be read, or is too short for a joint model.
    """
    wanted = "classifies (ForSequenceClassification, or a joint one)"
    model, extractor = _load(source, _labels_clips, wanted, allow_pickle)
    slots = slots_of(model)
    if slots is not None:
        yield from _fill(model, extractor, slots, files, best)
        return
    classifier = pipeline("audio-classification", model=model, feature_extractor=extractor)
    for path, samples in _read(files, extractor):
        found: Any = classifier(samples, top_k=best)
        yield path, {entry["label"]: float(entry["score"]) for entry in found}


def _labels_clips(model: PreTrainedModel) -> bool:
    return has_classifier(model) or speaker_part(model) is not None


def _fill(
    model: PreTrainedModel,
    extractor: SequenceFeatureExtractor,
    slots: Slots,
    files: Sequence[Path],
    best: int,
) -> Iterator[tuple[Path, dict[str, float]]]:
    """Give the likeliest values of each slot: it has a softmax of its own."""
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
    """Score files against a reference recording: cosine of the speaker embeddings, -1 to 1.

    A joint model's embedding is what its training judged: see `joint`.

    Raises:
        ModelError: no speaker model or feature extractor is there.
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
        ModelError: there is none.
    """
    try:
        found: SequenceFeatureExtractor = AutoFeatureExtractor.from_pretrained(
            str(locate(source).folder), trust_remote_code=False
        )
    except ModelError:
        raise
    except Exception as error:  # transformers raises of every kind for a damaged file
        raise ModelError(
            f"{source} has no preprocessor_config.json, so whether its audio is normalised is not known "
            f"(a wrong guess ruins it silently). Put the feature extractor's file there."
        ) from error
    return found


@torch.inference_mode()
def _logits(
    model: PreTrainedModel, extractor: SequenceFeatureExtractor, samples: Waveform
) -> npt.NDArray[np.float32]:
    """Logits (T, V) of a recording (N,); of a long one, of pieces that overlap by a sixth at either end.

    Transformers' pipeline cuts in the same way, but hands out no logits.
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
    """Refuse a file that is too short for an x-vector head; others take what the frontend takes."""
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
