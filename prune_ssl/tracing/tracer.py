"""trace(): from a model to its PruningGraph, by torch-pruning's dependency graph on a meta twin."""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from math import prod
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from prune_ssl.errors import ModelError, PruneWarning, TraceError
from prune_ssl.models import FAMILIES, Family, backbone_of, family_of
from prune_ssl.models.arguments import as_model
from prune_ssl.models.inputs import SAMPLE_RATE_HZ
from prune_ssl.models.layers import submodule_or_none
from prune_ssl.models.origin import written_dtypes
from prune_ssl.models.rebuilding import obstacle_to_loading, require_plain
from prune_ssl.tracing.cost import NEVER, Clock, CostTerm, conv_frames
from prune_ssl.tracing.coupling import Couplings, stored_name
from prune_ssl.tracing.example import Example, Inputs, call
from prune_ssl.tracing.generic import UNKNOWN, GenericRoles, convolutions_in_order, unknown_with
from prune_ssl.tracing.graph import Group, PruningGraph
from prune_ssl.tracing.heads import Attention, product_clock
from prune_ssl.tracing.roles import Roles
from prune_ssl.tracing.strangers import broken_by, strange_part
from prune_ssl.tracing.twin import (
    encoder_kernel,
    find_clocks,
    kernels_of,
    make_twin,
    on_meta,
    open_attentions,
    probe_input,
    probe_seconds,
)


def trace(
    model: nn.Module | str | Path,
    *,
    only: Sequence[str] = ("*",),
    ignore: Sequence[str] = (),
    example: Inputs | Example | None = None,
) -> PruningGraph:
    """Find the groups of coupled units of a speech SSL model and the cost of any keep of them.

    The model is not changed, and one of a known family is neither run nor copied: the work happens on a
    meta-device twin. Groups are `conv.{i}` for every frontend layer, `layer.{i}.heads`, `layer.{i}.ffn`
    (conformers: `.ffn1`, `.ffn2`, `.conv`), whole blocks `layer.{i}.attention` and `layer.{i}.feed_forward`,
    whole layers `layer.{i}`, dimensions inside the heads `layer.{i}.head_dim`, and `hidden`.

    A module of no known family gets the groups that the graph alone justifies (convolution channels, FFN
    neurons), and heads where three Linears make queries, keys and values, one reads the result, and the
    module states their number; `not_pruned` names what stands in the way of the others. It maps a waveform
    (1, N), or takes the `example`; then the costs are those of the example's length, unless `Example` names
    the axis of time.

    A model with a part that no table describes (one of no known family, a subclass or module of one's own,
    an activation that was exchanged) is copied and the copy is run on a second of noise: every group is gated
    and cut at random once, and one of which both differ is not offered; `not_pruned` has the difference.

    Args:
        model: a model of a known family of transformers, bare or with a head, a pruned one as well; one of
            torchaudio; any module that maps a waveform; or a folder or hub name of one.
        only: patterns (`*` as in file names) of the groups to find.
        ignore: patterns of groups to leave out.
        example: what a model takes whose input nothing knows: a tensor, a tuple or dict of tensors, or an
            `Example` of them.

    Raises:
        ModelError: no known family, or gates are attached; adapters (LoRA) that are not merged, quantised
            layers, or parametrisations other than weight norm.
        TraceError: the graph contradicts the family's roles, or meets what it does not know.
    """
    model = as_model(model, "trace")
    only, ignore = ((each,) if isinstance(each, str) else tuple(each) for each in (only, ignore))
    require_plain(model)
    family = _family_for(model, example)
    known = family.name in FAMILIES
    if any(hasattr(module, "prune_ssl_gate") for module in model.modules()):
        raise ModelError("gates are attached to this model; call gates.detach() before tracing it.")
    prefix = backbone_of(model)[0] if known else ""
    try:
        tracer = _Tracer(model, family, f"{prefix}." if prefix else "")
    except ModelError:
        if family is UNKNOWN and isinstance(model, PreTrainedModel):
            family_of(model)  # says which families there are
        raise
    obstacle = obstacle_to_loading(model)
    if obstacle is not None:
        words = f"a folder of this model could not be loaded again: {obstacle.words}"
        warnings.warn(words, PruneWarning, stacklevel=2)
    graph = tracer.run(only, ignore)
    if not known or strange_part(model):
        graph = tracer.without(graph, broken_by(model, graph, family))
    if isinstance(family.input, Example):
        _warn_of_uncounted(graph.cost(seconds=family.input.seconds).macs, tracer.counted_macs())
    if not graph.groups:
        raise TraceError(_nothing_found(model, graph, only, ignore))
    return graph


