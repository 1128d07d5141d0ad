"""Setting: the device and the sizes that the checks run with; Check: the outcome of one of them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForAudioClassification

import prune_ssl
from prune_ssl.selection import KINDS
from prune_ssl.tracing import PruningGraph

UNITS = ("conv", "heads", "ffn")
ALL = tuple(KINDS)
LABELS = 12
TINY = {
    "conv_dim": (16,) * 7,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16,
}
LAYER_NORMS = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


class NotHere(Exception):
    """This check needs what this machine does not have."""


@dataclass
class Outcome:
    """The outcome of a check: whether it passed, and its figures."""

    passed: bool
    figures: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """The device, and whether models and numbers of steps are tiny."""

    device: str
    tiny: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.startswith("cuda")

    def many(self, full: int, tiny: int) -> int:
        """Return a number of steps, clips or seconds for the size of the run."""
        return tiny if self.tiny else full

    def model(self, family: str = "wav2vec2", **more: object) -> nn.Module:
        """Return a classifier with random weights on the device; all that makes steps unequal is off."""
        torch.manual_seed(0)
        still = {"layerdrop": 0.0, "apply_spec_augment": False, "num_labels": LABELS}
        config = AutoConfig.for_model(family, **(TINY if self.tiny else {}), **still, **more)
        model = AutoModelForAudioClassification.from_config(config)
        assert isinstance(model, nn.Module)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        return model.to(self.device).train()

    def batch(self, clips: int, seconds: float) -> dict[str, torch.Tensor]:
        """Return waveforms and labels on the device; the last clip is padded by a quarter."""
        seconds = 0.2 if self.tiny else seconds
        clips = 2 if self.tiny else clips
        torch.manual_seed(1)
        audio = torch.randn(clips, round(16_000 * seconds))
        mask = torch.ones_like(audio, dtype=torch.long)
        mask[-1, -audio.shape[1] // 4 :] = 0
        found = {"input_values": audio, "attention_mask": mask, "labels": torch.arange(clips) % LABELS}
        return {name: value.to(self.device) for name, value in found.items()}


class Step:
    """A training step of a model: forward, backward, AdamW; with gates also their draw and penalty."""

    def __init__(
        self,
        model: nn.Module,
        batch: dict[str, torch.Tensor],
        graph: PruningGraph | None = None,
        kinds: tuple[str, ...] = UNITS,
        half: bool = False,
    ) -> None:
        self.model, self.batch, self.half = model, batch, half
        self.gates: prune_ssl.Gates | None = None
        groups: list[dict[str, object]] = [{"params": list(model.parameters())}]
        if graph is not None:
            config = prune_ssl.PruningConfig(budget="macs=50%", steps=1000, round_to=1, kinds=kinds)
            self.gates = prune_ssl.attach_gates(model, graph, config)
            groups += self.gates.parameter_groups()
        self.optimizer = torch.optim.AdamW(groups, lr=1e-5)
        self.number = 0

    def loss(self) -> torch.Tensor:
        """Return the loss of the batch."""
        device = self.batch["input_values"].device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.half):
            found: torch.Tensor = self.model(**self.batch).loss
        return found

    def __call__(self) -> None:
        """Make the next step."""
        loss = self.loss()
        if self.gates is not None:
            loss = loss + self.gates.penalty(self.number)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.gates is not None:
            self.gates.clamp_()
        self.number += 1

    def close(self) -> None:
        """Take the gates off the model."""
        if self.gates is not None:
            self.gates.detach()


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of a model that has no gates."""
    return copy.deepcopy(model)


Check = Callable[[Setting], Outcome]
