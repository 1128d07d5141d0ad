"""The verdict of a corpus on an exported file: its metric beside PyTorch's, and its latency."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from transformers import PreTrainedModel

from prune_ssl.exporting.targets import Target
from prune_ssl.profiling import Latency
from prune_ssl.runtimes.inputs import Feeds
from prune_ssl.tasks.differences import PairedDifference


@dataclass(frozen=True)
class Made:
    """A file that was written and agrees with PyTorch, before it is kept."""

    target: Target
    folder: Path
    """The folder of all files."""
    file: Path
    """The file that the runtime opens."""
    model: PreTrainedModel
    """The model in PyTorch: float32, on the CPU, in evaluation mode."""
    masked: bool
    """Whether the graph takes an attention mask."""

    @property
    def graph(self) -> str:
        """The kind of graph that the file holds, which is the key of its opener."""
        return self.target.graph


@dataclass(frozen=True)
class JudgedFile:
    """The verdict of a corpus on an exported file. Both models get the same clips, one at a time."""

    corpus: str
    """The name of the corpus."""
    split: str
    """The split whose clips were judged."""
    clips: int
    """The number of clips."""
    metric: str
    """The main metric of the task."""
    results: Mapping[str, float]
    """The metrics of the file in its runtime, with their intervals."""
    pytorch: Mapping[str, float]
    """The metrics of the model in PyTorch."""
    paired: PairedDifference | None
    """The file's metric minus PyTorch's on the same clips. None: the task keeps no outcomes of clips."""
    latency: Latency
    """The latency of the file in its runtime."""
    pytorch_latency: Latency
    """The latency of the model in PyTorch (eager, float32), timed in turns with the file."""

    @property
    def difference(self) -> float:
        """The file's metric minus PyTorch's."""
        return self.results[self.metric] - self.pytorch[self.metric]

    def as_data(self) -> dict[str, object]:
        """Return the figures as plain data for JSON."""
        plain = {name: getattr(self, name) for name in ("corpus", "split", "clips", "metric", "difference")}
        paired = self.paired
        interval = {} if paired is None else {"low": paired.low, "high": paired.high, "drawn": paired.drawn}
        return plain | {
            "difference_interval": interval,
            "results": dict(self.results),
            "pytorch": dict(self.pytorch),
            "latency_ms": self.latency.median_ms,
            "pytorch_latency_ms": self.pytorch_latency.median_ms,
            "seconds": self.latency.seconds,
            "threads": self.latency.threads,
        }


class OnCorpus(Protocol):
    """A corpus that judges files before they are kept, and helps to make integers."""

    @property
    def int8(self) -> str:
        """How onnx-int8 is made: dynamic, static or best."""
        ...

    def calibration(self, made: Made) -> Iterator[Feeds]:
        """Yield the graph's inputs for clips of the training split, one clip at a time.

        Raises:
            DataError: the corpus has no training split that can be used.
        """
        ...

    def better(self, made: Made, files: Mapping[str, Path]) -> tuple[str, str]:
        """Return the name of the file with the better metric, and a sentence that says the figures."""
        ...

    def judge(self, made: Made) -> JudgedFile:
        """Return the verdict on a file.

        Raises:
            ExportError: the file is refused, and must not be kept.
        """
        ...
