"""What a run measures between two writes, kept where it was computed until somebody asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from segkit.utils.errors import SegkitError

# Steps in a row whose gradients overflow in fp16. Each halves the loss scale, from 65536: by then it is far below 1.
MAX_OVERFLOWS = 40


class DivergedError(SegkitError):
    """Losses were NaN or infinite.

    Attributes:
        count: in how many of the iterations since the last write.
    """

    def __init__(self, names: Sequence[str], count: int, iterations: int, iteration: int) -> None:
        super().__init__(
            f"training diverged: {', '.join(names)} became NaN or infinite, in {count} of the {iterations} iterations "
            f"up to iteration {iteration}"
        )
        self.count = count


class Metrics:
    """Means of the losses and totals of the counts since the last write, and the last value of everything else.

    Losses are added up on their device: nothing waits for the device until :meth:`read`, which makes one transfer.

    Args:
        allow_overflow: for fp16, where the scaler skips a step that overflows: such values are left out of the means. A
            loss is an error only when there is nothing else; a gradient norm alone after ``MAX_OVERFLOWS`` steps in a
            row, for a run begins with a few, by which the scaler finds its scale.
    Attributes:
        overflowed: of the steps since the last write, those whose gradients overflowed in fp16; as of the last look.
    """

    def __init__(self, *, allow_overflow: bool = False) -> None:
        self.allow_overflow = allow_overflow
        # A step's values are added together: [2, names], the sums of the finite ones and the numbers of the others.
        self._names: tuple[str, ...] = ()
        self._table: Tensor | None = None
        self._others: dict[str, Tensor] = {}  # [2] each, of names that the last step did not have
        self._counts: dict[str, int] = {}
        self._logged: dict[str, float | Tensor] = {}
        self._totals: dict[str, int] = {}
        self.overflowed = 0
        self._overflows = 0  # steps in a row whose gradients were not finite, up to the last write
        self._overflows_now = 0  # the same up to the last look

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Adds one step's scalars, which are on one device, to the means."""
        if tuple(values) != self._names:
            self._make_table(tuple(values))
        row = torch.stack([value.detach().float() for value in values.values()])
        finite = torch.isfinite(row)
        pairs = torch.stack([torch.where(finite, row, torch.zeros_like(row)), (~finite).float()])
        self._table = pairs if self._table is None else self._table + pairs
        for name in values:
            self._counts[name] = self._counts.get(name, 0) + 1

    def log(self, name: str, value: float | Tensor) -> None:
        """Keeps a value for the next write; a later value of that name takes its place."""
        self._logged[name] = value.detach() if isinstance(value, Tensor) else value

    def count(self, name: str, number: int) -> None:
        """Adds to a total since the last write, which is left out of the line while it is zero."""
        if number:
            self._totals[name] = self._totals.get(name, 0) + number

    def check(self, iteration: int) -> dict[str, float]:
        """The means so far, without forgetting them; what was never finite is left out.

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
            # Once the weights are NaN all losses are: what began it is what was NaN in the most iterations.
            worst = max(culprits.values())
            first = [name for name in culprits if culprits[name] == worst]
            parts = [name for name in first if name not in ("loss/total", "grad_norm")] or first
            raise DivergedError(parts, int(worst), max(self._counts.values()), iteration)
        return means

    def peek(self, iteration: int) -> dict[str, float]:
        """All values as numbers, without forgetting them. Raises as :meth:`check` does."""
        record = self.check(iteration)
        record.update(self._totals)
        record.update({name: float(value) for name, value in self._logged.items()})
        return record

    def clear(self) -> None:
        """A fresh start."""
        self._names, self._table, self._others = (), None, {}
        self._counts, self._logged, self._totals = {}, {}, {}
        self._overflows = self._overflows_now

    def read(self, iteration: int) -> dict[str, float]:
        """All values as numbers, and a fresh start. Raises as :meth:`check` does."""
        record = self.peek(iteration)
        self.clear()
        return record

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values: a resumed run writes the lines that an uninterrupted one would have."""
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
        """[2] for each name, in the order in which they came."""
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
