"""Chooses the class for a checkpoint: the class that its config names must fit the weights.

A trained head is never lost in silence. It is kept, or the user asks to drop it, or the model is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from transformers import PreTrainedConfig, PreTrainedModel

from prune_ssl.errors import ModelError
from prune_ssl.models.pruned import PRUNED_CLASSES
from prune_ssl.models.registry import FAMILIES, PRUNED_PREFIX
from prune_ssl.models.skeleton import Parts, backbone_prefix, buffer_names, build_on_meta, parted, shapes_of
from prune_ssl.models.weights import Stored, canonical
from prune_ssl.models.xvector import model_class

Head = Literal["keep", "drop"]

PRE_TRAINING = (
    "quantizer",
    "project_hid",
    "project_q",
    "final_proj",
    "label_embs_concat",
    "label_embeddings_concat",
    "speaker_proj",
    "layer_norm_for_extract",
    "mask_emb",
    "target_glu",
)
"""Roots of the tensors that pre-training leaves behind. They are no head of a task."""
OPTIONAL = ("masked_spec_embed",)  # transformers makes one where it masks in training
DROP = "--head drop (in a recipe model.head: drop, in Python load_model(..., head='drop'))"
OF_A_LAYER = re.compile(r"(^|\.)(conv_)?layers?\.\d+\..*(weight|bias)(_g|_v)?$")
"""Tensors of a layer, without which a model computes something else."""
SHOWN = 4


@dataclass(frozen=True)
class Choice:
    """The class to load a checkpoint with."""

    cls: type[PreTrainedModel]
    head: str
    """Whether the head is kept or dropped, in a few words."""


def classes_of(config: PreTrainedConfig) -> dict[str, type[PreTrainedModel]]:
    """Return the model classes of a config's family by name, the bare one first."""
    pruned = config.model_type.startswith(PRUNED_PREFIX)
    family, found = FAMILIES[config.model_type.removeprefix(PRUNED_PREFIX)], {}
    for name, _ in () if family.classes is None else family.classes.models:
        stock = model_class(name)
        if stock is not None:
            cls = PRUNED_CLASSES[stock] if pruned else stock
            found[cls.__name__] = cls
    return found


def choose_class(source: str, config: PreTrainedConfig, stored: Stored, head: Head) -> Choice:
    """Return the class for a checkpoint, and whether its head is kept.

    Args:
        source: the name of the checkpoint, for messages.
        config: its config, of a known family.
        stored: the headers of its weights.
        head: `drop` leaves a head out.

    Raises:
        ModelError: the weights hold a head that the named classes would lose, or do not fit the config.
    """
    chooser = _Chooser(source, config, stored)
    return chooser.bare() if head == "drop" else chooser.named()


