"""A pretended CUDA device: tensors that say cuda:0, compute on the CPU, and refuse what CUDA would refuse.

`PretendedDevice` is a context. Inside it `device="cuda"` gives such tensors. An operation that mixes them
with tensors of the CPU raises as on CUDA. Launches, copies over the border, and reads for which the host
waits are counted with the line of Python that caused them.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")
VIEWS = frozenset(
    [
        "view",
        "t",
        "transpose",
        "permute",
        "expand",
        "unsqueeze",
        "squeeze",
        "slice",
        "select",
        "as_strided",
        "detach",
        "alias",
        "unbind",
        "split",
        "split_with_sizes",
        "chunk",
        "_unsafe_view",
        "_reshape_alias",
        "unfold",
        "diagonal",
        "view_as",
        "lift_fresh",
        "narrow",
        "empty",
        "empty_like",
        "new_empty",
        "empty_strided",
        "new_empty_strided",
        "resize_",
        "set_",
        "_fused_sdp_choice",
    ]
)
"""Operations that launch no kernel."""
WAITS = frozenset(
    [
        "nonzero",
        "masked_select",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "equal",
        "is_nonzero",
        "nonzero_static",
    ]
)
"""Operations whose result has a size, or is a value, that the host must wait for."""
COPIES = frozenset(("_to_copy", "to", "copy_", "_copy_from"))
INDEXING = frozenset(("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"))
STRICT = frozenset(("cat", "stack", "index_select", "gather", "index_add", "scatter"))
"""Operations that refuse even a CPU tensor without dimensions."""

LOW_PRECISION = frozenset(
    [
        "linear",
        "conv1d",
        "conv2d",
        "matmul",
        "__matmul__",
        "__rmatmul__",
        "mm",
        "bmm",
        "addmm",
        "baddbmm",
        "einsum",
        "scaled_dot_product_attention",
    ]
)
FULL_PRECISION = frozenset(
    [
        "layer_norm",
        "group_norm",
        "softmax",
        "log_softmax",
        "logsigmoid",
        "norm",
        "sum",
        "mean",
        "prod",
        "cumsum",
        "exp",
        "log",
        "pow",
        "rsqrt",
        "cosine_similarity",
        "kl_div",
        "l1_loss",
        "mse_loss",
        "cross_entropy",
        "nll_loss",
    ]
)
"""Calls that autocast does in half precision, and in float32."""


class Counted:
    """The counts of a pretended device; every key is (operation, file:line)."""

    def __init__(self) -> None:
        self.launches, self.waits, self.copies = (Counter[tuple[str, str]]() for _ in range(3))

    def clear(self) -> None:
        """Count from zero again."""
        for each in (self.launches, self.waits, self.copies):
            each.clear()

    def crossings(self, within: str = "") -> Counter[tuple[str, str]]:
        """Return waits and copies whose line is in files of this part of the path."""
        return Counter({key: n for key, n in (self.waits + self.copies).items() if within in key[1]})


COUNTED = Counted()


def line_of_caller() -> str:
    """Return the innermost line of Python outside of torch and of this file, as `folder/file.py:number`."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if "/torch/" not in path and path != __file__:
            *_, folder, file = path.split("/")
            ours = "prune_ssl/" if "/prune_ssl/" in path and "site-packages" not in path else ""
            return f"{ours}{folder}/{file}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


