"""Every key of a configuration: its type, its default and what it means. The large sections have a file each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from segkit.config.data_section import DataConfig, SplitConfig
from segkit.config.help import Help
from segkit.config.nodes import Node
from segkit.config.overrides import apply_overrides, apply_values
from segkit.config.solver_section import SolverConfig
from segkit.config.spec import Spec, to_plain
from segkit.config.specs import Resolver
from segkit.config.train_section import EarlyStoppingConfig, TrainConfig
from segkit.config.typecheck import Bounds
from segkit.config.yaml_reader import write_yaml
from segkit.registry import EVALUATOR_REGISTRY, HOOK_REGISTRY, META_ARCH_REGISTRY, Slot, SlotList

__all__ = [
    "Config",
    "DataConfig",
    "EarlyStoppingConfig",
    "Help",
    "PredictConfig",
    "SolverConfig",
    "SplitConfig",
    "TrainConfig",
    "resolve",
    "section_to_dict",
]


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """``predict``: what is drawn and submitted; evaluation uses the model's own threshold."""

    score_threshold: Annotated[float, Bounds(0, 1), Help("detections below this score are not shown or submitted")] = (
        0.5
    )


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole configuration, checked, with all defaults filled in."""

    output_dir: Annotated[str, Help("the run's folder; made where it does not exist")] = "output"
    imports: Annotated[
        tuple[str, ...],
        Help("modules imported first, so that their components register; those of base files are added"),
    ] = ()
    imports_from: Annotated[
        tuple[str, ...],
        Help("folders searched for imports, after the config's and the current one; filled in when found"),
    ] = ()
    model: Annotated[
        Spec, Slot(META_ARCH_REGISTRY), Help("the model: {name: GeneralizedRCNN, backbone: {name: ...}, ...}")
    ]
    data: Annotated[DataConfig, Help("what is read, how it is transformed and batched")]
    solver: Annotated[SolverConfig, Help("how the weights move")] = field(default_factory=SolverConfig)
    train: Annotated[TrainConfig, Help("the run")] = field(default_factory=TrainConfig)
    predict: Annotated[PredictConfig, Help("what is drawn and submitted")] = field(default_factory=PredictConfig)
    hooks: Annotated[tuple[Spec, ...], SlotList(HOOK_REGISTRY), Help("hooks beside the default ones")] = ()
    evaluators: Annotated[tuple[Spec, ...], SlotList(EVALUATOR_REGISTRY), Help("what measures the validation")] = field(
        default_factory=lambda: (Spec(name="COCO"),)
    )
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False, metadata={"key": False})

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values, for a checkpoint; :func:`segkit.config.load_config_dict` reads it back."""
        return section_to_dict(self)

    def to_yaml(self) -> str:
        """The configuration as YAML, which loads to an equal one from anywhere."""
        return write_yaml(self.to_dict())

    def with_overrides(self, overrides: Iterable[str]) -> Config:
        """A copy with ``KEY VALUE`` or ``KEY=VALUE`` applied, checked anew."""
        return resolve(apply_overrides(self._tree(), overrides))

    def with_values(self, values: Mapping[str, Any], origin: str = "program") -> Config:
        """A copy with plain values set by key path, as ``{"data.classes": ["a", "b"]}``, checked anew."""
        return resolve(apply_values(self._tree(), {key: Node.of(to_plain(v), origin) for key, v in values.items()}))

    def _tree(self) -> Node:
        return Node.of(self.to_dict(), "config", self.origins)


def resolve(tree: Node) -> Config:
    """The checked configuration of a merged tree."""
    resolver = Resolver(Config, tree)
    cfg = resolver.section(Config, tree)
    return dataclasses.replace(cfg, origins=resolver.origins)


def section_to_dict(section: Any) -> dict[str, Any]:
    """A section's keys as plain values, sections inside included."""
    values = {f.name: getattr(section, f.name) for f in dataclasses.fields(section) if f.metadata.get("key", True)}
    return {k: section_to_dict(v) if _is_section(v) else to_plain(v) for k, v in values.items()}


def _is_section(value: Any) -> bool:
    return isinstance(value, (DataConfig, SplitConfig, SolverConfig, EarlyStoppingConfig, TrainConfig, PredictConfig))
