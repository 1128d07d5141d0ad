"""Quantise a model that stays in PyTorch: 8-bit integers for its Linear layers, or bfloat16 for all of it."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from prune_ssl.errors import ExportError
from prune_ssl.exporting.comparing import ROWS, SECONDS, Difference
from prune_ssl.exporting.targets import OF_INT8
from prune_ssl.models.arguments import as_own_model
from prune_ssl.models.finite import NOT_FINITE, require_finite
from prune_ssl.models.int8_linear import has_int8
from prune_ssl.runtimes.forms import called_linears, change_
from prune_ssl.runtimes.inputs import example
from prune_ssl.runtimes.registry import BFLOAT16, FORMS, INT8
from prune_ssl.tracing import trace


@dataclass(frozen=True)
class Quantized:
    """What `quantize_` changed, and how far the outputs moved."""

    form: str
    """int8 or bfloat16."""
    layers: tuple[str, ...]
    """The paths of the Linear layers with integer weights. Empty: bfloat16 has no such layers."""
    left: tuple[str, ...]
    """The Linear layers that stay in float32, because their module reads the weights without a call."""
    difference: Difference
    """The difference from the float model on noise, at three lengths, for one clip and for three."""


def quantize_(model: nn.Module, form: str = INT8) -> Quantized:
    """Quantise a model in place, for those who stay in PyTorch on the CPU.

    `int8`: each Linear layer gets weights of 8-bit integers, one scale for each output, and quantises its
    inputs at run time, without calibration data. Convolutions, norms and attention products stay float32.
    `bfloat16`: all weights and arithmetic. Both change the outputs by some percent: judge your metric with
    `evaluate`. The result is for inference. It cannot be cut, trained or saved: keep the float folder.

    Args:
        model: A model of transformers, dense or pruned, in float32 on the CPU.
        form: int8 or bfloat16.

    Raises:
        ExportError: the form is unknown, the model is quantised, on another device or not float32, or its
            outputs move by more than half of the largest one. The model is unchanged then.
        ModelError: the model is of no known family, gates or adapters are attached, or a weight is not
            finite.

    >>> from transformers import HubertConfig, HubertModel
    >>> sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 8, "conv_dim": [8] * 7}
    >>> model = HubertModel(HubertConfig(num_hidden_layers=1, **sizes))
    >>> len(quantize_(model, "int8").layers)
    7
    """
    if form not in FORMS:
        raise ExportError(f"quantize_: found {form!r:.40}, wanted one of {', '.join(FORMS)}.")
    whole = as_own_model(model, "quantize_", "it is changed in place")
    _require_float(whole)
    graph = trace(whole)
    if not isinstance(whole, PreTrainedModel):
        raise ExportError(f"quantize_: found a {type(whole).__name__}, wanted a model of transformers.")
    require_finite(whole, "quantize_", NOT_FINITE)
    shortest = 1.5 * graph.receptive_field / 16_000
    tried = copy.deepcopy(whole).eval()
    inputs = [
        example(tried, max(seconds, shortest), rows, False, seed)
        for seed, (seconds, rows) in enumerate((s, r) for s in SECONDS for r in ROWS)
    ]
    called = called_linears(tried, lambda: _output(tried, inputs[0]))
    before = [_output(tried, each) for each in inputs]
    linears = [path for path, module in tried.named_modules() if isinstance(module, nn.Linear)]
    layers = tuple(path for path in linears if form == INT8 and path in called)
    change_(tried, form, layers)
    dtype = torch.bfloat16 if form == BFLOAT16 else torch.float32
    after = [_output(tried, {name: value.to(dtype) for name, value in each.items()}) for each in inputs]
    difference = _difference(before, after, form)
    change_(whole, form, layers)
    left = tuple(path for path in linears if form == INT8 and path not in called)
    return Quantized(form, layers, left, difference)


def _require_float(model: nn.Module) -> None:
    """Refuse a model that is not float32 on the CPU, or has integers already.

    Raises:
        ExportError: it is refused.
    """
    if has_int8(model):
        raise ExportError("quantize_: the model has int8 layers already. Load the float folder again.")
    found = {(parameter.device.type, parameter.dtype) for parameter in model.parameters()}
    odd = sorted(f"{device}, {dtype}" for device, dtype in found - {("cpu", torch.float32)})
    if odd:
        raise ExportError(
            f"quantize_: found parameters on {'; '.join(odd)}, wanted float32 on the CPU, where the integer "
            "kernels run. Call model.float().cpu() first."
        )


def _output(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(**inputs, return_dict=False)[0].float()
    return found


def _difference(before: list[torch.Tensor], after: list[torch.Tensor], form: str) -> Difference:
    """Return the difference relative to the largest value.

    Raises:
        ExportError: it is too large, or a value is not finite.
    """
    scales = [float(wanted.abs().max()) or 1.0 for wanted in before]
    pairs = zip(before, after, scales, strict=True)
    gaps = [(found - wanted).abs() / scale for wanted, found, scale in pairs]
    largest = max(float(gap.max()) for gap in gaps)
    if not largest <= OF_INT8:
        raise ExportError(
            f"quantize_: in {form} the outputs move by {largest:.1e} of the largest value (allowed: "
            f"{OF_INT8:g}), so the model was left as it is. Try the other form, or export it."
        )
    return Difference(largest, float(np.mean([float(gap.mean()) for gap in gaps])))
