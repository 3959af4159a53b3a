"""Rules for the learning rate, weight decay and freezing of some of a model's parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from segkit.utils.errors import did_you_mean


@dataclass(frozen=True)
class ParameterRule:
    """An item of ``solver.parameters``: ``{match: "backbone.*", lr_factor: 0.1}``.

    Attributes:
        match: shell pattern of parameter names; a layer's name alone matches all parameters in it.
        lr_factor: factor of the optimizer's learning rate; None: 1.
        weight_decay: replaces the optimizer's; None: keeps it.
        freeze: whether the parameters do not train.
    """

    match: str
    lr_factor: float | None = None
    weight_decay: float | None = None
    freeze: bool = False

    def __post_init__(self) -> None:
        for name in ("lr_factor", "weight_decay"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and 0 <= value < math.inf):
                raise ValueError(f"'{name}' must be a number of at least 0")
        if not isinstance(self.match, str) or not self.match:
            raise ValueError("'match' must be a pattern of parameter names, as 'backbone.*'")
        if not isinstance(self.freeze, bool):
            raise ValueError("'freeze' must be true or false")
        if self.freeze == (self.lr_factor is not None or self.weight_decay is not None):
            raise ValueError("a rule sets 'lr_factor' or 'weight_decay' or both, or else 'freeze: true'")

    @classmethod
    def from_plain(cls, value: object) -> ParameterRule:
        """Reads a mapping with these keys; raises ValueError for anything else."""
        if isinstance(value, ParameterRule):
            return value
        if not isinstance(value, Mapping) or "match" not in value:
            raise ValueError(
                "expected {match: PATTERN, lr_factor: NUMBER, weight_decay: NUMBER} or {match: PATTERN, freeze: true}"
            )
        known = [f.name for f in fields(cls)]
        for key in value:
            if key not in known:
                raise ValueError(f"a parameter rule has no key '{key}'{did_you_mean(str(key), known)}")
        return cls(**value)

    def to_plain(self) -> dict[str, Any]:
        """Returns a mapping that :meth:`from_plain` reads back equal."""
        return {key: value for key, value in asdict(self).items() if value is not None and value is not False}
