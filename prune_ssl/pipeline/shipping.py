"""Export a model, judge the file on a corpus in its runtime, and add the figures to the model's report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel, ProcessorMixin, SequenceFeatureExtractor

from prune_ssl.artifacts import prepare_folder
from prune_ssl.errors import DataError, ExportError
from prune_ssl.exporting import Exported, JudgedFile, write_export
from prune_ssl.exporting.judged import Made
from prune_ssl.exporting.targets import BEST, KINDS, target_named
from prune_ssl.exporting.transcribing import TRANSCRIBERS, require_runtime
from prune_ssl.fields_in_help import with_fields
from prune_ssl.models.arguments import as_model, check_types
from prune_ssl.pipeline.export_rows import record_export
from prune_ssl.pipeline.judging import Judging, JudgingConfig, prepare_judging, training_clips
from prune_ssl.pipeline.one_by_one import Run, Verdict, judge_outputs, judge_texts
from prune_ssl.profiling import Latency, Timing
from prune_ssl.profiling.timing import time_calls
from prune_ssl.reporting.formatting import metric_value, points
from prune_ssl.runtimes.inputs import Feeds, as_feeds, example
from prune_ssl.runtimes.preparing import prepared_copy
from prune_ssl.runtimes.sessions import OPENERS, Session
from prune_ssl.tasks import Joint, Verification, paired_difference

Item = TypeVar("Item")
TIMED = Timing(seconds=5.0, threads=1, min_iterations=20, min_seconds=0.0, max_seconds=20.0)
"""The timing of an export's row: at most 20 seconds for the file and PyTorch each."""

CALIBRATION_CLIPS = 64
"""The most training clips that calibrate static integers."""
CHOOSING_CLIPS = 300
"""The most validation clips on which static and dynamic integers are compared."""


@with_fields
@dataclass(frozen=True, kw_only=True)
class ExportData:
    """A corpus that judges an export before it is kept, and its conditions.

    Raises:
        ExportError: a value has a wrong type or is out of range.

    >>> ExportData(corpus="data/digits", max_drop=1.0).split
    'test'
    """

    corpus: str | Path
    """The folder of the corpus, in any layout that recipes read."""
    split: str = "test"
    """The split whose clips judge the file."""
    max_drop: float | None = None
    """The most points of the task's metric that the file may lose against PyTorch. None: it is only said."""
    int8: str = BEST
    """How onnx-int8 is made: dynamic (matrix products only), static (calibrated on training clips,
    convolutions too), or best (both, of which the better one by the metric is kept)."""
    judging: JudgingConfig | None = None
    """What does not follow from the model, as in `evaluate`. Batches always have one clip."""
    timing: Timing | None = None
    """The audio length, the thread count (one of each) and the number of calls of the row's latency. None:
    5 seconds of audio on one thread, 20 calls."""

    def __post_init__(self) -> None:
        check_types(self, ExportError)
        if self.max_drop is not None and self.max_drop < 0:
            raise ExportError(f"max_drop: found {self.max_drop:g}, wanted 0 or more points.")
        if self.int8 not in KINDS:
            raise ExportError(f"int8: found {self.int8!r:.40}, wanted one of {', '.join(KINDS)}.")
        timing = self.timing or TIMED
        if len(timing.lengths) != 1 or len(timing.thread_counts()) != 1:
            raise ExportError("timing: wanted one audio length and one thread count.")


