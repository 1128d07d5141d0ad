"""CTC tasks: speech recognition (characters, WER) and phoneme recognition (PER).

Letters: B clips, T frames, V tokens. Graves et al., Connectionist Temporal Classification (ICML 2006).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from transformers import (
    AutoModelForCTC,
    EvalPrediction,
    PreTrainedModel,
    SequenceFeatureExtractor,
    Wav2Vec2Processor,
)
from typing_extensions import Self

from prune_ssl.data import Clip, SpeechFolder
from prune_ssl.errors import DataError, ModelError
from prune_ssl.tasks.beam import BeamDecoder
from prune_ssl.tasks.differences import ClipJudge
from prune_ssl.tasks.frames import frame_counts
from prune_ssl.tasks.heads import (
    Head,
    kept,
    new,
    replace_last_layer_,
    require_head,
    with_fresh_head,
    wrong_kind,
)
from prune_ssl.tasks.metrics import EditCounts, edit_counts
from prune_ssl.tasks.outcomes import Outcomes
from prune_ssl.tasks.task import Array, Judge, Processor, Task, TaskSettings, TaskSpec
from prune_ssl.tasks.tokenizers import (
    CASES,
    Tokenizer,
    character_tokenizer,
    fitting_case,
    load_tokenizer,
    phoneme_tokenizer,
    plain,
)


@dataclass(frozen=True)
class CtcHead(Head):
    """One linear layer on each frame, with an output for each token.

    Args:
        tokenizer: The tokenizer. Its padding token is the blank.
        of_model: Whether the model's head was trained with exactly this tokenizer.
    """

    tokenizer: Tokenizer
    of_model: bool = False

    @property
    def config(self) -> dict[str, object]:
        """Vocabulary size, special tokens, and a mean loss that ignores clips too short for their text."""
        return {
            "vocab_size": len(self.tokenizer),
            "pad_token_id": self.tokenizer.pad_token_id,
            "bos_token_id": self.tokenizer.bos_token_id,
            "eos_token_id": self.tokenizer.eos_token_id,
            "ctc_loss_reduction": "mean",
            "ctc_zero_infinity": True,
        }

    def fits(self, model: PreTrainedModel) -> bool:
        """Return whether `model` was trained with this tokenizer. Its head may have more outputs."""
        return has_ctc(model) and self.of_model and model.config.vocab_size >= self.needed

    @property
    def needed(self) -> int:
        """The number of outputs that a head must have. CTC emits no tokens for begin and end of text."""
        not_emitted = {self.tokenizer.bos_token, self.tokenizer.eos_token}
        return 1 + max(
            int(index) for token, index in self.tokenizer.get_vocab().items() if token not in not_emitted
        )

    def note(self, model: PreTrainedModel) -> str:
        """Return whether the head of `model` is kept or new, and why."""
        if not has_ctc(model):
            return new(wrong_kind(model, "a CTC head"))
        rows = f"{model.config.vocab_size} outputs, {len(self.tokenizer)} tokens"
        if self.fits(model):
            return kept(model, rows)
        return new(rows if self.of_model else "its tokenizer is another one" if model.name_or_path else rows)

    def put_on(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return a CTC model with this vocabulary. A head for this tokenizer is kept, any other is replaced.

        Raises:
            ModelError: the family has no CTC model.
        """
        if not has_ctc(model):
            return with_fresh_head(model, AutoModelForCTC, self.config, "CTC")
        if self.fits(model):
            model.config.update({**self.config, "vocab_size": model.config.vocab_size})
            return model
        return replace_last_layer_(model, "lm_head", len(self.tokenizer), self.config)