class _Chooser:
    def __init__(self, source: str, config: PreTrainedConfig, stored: Stored) -> None:
        self.source, self.config = source, config
        self.classes = classes_of(config)
        self.base = next(iter(self.classes.values()))
        self.prefix = backbone_prefix(self.base)
        self.built: dict[type[PreTrainedModel], tuple[Parts, set[str]]] = {}
        bare = self._parts_of(self.base)[0].backbone
        self.found = parted({canonical(n): s for n, s in stored.shapes.items()}, self.prefix, bare)
        self.extra = [name for name in self.found.head if name.split(".")[0] not in PRE_TRAINING]
        if not any(name in bare for name in self.found.backbone):
            shown = ", ".join(list(stored.shapes)[:SHOWN])
            raise ModelError(
                f"the weights of {source} do not fit its config: none is named as in {self.base.__name__} "
                f"(found {shown}; wanted {next(iter(bare))}, or that after {self.prefix!r}). Rename them, or "
                "write them with save_pretrained of that class."
            )

    def bare(self) -> Choice:
        """Return the class without a head."""
        self._require(self.base, whole=False)
        if not self.found.head:
            return Choice(self.base, f"none ({self.source} holds a bare model)")
        return Choice(self.base, f"dropped by request ({_roots(self.found.head)} of {self.source})")

    def named(self) -> Choice:
        """Return the class that the config names, if the weights fit it."""
        names: Sequence[str] = self.config.architectures or []
        known = [self.classes[name] for name in names if name in self.classes]
        if known and (len(names) == 1 or known[0].__name__ == names[0]) and not self._lost_by(known[0]):
            return self._kept(known[0])
        if not self.extra:
            if known:
                return self._kept(known[0])
            self._require(self.base, whole=True)
            return Choice(self.base, f"none ({self.source} holds a bare model{self._of_pre_training()})")
        raise ModelError(self._would_lose(names))

    def _kept(self, cls: type[PreTrainedModel]) -> Choice:
        self._require(cls, whole=True)
        if cls is self.base:
            return Choice(cls, f"none ({self.source} holds a bare model{self._of_pre_training()})")
        return Choice(cls, f"kept from {self.source} ({cls.__name__})")

    def _of_pre_training(self) -> str:
        return f"; left out: {_roots(self.found.head)}, of pre-training" if self.found.head else ""

    def _lost_by(self, cls: type[PreTrainedModel]) -> list[str]:
        """Return the names of the head's tensors for which the class has no place."""
        if not self.extra:
            return []
        wanted = self._parts_of(cls)[0].head
        return [name for name in self.extra if name not in wanted]

    def _parts_of(self, cls: type[PreTrainedModel]) -> tuple[Parts, set[str]]:
        if cls not in self.built:
            model = build_on_meta(cls, self.config)
            shapes = shapes_of(model)
            prefix, bare = ("", shapes) if cls is self.base else (self.prefix, {})
            self.built[cls] = parted(shapes, prefix, bare), buffer_names(model)
        return self.built[cls]

    def _fits(self, cls: type[PreTrainedModel]) -> bool:
        """Return whether the class has exactly the stored head."""
        try:
            wanted, buffers = self._parts_of(cls)
        except ModelError:
            return False
        stored = {name: self.found.head[name] for name in self.extra}
        named = {name: shape for name, shape in wanted.head.items() if name not in buffers}
        return (
            cls is not self.base
            and all(stored.get(n) == s for n, s in named.items())
            and set(stored) <= set(wanted.head)
        )

    def _would_lose(self, names: Sequence[str]) -> str:
        """Return the message for a head for which no named class has a place."""
        shown = ", ".join(self.extra[:SHOWN]) + (", ..." if len(self.extra) > SHOWN else "")
        stated = ", ".join(names) if names else "no class"
        fitting = [name for name, cls in self.classes.items() if self._fits(cls)]
        if fitting:
            way = f"set architectures to [{fitting[0]!r}] in its config.json, which fits by names and shapes"
        else:
            near = get_close_matches(str(names[0]), self.classes, n=1, cutoff=0.8) if names else []
            way = "no class of transformers has such a head" + (
                f" (the nearest is {near[0]})" if near else ""
            )
        return (
            f"{self.source}: its weights hold a head ({shown}), but its config names {stated}, with which it "
            f"would be lost: {way}; or give {DROP} to go on without it."
        )

    def _require(self, cls: type[PreTrainedModel], whole: bool) -> None:
        """Refuse weights that do not fit the class; the message names the first tensor that differs."""
        wanted, buffers = self._parts_of(cls)
        pruned = self.config.model_type.startswith(PRUNED_PREFIX)
        optional = {*buffers} if pruned else {*buffers, *OPTIONAL}
        pairs = [(self.found.backbone, wanted.backbone)] + [(self.found.head, wanted.head)] * whole
        missing: list[str] = []
        for found, expected in pairs:
            for name, shape in expected.items():
                if name not in found:
                    missing += [name] * optional.isdisjoint({name, f"{self.prefix}{name}"})
                elif found[name] != shape:
                    raise ModelError(
                        f"the weights of {self.source} do not fit its config: {name}: found shape "
                        f"{list(found[name])}, wanted {list(shape)} ({cls.__name__}). Correct config.json, "
                        "or fetch the weights that belong to it."
                    )
        left = [name for found, expected in pairs for name in found if name not in expected]
        left = [name for name in left if pruned or OF_A_LAYER.search(name)]
        if missing or left:
            what = f"missing {', '.join(missing[:3])}" if missing else f"unexpected {', '.join(left[:3])}"
            raise ModelError(
                f"the weights of {self.source} do not fit its config: {len(missing)} missing, {len(left)} "
                f"unexpected ({what}; {cls.__name__}). The folder is damaged, or config.json is of another "
                f"model{_other_class(missing, wanted, self.found)}."
            )


def _other_class(missing: Sequence[str], wanted: Parts, found: Parts) -> str:
    """Return the remedy if only the head is missing; else ""."""
    if missing and set(missing) <= set(wanted.head) and not found.head:
        return f"; for the model without a head give {DROP}"
    return ""


def _roots(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
