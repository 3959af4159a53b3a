"""Exponential moving average (EMA) of the weights, which often predicts better than they do."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from segkit.engine.signals import delayed_interrupt
from segkit.utils import distributed
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


class EMA:
    """The exponential moving average of a model's trainable parameters.

    After step n (from 0) the average is ``d * average + (1 - d) * weights``, with ``d = min(decay, (1 + n) / (10 + n))``:
    the early weights, which are far from the final ones, are forgotten faster. Frozen parameters and buffers are the
    model's own; running statistics are averages already.

    Args:
        model: on its device, with the weights that the average starts from.
        decay: above 0 and below 1; 0.999 averages over about the last thousand steps.
    Attributes:
        steps: number of steps averaged.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise SegkitError(f"the decay of the EMA of the weights is above 0 and below 1, not {decay}")
        self.decay = decay
        self._model = model
        self._parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._in_use = False
        self.restart()

    @torch.no_grad()
    def update(self, taken: Tensor | None = None) -> None:
        """Adds the current weights, after an optimizer step.

        Args:
            taken: bool scalar on the device, whether fp16's scaler has taken the step, which only the device knows yet;
                None: it has. A step that was not taken leaves the average, and counts for the rise of the decay only.
        """
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        if taken is None:
            torch._foreach_lerp_(self._average, self._parameters, weight)
            return
        change = torch._foreach_sub(self._parameters, self._average)
        torch._foreach_mul_(change, taken.float() * weight)
        torch._foreach_add_(self._average, list(change))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Context in which the model has the average as weights; exchanges tensors, copies none."""
        try:
            self._exchange()  # inside the try: a delayed Ctrl-C is raised here
            yield
        finally:
            if self._in_use:
                self._exchange()

    def restart(self) -> None:
        """Starts from the model's current weights."""
        self._average = [p.detach().clone() for p in self._parameters]
        self.steps = 0

    def broadcast(self) -> None:
        """Copies the first process's average to all processes."""
        distributed.broadcast_tensors(self._average)

    def model_state(self) -> dict[str, Tensor]:
        """Returns the model's state dict with the average as weights."""
        assert not self._in_use, "weights and average are exchanged"
        return {**self._model.state_dict(), **self._by_name(self._average)}

    def state_dict(self) -> dict[str, Any]:
        """Returns ``steps`` and the trained ``weights``, to be saved with :meth:`model_state`."""
        return {"steps": self.steps, "weights": self._by_name([p.detach() for p in self._parameters])}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`state_dict`, after the model has loaded the average."""
        self.restart()
        self.steps = int(state["steps"])
        load_weights(self._model, state["weights"])

    @torch.no_grad()
    def _exchange(self) -> None:
        with delayed_interrupt():
            self._in_use = not self._in_use
            for i, parameter in enumerate(self._parameters):
                parameter.data, self._average[i] = self._average[i], parameter.data

    def _by_name(self, tensors: list[Tensor]) -> dict[str, Tensor]:
        """Returns ``tensors``, one for each trainable parameter, by state dict name; shared parameters have several."""
        of = {id(p): tensor for p, tensor in zip(self._parameters, tensors, strict=True)}
        return {n: of[id(p)] for n, p in self._model.named_parameters(remove_duplicate=False) if id(p) in of}


def restore_ema(model: nn.Module, ema: EMA | None, state: Mapping[str, Any] | None) -> None:
    """Restores weights and average, after a checkpoint's ``model`` has been loaded.

    Args:
        ema: the current run's average; None: it has none.
        state: the checkpoint's ``ema``; None: the run had no EMA.
    """
    if state is not None and ema is not None:
        ema.load_state_dict(state)
    elif state is not None:
        logger.warning("train.ema_decay is null now: the EMA of the weights ends, and the weights train on")
        load_weights(model, state["weights"])
    elif ema is not None:
        logger.warning("train.ema_decay is new: the EMA of the weights starts from those of the checkpoint")
        ema.restart()


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Sets some of the model's parameters, by name."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)
