"""Owns a teacher's answers: what its taps and heads give for a batch, computed or out of a cache."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import nn
from torch.nn import functional as F

from prune_ssl.distillation.cache import AnswerCache, Tensors
from prune_ssl.distillation.loss import output_of
from prune_ssl.distillation.taps import Stage, Tapped, Taps, stage_of
from prune_ssl.models import backbone_of, family_of
from prune_ssl.models.torch_internals import version_of

MASKED = "mask_time_indices"  # transformers' name for frames to mask
FORMAT = 1
"""Increase when the meaning of an entry changes, so that old cache entries no longer match."""


@dataclass(frozen=True)
class Answer:
    """What a forward pass of the teacher gave: tapped states, and outputs by the name of their field."""

    tapped: Tapped = field(default_factory=Tapped)
    outputs: dict[str, torch.Tensor] = field(default_factory=dict)


class CachedTeacher:
    """Runs a frozen model on batches, and keeps its answers in a cache where there is one.

    With a cache every clip runs alone, without padding. Its answer is stored under a hash of its samples, of
    the teacher and of the tapped layers. So an answer never depends on the batch and needs no name of the
    clip, and a clip that was changed is another clip. Answers keep the precision in which they were computed:
    float16 is off by 5e-4.

    Attributes:
        found: clips of the last batch whose answer was in the cache.
    """

    def __init__(
        self, model: nn.Module, taps: Taps, fields: Sequence[str], cache: AnswerCache | None = None
    ) -> None:
        # The head runs only where a loss reads its output: bare and pre-training models have none.
        self.model = model if fields else backbone_of(model)[1]
        self.taps, self.fields, self.cache = taps, tuple(fields), cache
        self.mask_name = family_of(model).input.mask
        self.found = 0
        self._fingerprint: tuple[object, bytes] | None = None

    @torch.no_grad()
    def answer(
        self,
        audio: torch.Tensor,
        mask: torch.Tensor | None = None,
        hidden_frames: torch.Tensor | None = None,
    ) -> Answer:
        """Run the teacher.

        Args:
            audio: (B, N), or in another form that the model takes.
            mask: (B, N), 1 on samples and 0 on padding; None for models that take none.
            hidden_frames: (B, T) bool, frames that the teacher is not to hear.
        """
        optional = {self.mask_name: mask, MASKED: hidden_frames}
        with self.taps.listening() as tapped:
            output = self.model(audio, **{key: value for key, value in optional.items() if value is not None})
        return Answer(tapped, {name: output_of(output, name) for name in self.fields})

    @torch.no_grad()
    def cached_answer(
        self, audio: torch.Tensor, mask: torch.Tensor | None, lengths: torch.Tensor | None
    ) -> Answer:
        """Answer each clip of a batch as if it were alone, from the cache where it is there.

        Args:
            audio: (B, N), or in another form whose last axis is time.
            mask: (B, N) or None, as in `answer`.
            lengths: (B,), samples without padding; None: all N.
        """
        assert self.cache is not None
        counts = [audio.shape[-1]] * len(audio) if lengths is None else list(map(int, lengths.tolist()))
        keys = self._keys(audio, counts)
        rows = [self.cache.get(key) for key in keys]
        self.found = sum(row is not None for row in rows)
        missing = [index for index, row in enumerate(rows) if row is None]
        # Clips of one length need no padding, so they are heard together.
        for count in {counts[index] for index in missing}:
            alike = [index for index in missing if counts[index] == count]
            given = self.answer(audio[alike][..., :count], None if mask is None else mask[alike, :count])
            for place, index in enumerate(alike):
                row = rows[index] = _row(given, place)
                self.cache.put(keys[index], row)
        whole = [row for row in rows if row is not None]
        names = whole[0]
        return _answer({n: self._padded([row[n] for row in whole], n, audio, counts) for n in names})

    def _padded(
        self, rows: Sequence[torch.Tensor], name: str, audio: torch.Tensor, counts: Sequence[int]
    ) -> torch.Tensor:
        """Stack tensors (..., T_b, any), or (any,) of whole clips, with zeros after each clip's frames."""
        if rows[0].dim() > 1:
            stage, most = _stage(name), max(counts)
            # Batches may be wider than their longest clip.
            beyond = self.taps.frames(audio.shape[-1], stage) - self.taps.frames(most, stage)
            frames = max(row.shape[-2] for row in rows) + beyond
            rows = [F.pad(row, (0, 0, 0, frames - row.shape[-2])) for row in rows]
        return torch.stack(list(rows)).to(audio.device)

    def _keys(self, audio: torch.Tensor, counts: Sequence[int]) -> list[str]:
        device = audio.device.type
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else audio.dtype
        start = self.fingerprint() + str((audio.dtype, precision)).encode()
        clips = [row[..., :count] for row, count in zip(audio.detach().cpu(), counts, strict=True)]
        return [_digest(start, _raw(clip)).hex() for clip in clips]

    def fingerprint(self) -> bytes:
        """Return a hash of the weights, the config, the modules and the taps; made anew if weights change."""
        state = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        version = tuple((id(value), version_of(value)) for value in state.values())
        if self._fingerprint is None or self._fingerprint[0] != version:
            config: Any = getattr(self.model, "config", None)
            about = {
                "format": FORMAT,
                "transformers": transformers.__version__,
                "modules": str(self.model),
                "config": str(sorted(config.to_dict().items())) if config is not None else "",
                "states": self.taps.states,
                "maps": self.taps.maps,
                "outputs": self.fields,
                "weights": [(name, str(value.dtype), tuple(value.shape)) for name, value in state.items()],
            }
            weights = (_raw(value.detach().cpu()) for value in state.values())
            self._fingerprint = version, _digest(json.dumps(about, sort_keys=True).encode(), *weights)
        return self._fingerprint[1]


def _row(answer: Answer, index: int) -> Tensors:
    """Return what an answer says of one clip, as tensors of their own without the batch: `states.4`, ..."""
    parts: Mapping[str, Mapping[int, torch.Tensor] | Mapping[str, torch.Tensor]] = {
        "states": answer.tapped.states,
        "queries": answer.tapped.queries,
        "keys": answer.tapped.keys,
        "outputs": answer.outputs,
    }
    return {
        f"{kind}.{name}": value[index].detach().cpu().clone(memory_format=torch.contiguous_format)
        for kind, values in parts.items()
        for name, value in values.items()
    }


def _answer(tensors: Tensors) -> Answer:
    """Undo `_row`, for tensors with a batch."""
    answer = Answer()
    for name, value in tensors.items():
        kind, _, key = name.partition(".")
        if kind == "outputs":
            answer.outputs[key] = value
        else:
            getattr(answer.tapped, kind)[int(key)] = value
    return answer


def _stage(name: str) -> Stage:
    kind, _, key = name.partition(".")
    return "output" if kind == "outputs" else stage_of(int(key))


def _raw(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a tensor on the CPU, whatever its dtype."""
    found: memoryview = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
    return found


def _digest(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        digest.update(part)
    return digest.digest()
