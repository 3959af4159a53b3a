"""Finds NaN and infinity in predictions and names the layer that they come from."""

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
    """A prediction contains NaN or infinity."""


class _Found(Exception):
    """Carries the first faulty layer out of the forward pass."""


def require_finite(what: str, *values: Tensor) -> None:
    """Raises a NotFiniteError if any of the tensors contains NaN or infinity.

    For predictions, whose comparisons with a threshold would drop such a box silently. Synchronises with the device once.
    Does nothing while torch.compile captures a graph, which has no values.

    Args:
        what: subject of the message, plural.
        *values: floating-point tensors.
    """
    if torch.compiler.is_compiling():
        return
    if not bool(torch.stack([torch.isfinite(value).all() for value in values]).all()):
        raise NotFiniteError(f"{what} are NaN or infinite")


def run_or_name_culprit(model: nn.Module, run: Callable[[], Result]) -> Result:
    """Returns ``run()``; adds the name of the faulty layer to its NotFiniteError."""
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
    """Context that puts the images' names in front of the message of a NotFiniteError."""
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(f"{', '.join(names)}: {error}") from error


def first_not_finite(model: nn.Module, run: Callable[[], object]) -> str | None:
    """Repeats a forward pass and describes the first layer whose output is not finite.

    Args:
        model: whose layers are checked; its buffers (running statistics) are restored afterwards.
        run: the forward pass.
    Returns:
        a clause with the layer's path, or None if all outputs were finite.
    """
    names = {module: name for name, module in model.named_modules()}
    own_thread = threading.get_ident()

    def check(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if threading.get_ident() != own_thread or all_finite(output):  # other threads may use the model
            return
        title = f"{names[module] or 'the model'} ({type(module).__name__})"
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        bad = [name for name, tensor in own if not all_finite(tensor)]
        if bad:
            raise _Found(f"the first layer whose output is not finite is {title}, and neither is its own {bad[0]}")
        inputs = list(tensors_in((args, kwargs)))
        if not all_finite(inputs):
            raise _Found(f"the input of {title} is not finite, although all earlier layers' outputs are")
        reach = max((float(t.abs().max()) for t in inputs if t.numel()), default=0.0)
        kinds = "/".join(sorted({str(t.dtype).removeprefix("torch.") for t in tensors_in(output)}))
        raise _Found(
            f"the first layer whose output is not finite is {title}; its weights and its input are, the input up to "
            f"{reach:.3g}, the output is {kinds}"
        )

    buffers = [(buffer, buffer.clone()) for buffer in model.buffers() if is_writable(buffer)]
    handles = [module.register_forward_hook(check, with_kwargs=True) for module in model.modules()]
    try:
        with torch.no_grad():
            run()
    except _Found as found:
        return str(found)
    except NotFiniteError:
        return None  # it arose between the layers
    finally:
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    return None


def not_finite_state(model: nn.Module) -> list[str]:
    """Names of the parameters that contain NaN or infinity."""
    return [name for name, parameter in model.named_parameters() if not all_finite(parameter)]


def not_finite_buffers(model: nn.Module) -> list[str]:
    """Names of the buffers that contain NaN or infinity; an attention mask may by design."""
    return [name for name, buffer in model.named_buffers(remove_duplicate=False) if not all_finite(buffer)]


def all_finite(value: object) -> bool:
    """Whether all floating-point and complex tensors anywhere in ``value`` are finite."""
    return all(bool(finite_values(tensor).all()) for tensor in tensors_in(value))


def finite_values(tensor: Tensor) -> Tensor:
    """``torch.isfinite`` for all dtypes and layouts; for a sparse tensor, of its stored values."""
    if tensor.layout != torch.strided:
        tensor = tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor.values()
    if tensor.is_floating_point() and tensor.element_size() == 1:  # torch.isfinite does not support all float8 formats
        tensor = tensor.float()
    return torch.isfinite(tensor)


def is_writable(buffer: Tensor) -> bool:
    """Whether torch can copy values into a buffer; not if its elements share memory."""
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
