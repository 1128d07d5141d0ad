"""The pruning graph: groups of coupled units as pure data, with the cost of any keep."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import islice
from numbers import Integral
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from prune_ssl.errors import KeepError
from prune_ssl.models.inputs import SAMPLE_RATE_HZ
from prune_ssl.tracing.cost import Cost, CostTerm, Metric, Polynomial, conv_frames, evaluate
from prune_ssl.tracing.shown import GroupMapping

Keep = Mapping[str, Sequence[int]]
Role = Literal["producer", "norm", "consumer", "factor"]
Kind = Literal["conv", "heads", "ffn", "hidden", "head_dim", "block", "layer"]


def units_of(name: str, units: object, most: int | None = None) -> tuple[int, ...]:
    """Return the units that a person, an array or a file gives for a group, in their order.

    Args:
        name: the name of the group, for the message.
        units: a list, tuple, range, set or one-dimensional array of whole numbers.
        most: the number of units of the group; at most one more is read.

    Raises:
        KeepError: `units` is something else, such as a width, a mask, text, fractions or nested lists.
    """
    if type(units) is tuple and set(map(type, units)) <= {int}:
        return units
    wanted = "wanted the numbers of the units that stay, such as [0, 2, 5]"
    if isinstance(units, int | np.integer) and type(units) is not bool:
        raise KeepError(
            f"keep of {name}: found {units}, a width; {wanted} (range({units}) keeps the first {units}; "
            "prune_ssl.select chooses them)."
        )
    if isinstance(units, torch.Tensor | np.ndarray):
        whole = not units.is_floating_point() if isinstance(units, torch.Tensor) else units.dtype.kind in "iu"
        if units.ndim != 1 or not whole or units.dtype == torch.bool:
            shape = tuple(units.shape)
            raise KeepError(f"keep of {name}: found an array of {units.dtype}, shape {shape}; {wanted}.")
        units = units.tolist()
    if isinstance(units, str | bytes | Mapping) or not isinstance(units, Iterable):
        raise KeepError(f"keep of {name}: found {_short(units)}; {wanted}.")
    read = list(islice(units, None if most is None else most + 1))
    odd = [unit for unit in read if isinstance(unit, bool | np.bool_) or not isinstance(unit, Integral)]
    if odd:
        raise KeepError(f"keep of {name}: found the unit {_short(odd[0])}; {wanted}.")
    return tuple(map(int, read))


def _entries_of(keep: object) -> Iterable[tuple[str, object]]:
    """Return the groups that a keep names, each with its units."""
    if not isinstance(keep, Mapping):
        raise KeepError(
            f"a keep says which units of which groups stay, such as {{'layer.0.ffn': [0, 1, 2]}}; found "
            f"{_short(keep)}. prune_ssl.select makes one; {{}} keeps all."
        )
    odd = [name for name in keep if not isinstance(name, str)]
    if odd:
        raise KeepError(f"keep names the group {_short(odd[0])}; wanted text such as 'layer.0.ffn'.")
    return keep.items()


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


@dataclass(frozen=True)
class ParameterSlice:
    """The part of one parameter (or buffer) that belongs to a group: entries `index[unit]` along `dim`.

    A `producer` computes the units, a `norm` normalises them, a `consumer` reads them. A `factor` is a
    producer whose outputs are multiplied with those of others: a gate scales its rows.
    """

    parameter: str
    dim: int
    role: Role
    index: NDArray[np.int64]  # (units, entries per unit)

    @property
    def module(self) -> str:
        """Path of the module that owns the parameter."""
        return self.parameter.rpartition(".")[0]

    @property
    def width(self) -> int:
        """Entries per unit: the head size for heads, the heads for a head's dimensions, else mostly 1."""
        return int(self.index.shape[1])


@dataclass(frozen=True)
class SplitReader:
    """A Linear that reads the units head by head: row h of `units` has the units of its input for head h.

    It loses no column with a unit: the columns of a unit that is gone read zeros. -1 marks the columns of
    units that were gone before.
    """

    module: str
    units: NDArray[np.int64]  # (heads, columns)


@dataclass(frozen=True)
class Group:
    """An ordered set of interchangeable units in one place, with every parameter slice coupled to them.

    A whole block or layer is a group of one unit: `members` are the parameters that go with it, `outputs` the
    Linears whose output is the block's (a layer has none: its gate mixes its output with its input).
    """

    name: str
    kind: Kind
    size: int
    slices: tuple[ParameterSlice, ...] = field(repr=False)
    minimum: int = 0
    block: str = ""  # path of the module that is emptied when no unit is left
    members: tuple[str, ...] = field(default=(), repr=False)
    outputs: tuple[str, ...] = ()
    norms: tuple[str, ...] = field(default=(), repr=False)  # norms over the units, with parameters or without
    splits: tuple[SplitReader, ...] = field(default=(), repr=False)
    size_scales: tuple[str, ...] = ()  # Linears whose rows take sqrt(kept / size)
    stated: tuple[tuple[str, int], ...] = ()  # attributes of modules that state so much for each kept unit

    def of_role(self, role: Role) -> tuple[ParameterSlice, ...]:
        """Return the slices of one role."""
        return tuple(part for part in self.slices if part.role == role)