@dataclass(frozen=True)
class Recognition(Task):
    """A transcript per clip, judged by word and character error rate.

    The metrics are `wer` and `cer` of greedy CTC decoding. With a `beam` there are also `wer_lm` and `cer_lm`
    of beam search with a language model.

    Args:
        tokenizer: The tokenizer. Its padding token is the blank.
        case: The key of CASES that turns texts into the tokenizer's case.
        of_model: Whether the model's head was trained with exactly this tokenizer.
        beam: Decodes with a language model as well. None: greedy decoding only.

    >>> task = Recognition(character_tokenizer(["yes", "no"]))
    >>> task.encode("so"), task.decode(np.array(task.encode("so")))
    ([6, 5], 'so')
    """

    spec: ClassVar[TaskSpec] = TaskSpec(
        name="ctc",
        target="text",
        metric="wer",
        greater_is_better=False,
        auto_class=AutoModelForCTC,
        open_targets=True,
        whole_clips=True,
    )
    rates: ClassVar[dict[str, str]] = {"wer": "word", "cer": "character"}
    make_tokenizer: ClassVar[Callable[..., Tokenizer]] = staticmethod(character_tokenizer)

    tokenizer: Tokenizer
    case: str = "as it is"
    of_model: bool = False
    beam: BeamDecoder | None = None

    @classmethod
    def from_folder(
        cls, folder: SpeechFolder, model: PreTrainedModel | None = None, settings: TaskSettings | None = None
    ) -> Self:
        """Take the tokenizer of the settings, else the one of a CTC model, else make one from train's texts.

        Raises:
            ModelError: the named tokenizer cannot be used, or a CTC model has no tokenizer and none is named.
            DataError: train's texts contain `|`, the language model cannot be read, or it does not fit the
                tokenizer.
            PruneError: beam search is wanted, but the extra `lm` is not installed.
        """
        plain_task = cls._greedy(folder, model, settings or TaskSettings())
        decoding = None if settings is None else settings.decoding
        if decoding is None:
            return plain_task
        return replace(plain_task, beam=BeamDecoder.make(decoding, plain_task.tokenizer))

    @classmethod
    def _greedy(cls, folder: SpeechFolder, model: PreTrainedModel | None, settings: TaskSettings) -> Self:
        texts = folder.labels
        named = None if settings.tokenizer is None else load_tokenizer(settings.tokenizer)
        source = None if model is None or not has_ctc(model) else model.name_or_path
        own = load_tokenizer(source) if source and _has_tokenizer(source) else None
        if named is not None:  # if the model has no tokenizer, the user states that this one is the model's
            fits = bool(source) and (own is None or own.get_vocab() == named.get_vocab())
            return cls(named, fitting_case(texts, named), of_model=fits)
        if own is not None:
            return cls(own, fitting_case(texts, own), of_model=True)
        if source:
            raise ModelError(
                f"{source} is a CTC model without a tokenizer (vocab.json), so the letters of its outputs "
                "are not known. Put the tokenizer's files there, or give model.tokenizer=FOLDER; for a new "
                "head give model.head=drop."
            )
        return cls(cls.make_tokenizer(texts))

    @classmethod
    def from_model(
        cls, model: PreTrainedModel, folder: SpeechFolder, settings: TaskSettings | None = None
    ) -> Self:
        """Take the tokenizer of the settings, else the one of the model. The folder's texts choose the case.

        Raises:
            ModelError: the model has no CTC head or no tokenizer, or the tokenizer has more tokens than the
                head has outputs.
            DataError: as `from_folder`.
        """
        require_head(has_ctc(model), model, "a CTC head")
        made = cls.from_folder(folder, model, settings)
        if not made.head.fits(model):
            raise ModelError(
                f"{model.name_or_path or type(model).__name__}: the letters of its outputs are not known "
                f"({made.head.note(model)}): put its tokenizer's files into its folder."
            )
        return made

    @property
    def head(self) -> Head:
        """A CTC head with an output for each token."""
        return CtcHead(self.tokenizer, self.of_model)

    def written(self, text: str) -> str:
        """Return a text as it stands in the references: in the tokenizer's case, with single spaces."""
        return plain(CASES[self.case](text))

    def encode(self, target: str) -> list[int]:
        """Return the token indices of a transcript. Unknown characters become the unknown token."""
        indices: list[int] = self.tokenizer(self.written(target)).input_ids
        return indices

    def decode(self, indices: npt.NDArray[np.int64]) -> str:
        """Return the text of the best indices (T,): merge repeats and drop blanks (greedy CTC decoding).

        Indices of outputs without a token count as blanks.
        """
        known = np.where(indices < len(self.tokenizer), indices, self.tokenizer.pad_token_id)
        return plain(self.tokenizer.decode(known.tolist()))

    def processor(self, extractor: SequenceFeatureExtractor) -> Processor:
        """Return a processor of the feature extractor and the tokenizer."""
        return Wav2Vec2Processor(feature_extractor=extractor, tokenizer=self.tokenizer)

    def check(
        self, folder: SpeechFolder, model: PreTrainedModel, settings: TaskSettings | None = None
    ) -> Iterator[str]:
        """Yield the counts of clips that CTC cannot align, and of texts with unknown characters.

        Raises:
            DataError: every clip of train has too few frames for its text.
        """
        train = folder.splits["train"]
        encoded = {text: self.encode(text) for text in folder.labels}
        frames = frame_counts(train, model)
        too_short = sum(
            count < frames_needed(encoded[clip.target]) for clip, count in zip(train, frames, strict=True)
        )
        if too_short == len(train):
            raise DataError(
                f"{folder.path}: no clip of train has as many frames as its text has tokens: correct the "
                "transcripts, or take a model with a shorter stride"
            )
        if too_short:
            yield f"{too_short} of {len(train)} train clips have too few frames for their text: no loss there"
        unknown = sum(self.tokenizer.unk_token_id in indices for indices in encoded.values())
        if unknown:
            yield f"{unknown} of {len(encoded)} train texts hold characters that the tokenizer lacks"
        if self.case != "as it is":
            yield f"texts are converted to {self.case} case to fit the tokenizer"
        if self.beam is not None:
            yield from self._beam_notes(self.beam, folder)

    def _beam_notes(self, beam: BeamDecoder, folder: SpeechFolder) -> Iterator[str]:
        """Yield the counts of words that beam search cannot produce. The speech model cannot mend these."""
        if beam.left_out:
            yield f"{beam.left_out} words of the language model have no spelling in the tokenizer's letters"
        words = {word for text in folder.labels for word in self.written(text).split()}
        unknown = len(words - beam.words)
        if unknown:
            yield (
                f"{unknown} of {len(words)} words of train are not in the language model, so beam search "
                "never writes them"
            )

    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> Judge:
        """Return a function that gives the error rates, and the 95% bootstrap interval of the main one.

        The interval is over speakers if they are known.
        Only the frames of the clips themselves are decoded, not those of padding. The references are the
        clips' own texts, with characters that the tokenizer lacks. The rates of beam search end in `_lm`.
        """
        frames = frame_counts(clips, model)
        references = [self.written(clip.target) for clip in clips]

        def measured(prediction: EvalPrediction) -> tuple[dict[str, float], Outcomes]:
            found = np.asarray(self.slim(prediction.predictions, None))
            if len(found) != len(references):
                raise DataError(f"ctc: {len(found)} predictions for {len(references)} clips")
            # The frames after a clip's own are padding: of its batch, and of the Trainer between batches.
            rows = [row[:count] for row, count in zip(found, frames, strict=True)]
            likeliest = (row.argmax(-1) if row.ndim == 2 else row for row in rows)
            judged, outcomes = self.judge_texts(clips, [self.decode(row) for row in likeliest])
            if self.beam is not None:
                counts = self._counts([self.beam.decode(row) for row in rows], references)
                judged |= {f"{key}_lm": count.rate for key, count in counts.items()}
                judged |= self._outcomes(clips, counts).metrics("_lm")
            return judged | {"clips": float(len(references))}, outcomes

        return ClipJudge(measured)

    def judge_texts(self, clips: Sequence[Clip], texts: Sequence[str]) -> tuple[dict[str, float], Outcomes]:
        """Return the error rates of texts of these clips, in this order, and the outcomes of the main one.

        >>> from pathlib import Path
        >>> task = Recognition(character_tokenizer(["yes", "no"]))
        >>> task.judge_texts([Clip(Path("a.wav"), "no yes", 1.0)], ["no  no"])[0]["wer"]
        0.5
        """
        counts = self._counts([plain(text) for text in texts], [self.written(clip.target) for clip in clips])
        outcomes = self._outcomes(clips, counts)
        return {key: count.rate for key, count in counts.items()} | outcomes.metrics(), outcomes

    def _outcomes(self, clips: Sequence[Clip], counts: Mapping[str, EditCounts]) -> Outcomes:
        """Return the outcomes of the main rate."""
        main = counts[self.spec.metric]
        return Outcomes.on(clips, self.spec.metric, main.errors, main.lengths)

    def _counts(self, texts: Sequence[str], references: Sequence[str]) -> dict[str, EditCounts]:
        """Return the edits of each clip by the name of the rate."""
        return {key: edit_counts(texts, references, unit) for key, unit in self.rates.items()}

    def slim(self, outputs: Array | tuple[Array, ...] | list[Array], labels: object) -> Array:
        """Return the best token of each frame (B, T), from logits (B, T, V) or from such tokens.

        For beam search, return all logits. T x V numbers of each clip then stay in memory.
        """
        first = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
        return first.argmax(-1) if first.ndim == 3 and self.beam is None else first


