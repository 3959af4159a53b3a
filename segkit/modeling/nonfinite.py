"""Values that are not finite: found where they would be dropped in silence, and traced to the layer they come from."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from segkit.utils.errors import SegkitError

Result = TypeVar("Result")


class NotFiniteError(SegkitError):
    """A prediction met NaN or infinity."""


class _Found(Exception):
    """Carries the first culprit out of the forward pass."""


def require_finite(what: str, *values: Tensor) -> None:
    """Raise a NotFiniteError where any of the tensors holds NaN or infinity: a comparison would drop such a box unseen.

    For predictions. It waits for the device once; while a graph is being captured there are no values to look at.
    """
    if torch.compiler.is_compiling():
        return
    if not bool(torch.stack([torch.isfinite(value).all() for value in values]).all()):
        raise NotFiniteError(f"{what} are NaN or infinite")


def run_or_name_culprit(model: nn.Module, run: Callable[[], Result]) -> Result:
    """``run()``; where it ends with a NotFiniteError, one that also names the layer."""
    try:
        return run()
    except NotFiniteError as error:
        culprit = first_not_finite(model, run) or "every layer's output is finite"
        raise NotFiniteError(
            f"{error}: {culprit}. Usual causes are weights of a training that diverged, float images that are not finite, "
            "and fp16 where bf16 or fp32 is needed"
        ) from error


@contextmanager
def naming_images(names: Sequence[str]) -> Iterator[None]:
    """A NotFiniteError in the block begins with the images' names."""
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(f"{', '.join(names)}: {error}") from error


def first_not_finite(model: nn.Module, run: Callable[[], object]) -> str | None:
    """Run once more with a look at each layer's output, and say in words where the first bad value came from.

    Args:
        model: whose layers are watched; its buffers (running statistics) are put back afterwards.
        run: does the forward pass.
    Returns:
        a clause with the layer's path, or None where all outputs were finite.
    """
    names = {module: name for name, module in model.named_modules()}
    own_thread = threading.get_ident()

    def look(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if threading.get_ident() != own_thread or all_finite(output):  # other threads may be predicting with the model
            return
        title = f"{names[module] or 'the model'} ({type(module).__name__})"
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        bad = [name for name, tensor in own if not all_finite(tensor)]
        if bad:
            raise _Found(f"the first layer whose output is not finite is {title}, and neither is its own {bad[0]}")
        inputs = list(tensors_in((args, kwargs)))
        if not all_finite(inputs):
            raise _Found(f"what comes into {title} is not finite, before any layer's output was not")
        reach = max((float(t.abs().max()) for t in inputs if t.numel()), default=0.0)
        kinds = "/".join(sorted({str(t.dtype).removeprefix("torch.") for t in tensors_in(output)}))
        raise _Found(
            f"the first layer whose output is not finite is {title}; its weights and its input are, the input up to "
            f"{reach:.3g}, the output is {kinds}"
        )

    buffers = [(buffer, buffer.clone()) for buffer in model.buffers() if is_writable(buffer)]
    handles = [module.register_forward_hook(look, with_kwargs=True) for module in model.modules()]
    try:
        with torch.no_grad():
            run()
    except _Found as found:
        return str(found)
    except NotFiniteError:
        return None  # it came about between the layers
    finally:
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    return None


def not_finite_state(model: nn.Module) -> list[str]:
    """Names of the parameters that hold NaN or infinity."""
    return [name for name, parameter in model.named_parameters() if not all_finite(parameter)]


def not_finite_buffers(model: nn.Module) -> list[str]:
    """Names of the buffers that hold NaN or infinity: running statistics, or constants as a mask of minus infinity."""
    return [name for name, buffer in model.named_buffers(remove_duplicate=False) if not all_finite(buffer)]


def all_finite(value: object) -> bool:
    """Whether no floating-point or complex tensor anywhere in ``value`` holds NaN or infinity."""
    return all(bool(finite_values(tensor).all()) for tensor in tensors_in(value))


def finite_values(tensor: Tensor) -> Tensor:
    """``torch.isfinite`` for all dtypes and layouts: bool, of the tensor's shape; of a sparse one's values alone."""
    if tensor.layout != torch.strided:
        tensor = tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor.values()
    if (
        tensor.is_floating_point() and tensor.element_size() == 1
    ):  # float8, of which torch.isfinite knows some formats only
        tensor = tensor.float()
    return torch.isfinite(tensor)


def is_writable(buffer: Tensor) -> bool:
    """Whether torch can copy values into it: not into one that is expanded, whose elements lie on each other."""
    if buffer.layout != torch.strided or buffer.is_quantized:
        return False
    return 0 not in [step for step, size in zip(buffer.stride(), buffer.shape, strict=True) if size > 1]


def tensors_in(value: object) -> Iterator[Tensor]:
    """The floating-point and complex tensors in nested mappings, sequences and dataclasses."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            yield value.detach()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))
