"""Every key of a configuration: type, default, meaning; see also ``*_section.py``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from segkit.config.commented_yaml import write_commented_yaml
from segkit.config.data_section import DataConfig, PlanesConfig, SplitConfig
from segkit.config.help import Help
from segkit.config.nodes import Node
from segkit.config.overrides import apply_overrides, apply_values
from segkit.config.predict_section import PredictConfig
from segkit.config.solver_section import SolverConfig
from segkit.config.spec import Spec, to_plain
from segkit.config.specs import Resolver
from segkit.config.train_section import EarlyStoppingConfig, TrainConfig
from segkit.config.yaml_reader import write_yaml
from segkit.registry import EVALUATOR_REGISTRY, HOOK_REGISTRY, META_ARCH_REGISTRY, WRITER_REGISTRY, Slot, SlotList

__all__ = [
    "Config",
    "DataConfig",
    "EarlyStoppingConfig",
    "Help",
    "PlanesConfig",
    "PredictConfig",
    "SolverConfig",
    "SplitConfig",
    "TrainConfig",
    "resolve",
    "section_to_dict",
]


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole configuration, checked and with all defaults filled in; it cannot be changed."""

    output_dir: Annotated[str, Help("folder of the run; created if it does not exist")] = "output"
    imports: Annotated[
        tuple[str, ...],
        Help("Python modules imported first, so that their components register; those of base files are added"),
    ] = ()
    imports_from: Annotated[
        tuple[str, ...],
        Help("folders searched for imports, after the config's and the current one; the saved config has those used"),
    ] = ()
    model: Annotated[
        Spec, Slot(META_ARCH_REGISTRY), Help("the model: {name: GeneralizedRCNN, backbone: {name: ...}, ...}")
    ]
    data: Annotated[DataConfig, Help("data sets, their transforms and batches")]
    solver: Annotated[SolverConfig, Help("optimizer, learning rates and gradient clipping")] = field(
        default_factory=SolverConfig
    )
    train: Annotated[TrainConfig, Help("length, precision, evaluation and checkpoints of the run")] = field(
        default_factory=TrainConfig
    )
    predict: Annotated[PredictConfig, Help("tiles, test-time augmentation, post-processing, lowest score")] = field(
        default_factory=PredictConfig
    )
    hooks: Annotated[tuple[Spec, ...], SlotList(HOOK_REGISTRY), Help("hooks in addition to the default ones")] = ()
    evaluators: Annotated[tuple[Spec, ...], SlotList(EVALUATOR_REGISTRY), Help("evaluators of the validation data")] = (
        field(default_factory=lambda: (Spec(name="COCO"), Spec(name="PrecisionRecall")))
    )
    writers: Annotated[
        tuple[Spec, ...],
        SlotList(WRITER_REGISTRY),
        Help("writers in addition to the default ones, as [{name: WandB, project: cells}]"),
    ] = ()
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False, metadata={"key": False})
    # Reasons for values, by key path (see segkit.suggest_config); to_yaml writes them, copies with other values lack them.
    comments: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False, metadata={"key": False})

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, which :func:`segkit.config.load_config_dict` reads back."""
        return section_to_dict(self)

    def to_yaml(self) -> str:
        """Returns YAML that loads to an equal configuration from any folder, with the comments."""
        return write_commented_yaml(self.to_dict(), self.comments) if self.comments else write_yaml(self.to_dict())

    def with_overrides(self, overrides: Iterable[str]) -> Config:
        """Returns a checked copy with ``KEY VALUE`` or ``KEY=VALUE`` applied."""
        return resolve(apply_overrides(self._tree(), overrides))

    def with_values(self, values: Mapping[str, Any], origin: str = "program") -> Config:
        """Returns a checked copy with values set by key path: ``{"data.classes": ["a", "b"]}``."""
        return self.with_nodes((key, Node.of(to_plain(v), origin)) for key, v in values.items())

    def with_nodes(self, values: Iterable[tuple[str, Node]]) -> Config:
        """Returns a checked copy with values set by key path, each with an origin of its own."""
        return resolve(apply_values(self._tree(), values))

    def _tree(self) -> Node:
        return Node.of(self.to_dict(), "config", self.origins)


def resolve(tree: Node) -> Config:
    """Checks a merged tree and returns the configuration."""
    resolver = Resolver(Config, tree)
    cfg = resolver.section(Config, tree)
    return dataclasses.replace(cfg, origins=resolver.origins)


def section_to_dict(section: Any) -> dict[str, Any]:
    """Returns a section's keys as plain values, those of sections inside it included."""
    values = {f.name: getattr(section, f.name) for f in dataclasses.fields(section) if f.metadata.get("key", True)}
    return {k: section_to_dict(v) if _is_section(v) else to_plain(v) for k, v in values.items()}


def _is_section(value: Any) -> bool:
    return isinstance(
        value, (DataConfig, PlanesConfig, SplitConfig, SolverConfig, EarlyStoppingConfig, TrainConfig, PredictConfig)
    )