def _family_for(model: nn.Module, example: Inputs | Example | None) -> Family:
    """Return the family of a model, or a table that knows its input alone.

    Raises:
        ModelError: an example of what a known family takes; or neither the family nor the input is known.
    """
    try:
        family = family_of(model)
    except ModelError:
        return _unknown(example)
    if not isinstance(model, PreTrainedModel) and family.library == "transformers":
        return _unknown(example)
    if example is not None:
        raise ModelError(f"example: what a {family.name} model takes is known; leave the example out.")
    return family


def _nothing_found(model: nn.Module, graph: PruningGraph, only: Sequence[str], ignore: Sequence[str]) -> str:
    asked = f"no group of units matches only={list(only)}, ignore={list(ignore)}."
    path, why = next(iter(graph.not_pruned.items()), ("", ""))
    named = tuple(only) != ("*",) or bool(ignore)
    return asked if named or not why else f"nothing of {type(model).__name__} can be pruned: {path}: {why}."


def _warn_of_uncounted(found: int, counted: int) -> None:
    if found != counted:
        words = (
            f"the costs of this model are {found:,} MACs for the example, and torch counts {counted:,}: the "
            "model has products that are no Linear, no convolution and not the two of an attention"
        )
        warnings.warn(words, PruneWarning, stacklevel=3)


def _unknown(example: Inputs | Example | None) -> Family:
    if example is None:
        return UNKNOWN
    return unknown_with(example if isinstance(example, Example) else Example(example))