@dataclass(frozen=True, repr=False)
class PruningGraph(GroupMapping):
    """What `trace` found: groups, cost terms and the frontend's kernels. Pure data, no module inside.

    It is read as a mapping of its groups, and a notebook shows it as a table.

    >>> from transformers import HubertConfig, HubertModel
    >>> from prune_ssl.tracing import trace
    >>> sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    >>> graph = trace(HubertModel(HubertConfig(**sizes, num_conv_pos_embedding_groups=2)))
    >>> len(graph), graph["layer.0.heads"].size, "layer.1.heads" in graph
    (14, 2, False)
    """

    family: str
    backbone: str
    groups: dict[str, Group]
    terms: tuple[CostTerm, ...] = field(repr=False)
    kernels: tuple[tuple[int, int], ...]
    shapes: dict[str, tuple[int, ...]] = field(repr=False)
    not_pruned: dict[str, str]  # module path -> why nothing of it is in a group
    buffers: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)  # saved beside parameters
    itemsizes: dict[str, int] = field(default_factory=dict, repr=False)  # bytes of a number, as it is saved
    fixed_samples: int | None = None  # all audio is padded or cut to so many

    def frames(self, seconds: float) -> list[int]:
        """Return the frames after each frontend layer for `seconds` of 16 kHz audio.

        A model that pads or cuts all audio to one length has that length's frames, whatever is asked.
        """
        return conv_frames(self.fixed_samples or round(seconds * SAMPLE_RATE_HZ), self.kernels)

    @property
    def receptive_field(self) -> int:
        """Fewest samples that give one frame (400 for the standard frontend)."""
        samples = 1
        for kernel, stride in reversed(self.kernels):
            samples = (samples - 1) * stride + kernel
        return samples

    def check(self, keep: Keep) -> dict[str, tuple[int, ...]]:
        """Return `keep` with sorted tuples of ints.

        Raises:
            KeepError: an unknown group, what is no list of whole numbers, a unit out of range or twice, or
                fewer units than a group needs.
        """
        checked: dict[str, tuple[int, ...]] = {}
        for name, units in _entries_of(keep):
            group = self.groups.get(name)
            if group is None:
                near = get_close_matches(name, self.groups, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise KeepError(f"keep names the group {name!r}, which this model does not have.{hint}")
            kept = sorted(units_of(name, units, group.size))
            if kept and not 0 <= kept[0] <= kept[-1] < group.size:
                raise KeepError(
                    f"keep of {name}: units must be in 0..{group.size - 1}, found {kept[0]}..{kept[-1]}."
                )
            if len(set(kept)) != len(kept):
                raise KeepError(f"keep of {name}: a unit is named twice.")
            if len(kept) < group.minimum:
                raise KeepError(f"keep of {name}: {len(kept)} units, but at least {group.minimum} must stay.")
            checked[name] = tuple(kept)
        return checked

    def widths(self, keep: Keep | None = None) -> dict[str, int]:
        """Return the number of kept units of every group; groups not named stay whole."""
        kept = self.check(keep or {})
        return {name: len(kept[name]) if name in kept else group.size for name, group in self.groups.items()}

    def cost(self, keep: Keep | None = None, seconds: float = 10.0) -> Cost:
        """Return the exact cost of the model that `resize` would give for `keep` (dense when None).

        Args:
            keep: group name -> kept units.
            seconds: audio length; batch 1, 16 kHz. A model that pads or cuts all audio to one length costs
                the same for any; the result states that length as its `seconds`.

        Raises:
            KeepError: the keep does not fit this graph, or the audio is shorter than the receptive field.
        """
        frames = self.frames(seconds)
        if frames[-1] < 1:
            raise KeepError(
                f"{seconds} s of audio is shorter than the frontend's receptive field "
                f"({self.receptive_field} samples at 16 kHz); ask for a longer audio."
            )
        counted = seconds if self.fixed_samples is None else self.fixed_samples / SAMPLE_RATE_HZ
        return evaluate(self.terms, self.widths(keep), frames, counted)

    def polynomial(self, metric: Metric, section: str | None = None, seconds: float = 10.0) -> Polynomial:
        """Return the cost as a polynomial in the groups' widths, of one section or (None) of the whole."""
        terms = [term for term in self.terms if section is None or term.section == section]
        return Polynomial(terms, metric, self.frames(seconds), tuple(self.groups))

    def stored_bytes(self, itemsizes: Mapping[str, int] | None = None) -> Polynomial:
        """Return the bytes of all parameters as a polynomial.

        Args:
            itemsizes: Parameter -> the bytes of one number, 4 if it is missing. None: as it is saved.
        """
        sizes = self.itemsizes if itemsizes is None else itemsizes
        terms = [replace(term, params=term.params * sizes.get(term.name, 4)) for term in self.terms]
        return Polynomial(terms, "params", self.frames(1.0), tuple(self.groups))