class CorpusJudge:
    """Judges files of one model on a corpus, each beside PyTorch. PyTorch is judged only once.

    Args:
        model: The model, its folder or its hub name.
        data: The corpus and the conditions.
        say: Called with one line for each finding. None prints nothing.

    Raises:
        PruneError: the model or the corpus cannot be judged, as for `evaluate`.
    """

    def __init__(
        self, model: nn.Module | str | Path, data: ExportData, say: Callable[[str], None] | None = None
    ) -> None:
        self.data = data
        self.judging: Judging = prepare_judging(
            model, data.corpus, data.split, data.judging, say, verb="export"
        )

    @cached_property
    def pytorch(self) -> Verdict:
        """The verdict on the model in PyTorch: eager, float32, on the CPU, one clip at a time."""
        return judge_outputs(self.judging, in_pytorch(prepared_copy(self.judging.model)))

    @property
    def int8(self) -> str:
        """How onnx-int8 is made."""
        return self.data.int8

    def calibration(self, made: Made) -> Iterator[Feeds]:
        """Yield the graph's inputs for training clips, spread over the whole split.

        Raises:
            DataError: the corpus has no training split that can be used.
        """
        collate = self.judging.arguments()["data_collator"]
        for clip in spread(training_clips(self.judging), CALIBRATION_CLIPS):
            yield as_feeds(self._taken(collate([{"input_values": clip.waveform()}]), made))

    def better(self, made: Made, files: Mapping[str, Path]) -> tuple[str, str]:
        """Return the name of the file with the better metric on validation clips, and the figures.

        Of equal files the first one is taken. A corpus without a validation split is judged on the clips that
        judge the chosen file, and the figures say so.
        """
        chosen_on = self._choosing
        spec = chosen_on.task.spec
        found = {
            name: judge_outputs(chosen_on, self._in_runtime(replace(made, file=path))).metrics[spec.metric]
            for name, path in files.items()
        }
        best = (max if spec.greater_is_better else min)(found, key=lambda name: found[name])
        figures = ", ".join(
            f"{name} {spec.metric} {metric_value(spec.metric, value)}" for name, value in found.items()
        )
        return best, f"{figures} on {len(chosen_on.clips)} {chosen_on.split} clips"

    @cached_property
    def _choosing(self) -> Judging:
        """The clips on which one of several files is chosen: validation clips, if there are some."""
        judging = self.judging
        try:
            found = prepare_judging(
                judging.model, judging.corpus, "validation", self.data.judging, verb="export"
            )
        except DataError:
            found = judging
        whole = isinstance(found.task, Verification | Joint)  # their trials are between all clips
        return found if whole else replace(found, clips=tuple(spread(found.clips, CHOOSING_CLIPS)))

    def judge(self, made: Made) -> JudgedFile:
        """Return the verdict on a file.

        Raises:
            ExportError: the file loses more than `max_drop`, lacks an output that the metric needs, or fails.
        """
        metric, judging = self.judging.task.spec.metric, self.judging
        found, pytorch = self.verdict(made), self.pytorch
        paired = None
        if found.outcomes is not None and pytorch.outcomes is not None:
            paired = paired_difference(pytorch.outcomes, found.outcomes)
        latency, beside = self._latencies(made)
        judged = JudgedFile(
            corpus=Path(judging.corpus).name,
            split=judging.split,
            clips=len(judging.clips),
            metric=metric,
            results=found.metrics,
            pytorch=pytorch.metrics,
            paired=paired,
            latency=latency,
            pytorch_latency=beside,
        )
        self._check_drop(judged, made.target.name)
        return judged

    def verdict(self, made: Made) -> Verdict:
        """Return the metrics of a file in its own runtime: of its outputs, or of its texts."""
        name = made.target.name
        if name in TRANSCRIBERS:
            return judge_texts(self.judging, TRANSCRIBERS[name](made.folder))
        return judge_outputs(self.judging, self._in_runtime(made))

    def _in_runtime(self, made: Made) -> Run:
        """Return a file in its runtime as a function of tensors."""
        session = OPENERS[made.graph](made.file)

        def run(inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
            found = tuple(torch.from_numpy(each) for each in session(as_feeds(self._taken(inputs, made))))
            self._require_outputs(found, made)
            return found

        return run

    @staticmethod
    def _taken(inputs: dict[str, torch.Tensor], made: Made) -> dict[str, torch.Tensor]:
        """Return the inputs that the graph takes."""
        return inputs if made.masked else {made.model.main_input_name: inputs[made.model.main_input_name]}

    def _require_outputs(self, found: tuple[torch.Tensor, ...], made: Made) -> None:
        """Refuse a graph that lacks an output from which the metric is computed."""
        if isinstance(self.judging.task, Verification) and len(found) < 2:
            raise ExportError(
                f"{made.target.name}: the graph gives no embeddings, from which the trials are scored, so it "
                "cannot be judged. Export to onnx, openvino or pt2."
            )

    def _latencies(self, made: Made) -> tuple[Latency, Latency]:
        """Time the file and the model in PyTorch in turns."""
        timing = self.data.timing or TIMED
        (seconds,), (threads,) = timing.lengths, timing.thread_counts()
        inputs = example(made.model, seconds, 1, made.masked)
        feeds, run = as_feeds(inputs), in_pytorch(made.model)
        session = OPENERS[made.graph](made.file, threads)
        times = time_calls(
            {"file": _call(session, feeds), "pytorch": lambda: run(inputs)}, seconds, threads, timing
        )
        return times["file"], times["pytorch"]

    def _check_drop(self, judged: JudgedFile, target: str) -> None:
        """Refuse a file that loses more points than allowed."""
        most = inf if self.data.max_drop is None else self.data.max_drop
        better = self.judging.task.spec.greater_is_better
        lost = 100 * (-judged.difference if better else judged.difference)
        if lost <= most + 1e-9:
            return
        name = judged.metric
        found, pytorch = (metric_value(name, each[name]) for each in (judged.results, judged.pytorch))
        interval = ""
        if judged.paired is not None:
            low, high = (points(name, each) for each in (judged.paired.low, judged.paired.high))
            interval = f", 95% interval {low} to {high}"
        raise ExportError(
            f"{target}: {name} {found} on {judged.clips} {judged.split} clips of {judged.corpus}, PyTorch "
            f"{pytorch} ({points(name, judged.difference)}{interval}). The loss is more than {most:g} "
            "points, so nothing was kept. Take another target, such as onnx, or allow a larger loss "
            "(max_drop)."
        )


def spread(clips: Sequence[Item], most: int) -> list[Item]:
    """Return at most so many clips, evenly spaced in their order.

    >>> spread("abcdefgh", 4)
    ['a', 'c', 'e', 'g']
    """
    count = min(most, len(clips))
    return [clips[index * len(clips) // count] for index in range(count)]


def in_pytorch(model: PreTrainedModel) -> Run:
    """Return a model in evaluation mode as a function of its inputs."""

    def run(inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        with torch.inference_mode():
            found = model(**inputs, return_dict=False)
        return tuple(each for each in found if isinstance(each, torch.Tensor))

    return run


def _call(session: Session, feeds: Feeds) -> Callable[[], object]:
    return lambda: session(feeds)


def export(
    model: nn.Module | str | Path,
    folder: str | Path,
    target: str = "onnx",
    *,
    processor: SequenceFeatureExtractor | ProcessorMixin | None = None,
    overwrite: bool = False,
    data: ExportData | str | Path | None = None,
) -> Exported:
    """Write a dense or pruned model for a runtime, and compare the graph with PyTorch before it is kept.

    Batch and time are dynamic in every graph. The graph takes an attention mask if the model was made for
    one. Any other model would treat padding as audio, so its graph takes clips of equal length, or one at a
    time. With `data` the file is also judged by the metric of the model's task, in its own runtime, beside
    PyTorch on the same clips. The figures go into the model folder's report and card. See docs/exporting.md.

    Args:
        model: A model of transformers, dense or pruned, or its folder or hub name.
        folder: The folder to write. It gets the graph, the processor's files, and export.json with the facts
            that a program needs to run the graph.
        target: A key of `TARGETS`: onnx, onnx-int8, openvino, pt2, torchscript, sherpa-onnx, onnx-asr.
        processor: The feature extractor or processor. None: the one in the model's folder.
        overwrite: Whether to replace an existing folder.
        data: A corpus to judge the file on, or its folder. Its clips are read by the feature extractor in the
            model's folder.

    Raises:
        ExportError: the target is unknown, a package is not installed, the runtime cannot run this model
            correctly, the graph differs from PyTorch, or it loses more than `data.max_drop`. Nothing is kept
            then.
        ArtifactError: the folder exists.
        PruneError: the model cannot be judged on `data`, for the reasons of `evaluate`.
    """
    if data is None:
        return write_export(model, folder, target, processor=processor, overwrite=overwrite)
    target_named(target)
    require_runtime(target)
    prepare_folder(folder, overwrite)
    given = data if isinstance(data, ExportData) else ExportData(corpus=data)
    if given.int8 != BEST and target != "onnx-int8":
        raise ExportError(f"int8: found {given.int8!r} for {target}, which has no integers: take onnx-int8.")
    loaded = as_model(model, "export")
    judge = CorpusJudge(loaded, given)
    if processor is None:  # that of the model's folder or hub name
        processor = judge.judging.task.processor(judge.judging.extractor)
    made = write_export(loaded, folder, target, processor=processor, overwrite=overwrite, on_corpus=judge)
    record_export(Path(judge.judging.source), made)
    return made
