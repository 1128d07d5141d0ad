"""Finds the groups of an unknown model that its dependency graph alone justifies, and says why not others."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import nn

from prune_ssl.errors import ModelError, TraceError
from prune_ssl.models import Family
from prune_ssl.tracing.cost import Clock
from prune_ssl.tracing.coupling import Couplings
from prune_ssl.tracing.example import Example, Inputs, call
from prune_ssl.tracing.graph import Group
from prune_ssl.tracing.heads import Attention, HeadRule, miscounted
from prune_ssl.tracing.roles import norms_of
from prune_ssl.tracing.twin import on_meta, probe_input, probe_seconds

UNKNOWN = Family(name="unknown", library="none")


def unknown_with(example: Example) -> Family:
    """Return the table of a model of which only an example of its input is known."""
    return replace(UNKNOWN, input=example, makes_constants=True)


def convolutions_in_order(twin: nn.Module, family: Family) -> list[str]:
    """Return the paths of the convolutions in the order in which the input passes them.

    Raises:
        ModelError: the model does not run on a waveform, or not on the example that is given.
    """
    paths = {module: path for path, module in twin.named_modules() if isinstance(module, nn.Conv1d)}
    met: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda each, _args: met.append(paths[each])) for module in paths
    ]
    try:
        with torch.no_grad(), on_meta(family):
            call(twin, probe_input(twin, family, probe_seconds(family)))
    except Exception as error:  # the forward of a stranger may raise any kind
        if isinstance(family.input, Example):
            raise ModelError(
                f"{type(twin).__name__} does not run on the example's shapes: {error}. Give what its forward "
                "takes: a tensor, a tuple by position, or a dict by name."
            ) from error
        raise ModelError(
            f"{type(twin).__name__} is not a speech SSL model that can be traced: it has no Hugging Face "
            f"config of a known family, and does not run on a waveform of shape (1, 16000): {error}. Give "
            "example= with what it takes."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(met))


class GenericRoles:
    """Finds every Conv1d and Linear whose outputs go to readers only, and heads by a general rule.

    Attributes:
        attentions: those that the rule found, whose products count.
    """

    def __init__(self, twin: nn.Module, convs: list[str], couplings: Couplings) -> None:
        self.twin, self.convs, self.couplings = twin, convs, couplings
        self.not_pruned: dict[str, str] = {}
        self.attentions: list[Attention] = []

    def find_heads(self, inputs: Inputs, frames: Sequence[int], clocks: dict[str, Clock]) -> None:
        """Find the attentions of the rule that do what it predicts for an input of so many frames."""
        rule = HeadRule(self.twin, self.couplings)
        found = list(rule.attentions())
        wrong = miscounted(self.twin, inputs, frames, found, clocks) if found else {}
        self.attentions = [each for each in found if each.path not in wrong]
        self.not_pruned |= rule.not_pruned | wrong

    def groups(self) -> Iterator[Group]:
        """Yield the groups, frontend first; `not_pruned` maps every other module to the reason."""
        reached = set(self.couplings.graph.module2node)
        fused = [
            f"{path}." for path, each in self.twin.named_modules() if isinstance(each, nn.MultiheadAttention)
        ]
        linears = [path for path, each in self.twin.named_modules() if isinstance(each, nn.Linear)]
        heads = [each.group for each in self.attentions if each.group is not None]
        in_heads = {part.module for group in heads for part in group.of_role("producer")}
        yield from heads
        for path in [*self.convs, *(path for path in linears if path not in in_heads)]:
            module = self.twin.get_submodule(path)
            if path.startswith(tuple(fused)):
                self.not_pruned[path.rpartition(".")[0]] = (
                    "the graph cannot see through nn.MultiheadAttention"
                )
            elif module in reached:
                group = self._group(path, module)
                if group is not None:
                    yield group

    def _group(self, path: str, module: nn.Module) -> Group | None:
        try:
            slices = self.couplings.coupled(path, path)
        except TraceError as error:
            self.not_pruned[path] = str(error)
            return None
        writers = {part.module for part in slices if part.role == "producer"}
        readers = [part for part in slices if part.role == "consumer"]
        if len(writers) > 1:
            others = ", ".join(sorted(writers - {path})[:2])
            self.not_pruned[path] = f"its outputs are added to those of {others}"
        elif not readers:
            self.not_pruned[path] = "its outputs are the model's, or nothing reads them"
        elif getattr(module, "groups", 1) > 1:
            self.not_pruned[path] = "a convolution in groups ties its channels together"
        else:
            conv = isinstance(module, nn.Conv1d)
            units = len(module.get_parameter("weight"))
            name = self._name(path)
            return Group(
                name,
                "conv" if conv else "ffn",
                units,
                tuple(slices),
                minimum=1,
                block=path,
                norms=norms_of(slices),
            )
        return None

    def _name(self, path: str) -> str:
        """Return conv.{i} in the frontend, layer.{i}.ffn in numbered layers, else the module's path."""
        if path in self.convs:
            return f"conv.{self.convs.index(path)}"
        numbers = re.findall(r"\.(\d+)\.", path)
        return f"layer.{numbers[0]}.ffn" if len(numbers) == 1 and path.endswith("linear1") else path
