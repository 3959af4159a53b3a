"""Losses and counts between two lines of metrics, kept on their device until then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from segkit.utils.errors import SegkitError

# Steps in a row whose gradients overflow in fp16. Each halves the loss scale, from 65536 to far below 1.
MAX_OVERFLOWS = 40


class DivergedError(SegkitError):
    """Losses were NaN or infinite.

    Attributes:
        count: number of such iterations since the last line.
    """

    def __init__(self, names: Sequence[str], count: int, iterations: int, iteration: int) -> None:
        super().__init__(
            f"training diverged: {', '.join(names)} became NaN or infinite, in {count} of the {iterations} iterations "
            f"up to iteration {iteration}"
        )
        self.count = count


class Metrics:
    """Accumulates the next line: means of losses, totals of counts, last values of the rest.

    Of everything else the last value counts. Losses are summed on their device. Nothing waits for the device until
    :meth:`check`, which makes one transfer.

    Args:
        allow_overflow: for fp16, whose scaler skips steps that overflow. The means skip them, too. A loss is an error
            only if it was never finite; a gradient norm alone only after ``MAX_OVERFLOWS`` steps in a row, because a run
            begins with a few, by which the scaler finds its scale.
    Attributes:
        overflowed: number of steps since the last line whose gradients overflowed in fp16, as of the last check.
    """

    def __init__(self, *, allow_overflow: bool = False) -> None:
        self.allow_overflow = allow_overflow
        # [2, names]: sums of the finite scalars, counts of the others.
        self._names: tuple[str, ...] = ()
        self._table: Tensor | None = None
        self._others: dict[str, Tensor] = {}  # [2] each, for names that the last step did not have
        self._counts: dict[str, int] = {}
        self._logged: dict[str, float | Tensor] = {}
        self._totals: dict[str, int] = {}
        self.overflowed = 0
        self._overflows = 0  # steps in a row whose gradients were not finite, up to the last line
        self._overflows_now = 0  # the same up to the last check

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        """Adds one step's scalars, which are on one device, to the means."""
        if tuple(scalars) != self._names:
            self._make_table(tuple(scalars))
        row = torch.stack([scalar.detach().float() for scalar in scalars.values()])
        finite = torch.isfinite(row)
        pairs = torch.stack([torch.where(finite, row, torch.zeros_like(row)), (~finite).float()])
        self._table = pairs if self._table is None else self._table + pairs
        for name in scalars:
            self._counts[name] = self._counts.get(name, 0) + 1

    def log(self, name: str, value: float | Tensor) -> None:
        """Sets a metric of the next line; a later value of the same name replaces it."""
        self._logged[name] = value.detach() if isinstance(value, Tensor) else value

    def count(self, name: str, count: int) -> None:
        """Adds to a total since the last line; the line has no total of zero."""
        if count:
            self._totals[name] = self._totals.get(name, 0) + count

    def check(self, iteration: int) -> dict[str, float]:
        """Returns the means so far and keeps them; skips losses that were never finite.

        Raises:
            DivergedError: a loss was NaN or infinite.
        """
        sums, self.overflowed = self._sums(), 0
        if not sums:
            return {}
        table = torch.stack(list(sums.values())).tolist()
        means: dict[str, float] = {}
        culprits: dict[str, float] = {}
        for name, (total, bad) in zip(sums, table, strict=True):
            count = self._counts[name]
            if name == "grad_norm":
                self.overflowed = int(bad) if self.allow_overflow else 0
                self._overflows_now = self._overflows + count if bad == count else 0
            if bad and not (self.allow_overflow and (bad < count or self._is_still_scaling(name))):
                culprits[name] = bad
            if bad < count:
                means[name] = total / (count - bad)
        if culprits:
            # NaN weights make all losses NaN, so the cause is the loss that was NaN in the most iterations.
            worst = max(culprits.values())
            first = [name for name in culprits if culprits[name] == worst]
            parts = [name for name in first if name not in ("loss/total", "grad_norm")] or first
            raise DivergedError(parts, int(worst), max(self._counts.values()), iteration)
        return means

    def peek(self, iteration: int) -> dict[str, float]:
        """Returns all metrics as floats and keeps them. Raises as :meth:`check` does."""
        record = self.check(iteration)
        record.update(self._totals)
        record.update({name: float(value) for name, value in self._logged.items()})
        return record

    def clear(self) -> None:
        """Forgets everything but the row of overflows."""
        self._names, self._table, self._others = (), None, {}
        self._counts, self._logged, self._totals = {}, {}, {}
        self._overflows = self._overflows_now

    def read(self, iteration: int) -> dict[str, float]:
        """Returns all metrics as floats and clears them. Raises as :meth:`check` does."""
        record = self.peek(iteration)
        self.clear()
        return record

    def state_dict(self) -> dict[str, Any]:
        """Returns the accumulated metrics: a resumed run writes the lines of an uninterrupted one."""
        return {
            "sums": {name: value.cpu() for name, value in self._sums().items()},
            "counts": dict(self._counts),
            "totals": dict(self._totals),
            "logged": {name: float(value) for name, value in self._logged.items()},
            "overflows": self._overflows,
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        self._names, self._table = (), None
        self._others = {name: value.to(device) for name, value in state["sums"].items()}
        self._counts = dict(state["counts"])
        self._totals = dict(state.get("totals", {}))  # older checkpoints have none
        self._logged = dict(state["logged"])
        self._overflows = self._overflows_now = state.get("overflows", 0)

    def _is_still_scaling(self, name: str) -> bool:
        return name == "grad_norm" and self._overflows_now <= MAX_OVERFLOWS

    def _sums(self) -> dict[str, Tensor]:
        """Returns [2] for each name, in the order of their first appearance."""
        sums = dict(self._others)
        if self._table is not None:
            sums.update(zip(self._names, self._table.unbind(1), strict=True))
        return {name: sums[name] for name in self._counts}

    def _make_table(self, names: tuple[str, ...]) -> None:
        """Makes ``names`` the columns, with their sums so far."""
        sums = self._sums()
        self._names, self._table = names, None
        if sums:
            zero = torch.zeros_like(next(iter(sums.values())))
            self._table = torch.stack([sums.pop(name, zero) for name in names], dim=1)
        self._others = sums