class _Tracer:
    """One run of `trace`: holds the twin while groups and terms are built."""

    def __init__(self, model: nn.Module, family: Family, prefix: str) -> None:
        self.family, self.prefix = family, prefix
        self.parameters = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        every = dict(model.named_parameters(remove_duplicate=False))
        self.stored = dict.fromkeys(every)  # in order: the first obstacle is the one that is named
        twice = Counter(id(parameter) for parameter in every.values())
        self.tied = {name for name, parameter in every.items() if twice[id(parameter)] > 1}
        self.buffers = {
            name: tuple(value.shape) for name, value in model.state_dict().items() if name not in self.stored
        }
        self.itemsizes = {name: dtype.itemsize for name, dtype in written_dtypes(model).items()}
        self.attentions: list[Attention] = []
        self.twin = make_twin(model)
        self.backbone = self.twin.get_submodule(prefix.rstrip("."))
        open_attentions(self.backbone, family)
        self.convs = self._convs(type(model).__name__)
        modules = [self.twin.get_submodule(path) for path in self.convs]
        convs = [module for module in modules if isinstance(module, nn.Conv1d)]
        self.kernels = kernels_of(self.backbone, family, convs)

    def _convs(self, name: str) -> list[str]:
        if self.family.name == UNKNOWN.name:
            return convolutions_in_order(self.twin, self.family)
        if not self.family.conv:
            return []
        paths = [self.prefix + path for path in self.family.convs(self.backbone)]
        if not paths:
            raise ModelError(
                f"{name} has no {self.prefix}{self.family.conv.format(i=0, n=1)}: no conv frontend."
            )
        return paths

    def run(self, only: Sequence[str], ignore: Sequence[str]) -> PruningGraph:
        """Build groups and cost terms."""
        try:
            clocks = find_clocks(self.twin, self.backbone, self.family, self.kernels, self.convs)
        except (TypeError, ValueError) as error:  # a forward that wants more than audio, such as a decoder's
            inside = f", such as its {self.prefix.rstrip('.')}" if self.prefix else ""
            raise ModelError(
                f"{type(self.twin).__name__} does not run on {self.family.input.name} alone: "
                f"{str(error).splitlines()[0]}. Trace a part that does{inside}."
            ) from error
        couplings = Couplings(self.twin, self.backbone, self.family, self.prefix)
        try:
            return self._graph(couplings, clocks, only, ignore)
        finally:
            couplings.take_apart()

    def _graph(
        self, couplings: Couplings, clocks: dict[str, Clock], only: Sequence[str], ignore: Sequence[str]
    ) -> PruningGraph:
        roles: Roles | GenericRoles
        self.clocks = clocks
        if self.family.name == UNKNOWN.name:
            seconds = probe_seconds(self.family)
            roles = GenericRoles(self.twin, self.convs, couplings)
            with on_meta(self.family):
                roles.find_heads(
                    probe_input(self.twin, self.family, seconds),
                    conv_frames(round(seconds * SAMPLE_RATE_HZ), self.kernels),
                    clocks,
                )
            self.attentions = roles.attentions
        else:
            roles = Roles(self.twin, self.family, self.prefix, self.convs, couplings, self.stored)
        groups = {
            group.name: group
            for group in roles.groups()
            if any(fnmatch(group.name, each) for each in only)
            and not any(fnmatch(group.name, each) for each in ignore)
        }
        tied = {
            name: "its weights are tied to another module's"
            for name, group in groups.items()
            if not self.tied.isdisjoint(_touched(group))
        }
        groups = {name: group for name, group in groups.items() if name not in tied}
        return PruningGraph(
            family=self.family.name,
            backbone=self.prefix.rstrip("."),
            groups=groups,
            terms=tuple(self._terms(groups, clocks)),
            kernels=self.kernels,
            fixed_samples=self.family.input.fixed_samples(getattr(self.backbone, "config", None)),
            shapes=self.parameters,
            buffers=self.buffers,
            itemsizes=self.itemsizes,
            not_pruned=couplings.not_reached | roles.not_pruned | tied,
        )

    def counted_macs(self) -> int:
        """Return the MACs that torch counts in the dense model for the example."""
        counter = FlopCounterMode(display=False)
        inputs = probe_input(self.twin, self.family, probe_seconds(self.family))
        with counter, torch.no_grad(), on_meta(self.family), sdpa_kernel(SDPBackend.MATH):
            call(self.twin, inputs)
        return counter.get_total_flops() // 2

    def without(self, graph: PruningGraph, broken: dict[str, str]) -> PruningGraph:
        """Return the graph without some groups, each with its reason."""
        groups = {name: group for name, group in graph.groups.items() if name not in broken}
        terms = tuple(self._terms(groups, self.clocks))
        return replace(graph, groups=groups, terms=terms, not_pruned=graph.not_pruned | broken)

    # -- cost terms

    def _terms(self, groups: dict[str, Group], clocks: dict[str, Clock]) -> Iterator[CostTerm]:
        owners: dict[str, list[Group]] = {}
        needs: dict[str, list[str]] = {}
        for group in groups.values():
            for name in {part.parameter for part in group.slices}:
                owners.setdefault(name, []).append(group)
            for name in group.members:
                # Of a group of one unit a member is a factor; of others it stays while any unit does.
                if group.size == 1 and group.kind in ("block", "layer"):
                    owners.setdefault(name, []).append(group)
                else:
                    needs.setdefault(name, []).append(group.name)
        for name, shape in self.parameters.items():
            count, widths = self._share(prod(shape), owners.get(name, []))
            yield CostTerm(name, *self._place(name), count, 0, NEVER, widths, tuple(needs.get(name, ())))
        for path, clock in clocks.items():
            weight = self.twin.get_parameter(f"{path}.weight")
            name = stored_name(self.stored, path)
            by_head = self._runs_per_head(path, groups)
            if by_head:
                clock = Clock(clock.index, (0, clock.coefficients[1] // by_head[0].size, 0))
            count, widths = self._share(weight.numel(), owners.get(name, []))
            widths += tuple(group.name for group in by_head)
            needed = tuple(needs.get(name, ()))
            yield CostTerm(path, *self._place(path), 0, count, clock, widths, needed)
        yield from self._products(groups)
        yield from self._fused_attention(owners, clocks)

    def _share(self, count: int, owners: Sequence[Group]) -> tuple[int, tuple[str, ...]]:
        """Return what one unit of every owner holds, and the owners' names."""
        unique = {group.name: group for group in owners}
        return count // prod(group.size for group in unique.values()), tuple(unique)

    def _runs_per_head(self, path: str, groups: dict[str, Group]) -> list[Group]:
        """Return the heads of which each has a slice that one small Linear reads."""
        if not self.family.attention.by_slices or not path.endswith(f".{self.family.attention.by_slices}"):
            return []
        block = path.rpartition(".")[0]
        return [group for group in groups.values() if group.kind == "heads" and group.block == block]

    def _products(self, groups: dict[str, Group]) -> Iterator[CostTerm]:
        """QK^T, AV and what relative positions add: products of activations in every attention."""
        if self.family.name == UNKNOWN.name:
            for each in self.attentions:
                own = [groups[each.group.name]] if each.group and each.group.name in groups else []
                count, widths = self._share(each.width, own)
                clock = product_clock(self.clocks[each.values]) or NEVER
                yield CostTerm(f"{each.path}.map", *self._place(each.path), 0, count, clock, widths)
            return
        roles, index = self.family.attention, encoder_kernel(self.family, self.convs)
        pattern = self.prefix + self.family.layer.format(i=r"(\d+)").replace(".", r"\.")
        for path, module in self.twin.named_modules():
            found = re.fullmatch(rf"{pattern}\.{roles.path}", path)
            values = submodule_or_none(module, roles.values) if found else None
            if found is None or not isinstance(values, nn.Linear):
                continue
            names = {
                f"layer.{found.group(1)}{suffix}" for suffix in (".heads", ".head_dim", ".attention", "")
            }
            owners = [groups[name] for name in sorted(names & groups.keys())]
            count, widths = self._share(values.out_features, owners)
            clock = Clock(index, roles.products(module))
            yield CostTerm(f"{path}.map", *self._place(path), 0, count, clock, widths)
        adapter = re.escape(f"{self.prefix}{self.family.adapter}")
        behind = re.compile(rf"{adapter}\.layers\.(\d+)\.{roles.path}")
        for path, module in self.twin.named_modules():
            if self.family.adapter and (found := behind.fullmatch(path)):  # an adapter may have attentions
                clock = Clock(index + 1 + int(found.group(1)), roles.products(module))
                values = module.get_submodule(roles.values)
                yield CostTerm(f"{path}.map", *self._place(path), 0, values.out_features, clock, ())

    def _fused_attention(
        self, owners: dict[str, list[Group]], clocks: dict[str, Clock]
    ) -> Iterator[CostTerm]:
        """Torch's own attention, whose projections are one parameter and no module."""
        index = encoder_kernel(self.family, self.convs)
        for path, module in self.twin.named_modules():
            if not isinstance(module, nn.MultiheadAttention) or module.in_proj_weight is None:
                continue
            name, place = f"{path}.in_proj_weight", self._place(path)
            owned = owners.get(name, [])
            once, twice = Clock(index, (0, 1, 0)), Clock(index, (0, 0, 2))
            count, widths = self._share(module.in_proj_weight.numel(), owned)
            yield CostTerm(f"{path}.in_proj", *place, 0, count, once, widths)
            inside = [group for group in owned if group.kind != "hidden"]
            count, widths = self._share(module.out_proj.in_features, inside)
            yield CostTerm(f"{path}.map", *place, 0, count, twice, widths)
            if clocks.get(f"{path}.out_proj") == NEVER:  # used by a function, never called
                yield CostTerm(f"{path}.out", *place, 0, module.out_proj.weight.numel(), once, widths)

    def _place(self, path: str) -> tuple[str, str]:
        """Return (section, layer) of a module or parameter path."""
        if not path.startswith(self.prefix):
            return "head", "head"
        if self.family.name == UNKNOWN.name:
            return (
                "frontend" if path.removesuffix(".weight").removesuffix(".bias") in self.convs else "encoder",
            ) * 2
        inner = path.removeprefix(self.prefix)
        section = self.family.section(inner)
        return section, self.family.part(inner) or section


def _touched(group: Group) -> set[str]:
    return {part.parameter for part in group.slices} | set(group.members)
