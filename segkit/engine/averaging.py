"""A moving average of the weights (EMA), which is often better, and steadier, than the weights themselves."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from segkit.engine.interrupt import delayed_interrupt
from segkit.utils import distributed
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


class AveragedWeights:
    """The exponential moving average of the parameters that train.

    After step n (from 0) the average is ``d * average + (1 - d) * weights``, with ``d = min(decay, (1 + n) / (10 + n))``:
    at the start, when the weights are far from what they will be, it forgets faster. What does not train, and buffers
    (running statistics are averages already), are the model's own.

    Args:
        model: on its device, with the weights that the average starts from.
        decay: above 0 and below 1; 0.999 averages over about the last thousand steps.
    Attributes:
        steps: how many have been averaged.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise SegkitError(f"the decay of averaged weights is above 0 and below 1, not {decay}")
        self.decay = decay
        self._model = model
        self._parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._in_use = False
        self.restart()

    @torch.no_grad()
    def update(self, taken: Tensor | None = None) -> None:
        """After an optimizer's step.

        Args:
            taken: bool scalar on the device: whether fp16's scaler let the step happen, which only the device knows yet;
                None: it did. A step that did not happen changes no weight, and counts for the decay's rise alone.
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
        """The model has the averaged weights in here, and its own afterwards. Nothing is copied."""
        try:
            self._exchange()  # inside: a Ctrl-C that it held back is raised here
            yield
        finally:
            if self._in_use:
                self._exchange()

    def restart(self) -> None:
        """Starts from the weights that the model has now."""
        self._average = [p.detach().clone() for p in self._parameters]
        self.steps = 0

    def share(self) -> None:
        """Gives every process the first one's average."""
        distributed.broadcast_tensors(self._average)

    def model_state(self) -> dict[str, Tensor]:
        """The model's state dict with the averaged weights."""
        assert not self._in_use, "the two are exchanged"
        return {**self._model.state_dict(), **self._named(self._average)}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs beside :meth:`model_state` to go on: ``steps``, and the ``weights`` themselves."""
        return {"steps": self.steps, "weights": self._named([p.detach() for p in self._parameters])}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What :meth:`state_dict` gave, for a model that has just been given the averaged weights."""
        self.restart()
        self.steps = int(state["steps"])
        load_weights(self._model, state["weights"])

    @torch.no_grad()
    def _exchange(self) -> None:
        with delayed_interrupt():
            self._in_use = not self._in_use
            for i, parameter in enumerate(self._parameters):
                parameter.data, self._average[i] = self._average[i], parameter.data

    def _named(self, values: list[Tensor]) -> dict[str, Tensor]:
        """``values``, one a parameter that trains, by the names in the state dict; a shared parameter has several."""
        of = {id(p): value for p, value in zip(self._parameters, values, strict=True)}
        return {n: of[id(p)] for n, p in self._model.named_parameters(remove_duplicate=False) if id(p) in of}


def restore_average(model: nn.Module, averaged: AveragedWeights | None, state: Mapping[str, Any] | None) -> None:
    """Puts weights and average back, where a checkpoint's ``model`` has just been loaded.

    Args:
        averaged: the present run's average, where it has one.
        state: the checkpoint's ``averaged``; None: that run had none.
    """
    if state is not None and averaged is not None:
        averaged.load_state_dict(state)
    elif state is not None:
        logger.warning("train.ema_decay is null now: the average of the weights ends, and they train on")
        load_weights(model, state["weights"])
    elif averaged is not None:
        logger.warning("train.ema_decay is new: the average of the weights starts from those of the checkpoint")
        averaged.restart()


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Gives some of the model's parameters other values, by name."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)