@dataclass(frozen=True)
class Phonemes(Recognition):
    """A phoneme sequence per clip, judged by phoneme error rate. Targets have spaces between phonemes.

    >>> Phonemes(phoneme_tokenizer(["n ow", "y eh s"])).encode("n ow")
    [3, 4]
    """

    spec: ClassVar[TaskSpec] = replace(Recognition.spec, name="phonemes", target="phonemes", metric="per")
    rates: ClassVar[dict[str, str]] = {"per": "word"}
    make_tokenizer: ClassVar[Callable[..., Tokenizer]] = staticmethod(phoneme_tokenizer)


def has_ctc(model: PreTrainedModel) -> bool:
    """Return whether `model` has a CTC head."""
    return type(model).__name__.endswith("ForCTC")


def frames_needed(tokens: Sequence[int]) -> int:
    """Return the smallest number of frames in which CTC can emit these tokens.

    Equal neighbours need a blank between them.

    >>> frames_needed([1, 1, 2])
    4
    """
    return len(tokens) + sum(one == other for one, other in pairwise(tokens))


def _has_tokenizer(folder: str) -> bool:
    """Return whether a model's folder has a tokenizer. A hub repository is assumed to have one."""
    if Path(folder).is_dir():
        return (Path(folder) / "vocab.json").is_file()
    return True