class PretendedTensor(torch.Tensor):
    """A tensor that says cuda:0; `value` has its numbers, on the CPU."""

    value: torch.Tensor

    @staticmethod
    def __new__(cls, value: torch.Tensor) -> "PretendedTensor":
        """Wrap a CPU tensor, whose memory is shared."""
        # A real device would ask for its streams in the backward pass; meta has none. The backend's keys are
        # those of CUDA, so that autocast casts.
        shape = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
        make: Any = torch.Tensor._make_subclass
        made: PretendedTensor = make(cls, shape, False, device_for_backend_keys=CUDA)
        made.value = value
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})

    @property
    def data(self) -> torch.Tensor:
        """The tensor without its history."""
        return self.detach()

    @data.setter
    def data(self, other: torch.Tensor) -> None:
        assert isinstance(other, PretendedTensor), "set_data from the CPU is not pretended"
        self.value = other.value

    def __getitem__(self, key: Any) -> torch.Tensor:
        return torch.Tensor.__getitem__(self, _on_device(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        torch.Tensor.__setitem__(self, _on_device(key), value)

    def new_tensor(self, data: Any, **kwargs: Any) -> torch.Tensor:
        """Return a tensor of new data on the same device."""
        return torch.tensor(data, **{"dtype": self.dtype, "device": CUDA, **kwargs})

    def tolist(self) -> Any:
        """Return the numbers; the host waits."""
        COUNTED.waits["tolist", line_of_caller()] += 1
        return self.value.tolist()

    def numpy(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse, as CUDA does."""
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it first."
        )

    __array__ = numpy

    def __repr__(self, **_kwargs: Any) -> str:
        return f"PretendedTensor({tuple(self.value.shape)}, {self.value.dtype})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            new: torch.Tensor = PretendedTensor(self.value.detach().clone())
            parameter = isinstance(self, nn.Parameter)
            memo[id(self)] = nn.Parameter(new, self.requires_grad) if parameter else new
            memo[id(self)].requires_grad_(self.requires_grad)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.value.detach().__reduce_ex__(protocol)

    def untyped_storage(self) -> torch.UntypedStorage:
        """Return the memory."""
        return self.value.untyped_storage()

    def data_ptr(self) -> int:
        """Return the address."""
        return self.value.data_ptr()


def _on_device(key: Any) -> Any:
    """Return an index with its lists as tensors: torch copies them to the device."""
    if isinstance(key, tuple):
        return tuple(map(_on_device, key))
    if isinstance(key, list):
        dtype = torch.bool if key and isinstance(key[0], bool) else torch.long
        return torch.tensor(key, dtype=dtype, device=CUDA)
    return key


def tensors_of(tree: object) -> list[torch.Tensor]:
    """Return the tensors in arguments."""
    return [each for each in pytree.tree_leaves(tree) if isinstance(each, torch.Tensor)]


def _device_argument(args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.device | None:
    found = kwargs.get("device")
    if found is None:
        found = next((each for each in args if isinstance(each, torch.device)), None)
    return None if found is None else torch.device(found)


def _numbered(argument: Any) -> Any:
    """Return cuda:0 for a CUDA device without a number, for which torch would ask the driver."""
    return CUDA if isinstance(argument, str | torch.device) and str(argument) == "cuda" else argument


def _autocast(name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Cast the arguments of a call from Python as autocast would.

    That of torch looks at the device that C++ knows.
    """
    low, dtype = name in LOW_PRECISION, torch.get_autocast_dtype("cuda")
    if not low and name not in FULL_PRECISION:
        return args, kwargs

    def cast(each: Any) -> Any:
        half = isinstance(each, PretendedTensor) and each.dtype in (
            torch.float16,
            torch.bfloat16,
            torch.float32,
        )
        return each.to(dtype if low else torch.float32) if half else each

    return pytree.tree_map(cast, args), pytree.tree_map(cast, kwargs)


class _Called(TorchFunctionMode):
    """Notes of each call from Python whether it names the meta device, or has pretended tensors.

    C++ takes pretended tensors for meta tensors, and asks for new ones on the meta device.
    """

    meta = False
    pretended = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        before = _Called.meta, _Called.pretended
        args, kwargs = (
            tuple(map(_numbered, args)),
            {key: _numbered(each) for key, each in (kwargs or {}).items()},
        )
        given = (*args, *kwargs.values())
        _Called.meta = any(str(each) == "meta" for each in given if isinstance(each, str | torch.device))
        _Called.pretended = any(isinstance(each, PretendedTensor) for each in pytree.tree_leaves(given))
        if _Called.pretended and torch.is_autocast_enabled("cuda"):
            args, kwargs = _autocast(getattr(func, "__name__", ""), args, kwargs)
        try:
            return func(*args, **kwargs)
        finally:
            _Called.meta, _Called.pretended = before


def dispatch(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Do one operation of torch on the CPU, as if it were on the devices that its tensors say."""
    name = func._schema.name.split("::")[-1]
    flat = tensors_of((args, kwargs))
    pretended = [each for each in flat if isinstance(each, PretendedTensor)]
    asked = _device_argument(args, kwargs)
    if asked is not None and asked.type == "meta" and not _Called.meta and (pretended or _Called.pretended):
        asked = CUDA
    if not pretended and (asked is None or asked.type != "cuda"):
        return func(*args, **kwargs)
    if name == "_fused_sdp_choice":
        return 0
    if asked is not None and asked.type == "meta":
        return func(*pytree.tree_map(_value, tuple(args)), **pytree.tree_map(_value, dict(kwargs)))
    to_device = asked.type == "cuda" if asked is not None else True
    if name in COPIES:
        _count_copy(name, args, to_device)
    else:
        _check_and_count(func, name, args, flat, kwargs)
    return _run(func, name, args, kwargs, asked if to_device else None)


def _value(argument: Any) -> Any:
    return argument.value if isinstance(argument, PretendedTensor) else argument


def _count_copy(name: str, args: Sequence[Any], to_device: bool) -> None:
    source = args[1] if name == "copy_" else args[0]
    target_there = isinstance(args[0], PretendedTensor) if name == "copy_" else to_device
    source_there = isinstance(source, PretendedTensor)
    if source_there and target_there:
        COUNTED.launches[name, line_of_caller()] += 1
    elif source_there:
        COUNTED.waits["copy to the CPU", line_of_caller()] += 1
    else:
        COUNTED.copies["copy to the device", line_of_caller()] += 1


def _check_and_count(
    func: Any, name: str, args: Sequence[Any], flat: Sequence[torch.Tensor], kwargs: Mapping[str, Any]
) -> None:
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type == "cpu":
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    cpu = [each for each in flat if not isinstance(each, PretendedTensor) and each.device.type == "cpu"]
    if name in INDEXING and isinstance(args[0], PretendedTensor):
        indices = list(tensors_of(args[1]))
        for each in indices:
            if not isinstance(each, PretendedTensor):
                COUNTED.copies["index of the CPU", line_of_caller()] += 1
                cpu = [other for other in cpu if other is not each]
            if each.dtype in (torch.bool, torch.uint8) and "put" not in name:
                COUNTED.waits["index by a mask", line_of_caller()] += 1
    if any(each.dim() or name in STRICT for each in cpu):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"({func}, {line_of_caller()})"
        )
    sized = name != "repeat_interleave" or kwargs.get("output_size") is not None or len(flat) < 2
    if name in WAITS or name == "_local_scalar_dense" or not sized:
        COUNTED.waits[name, line_of_caller()] += 1
    if name not in VIEWS and name != "_local_scalar_dense":
        COUNTED.launches[name, line_of_caller()] += 1


def _run(func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], asked: Any) -> Any:
    """Call `func` with the values of pretended tensors, and pretend for what is new."""
    known: dict[int, torch.Tensor] = {}

    def bare(each: Any) -> Any:
        if isinstance(each, PretendedTensor):
            known[id(each.value)] = each
            return each.value
        if isinstance(each, torch.Tensor):
            known[id(each)] = each
        return CPU if isinstance(each, torch.device) else each

    bare_args, bare_kwargs = pytree.tree_map(bare, (tuple(args), dict(kwargs)))
    if bare_kwargs.get("pin_memory"):
        bare_kwargs["pin_memory"] = False
    found = func(*bare_args, **bare_kwargs)
    to_cpu = name in COPIES and asked is None and _device_argument(args, kwargs) is not None

    def pretend(each: Any) -> Any:
        if not isinstance(each, torch.Tensor) or isinstance(each, PretendedTensor):
            return each
        if to_cpu:
            return each
        there = known.get(id(each))
        if there is None:
            return PretendedTensor(each)
        moved = name == "to" and not isinstance(there, PretendedTensor)
        return PretendedTensor(each.clone()) if moved else there

    return pytree.tree_map(pretend, found)


class PretendedDevice(TorchDispatchMode):
    """A context in which `device="cuda"` gives pretended tensors; `counted` has what they did."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = COUNTED
        self._called = _Called()

    def __enter__(self) -> "PretendedDevice":
        self._called.__enter__()
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._called.__exit__(kind, error, trace)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})
