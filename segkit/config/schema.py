"""Every key of a configuration: its type, its default and what it means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from segkit.config.nodes import Node
from segkit.config.overrides import apply_overrides, apply_values
from segkit.config.parameter_rule import ParameterRule
from segkit.config.period import Period
from segkit.config.spec import Spec, to_plain
from segkit.config.specs import Resolver
from segkit.config.typecheck import Bounds
from segkit.config.yaml_reader import write_yaml
from segkit.registry import (
    DATASET_FORMAT_REGISTRY,
    EVALUATOR_REGISTRY,
    HOOK_REGISTRY,
    META_ARCH_REGISTRY,
    OPTIMIZER_REGISTRY,
    SAMPLER_REGISTRY,
    SCHEDULE_REGISTRY,
    TRANSFORM_REGISTRY,
    Slot,
    SlotList,
)
from segkit.utils.errors import SegkitError


@dataclass(frozen=True)
class Help:
    """What a key means, for ``tools/describe_config.py --help-keys``."""

    text: str


EVERY_EPOCH = Period(1, "epoch")
NEVER = Period(0)


def _specs(*specs: Spec) -> Any:
    return field(default_factory=lambda: specs)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """``data.val``: a part of the training data set, which then does not train."""

    from_train: Annotated[float, Bounds(0, 1, True, True), Help("fraction of the training images that validate")]
    seed: Annotated[int, Bounds(0), Help("seed of the split")] = 42
    stratify: Annotated[bool, Help("give both parts each class in proportion")] = True


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """``data``: what is read, how it is transformed and batched."""

    train: Annotated[
        Spec, Slot(DATASET_FORMAT_REGISTRY), Help("training data set: {format: label_map, root: DIR}, ...")
    ]
    val: Annotated[
        Spec | SplitConfig | None,
        Slot(DATASET_FORMAT_REGISTRY),
        Help("validation: a data set, {from_train: 0.1}, or null: all data trains, no evaluation, no best checkpoint"),
    ] = None
    classes: Annotated[
        tuple[str, ...] | None, Help("class names in label order; null: read from the data. The saved config has them")
    ] = None
    train_transforms: Annotated[
        tuple[Spec, ...], SlotList(TRANSFORM_REGISTRY), Help("transforms of training images, in order")
    ] = _specs(
        Spec(name="RandomHorizontalFlip", p=0.5),
        Spec(name="ResizeShortestEdge", sizes=[800], max_size=1333),
    )
    test_transforms: Annotated[
        tuple[Spec, ...], SlotList(TRANSFORM_REGISTRY), Help("transforms for evaluation and prediction, in order")
    ] = _specs(Spec(name="ResizeShortestEdge", sizes=[800], max_size=1333))
    batch_size: Annotated[
        int, Bounds(1), Help("training images a batch, over all processes; a step takes train.accumulate batches")
    ] = 4
    test_batch_size: Annotated[int, Bounds(1), Help("images a step of evaluation")] = 1
    num_workers: Annotated[
        int, Bounds(0), Help("loader processes; their number changes speed only, never the batches")
    ] = 2
    unreadable: Annotated[
        Literal["stop", "skip"],
        Help(
            "a training image that cannot be read: stop with its name, or take the next one in its place and count it"
        ),
    ] = "stop"
    sampler: Annotated[Spec, Slot(SAMPLER_REGISTRY), Help("which training images make an epoch, in which order")] = (
        field(default_factory=lambda: Spec(name="ShuffleSampler"))
    )
    aspect_ratio_grouping: Annotated[
        bool,
        Help("wide and high images in different batches: less padding where transforms keep the images' shapes"),
    ] = False


@dataclass(frozen=True, kw_only=True)
class SolverConfig:
    """``solver``: how the weights move."""

    optimizer: Annotated[Spec, Slot(OPTIMIZER_REGISTRY), Help("optimizer, with the learning rate")] = field(
        default_factory=lambda: Spec(name="AdamW", lr=1e-4, weight_decay=1e-2)
    )
    schedule: Annotated[Spec, Slot(SCHEDULE_REGISTRY), Help("learning rate over the training, warm-up included")] = (
        field(default_factory=lambda: Spec(name="Cosine"))
    )
    clip_norm: Annotated[
        float | None, Bounds(0, open_low=True), Help("the gradient's norm is cut to this; null: left alone")
    ] = None
    clip_value: Annotated[
        float | None,
        Bounds(0, open_low=True),
        Help("each component of the gradient is cut to this, before clip_norm; null: left alone"),
    ] = None
    base_batch_size: Annotated[
        int | None,
        Bounds(1),
        Help(
            "the images a step for which the learning rate is given: another number scales all learning rates in "
            "proportion; null: they are taken as they are"
        ),
    ] = None
    layer_decay: Annotated[
        float | None,
        Bounds(0, 1, open_low=True),
        Help("learning rates are multiplied by this for each backbone stage back from the last, itself included"),
    ] = None
    parameters: Annotated[
        tuple[ParameterRule, ...],
        Help("rules for some: {match: 'backbone.*', lr_factor: 0.1, weight_decay: 0} or {match: ..., freeze: true}"),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class EarlyStoppingConfig:
    """``train.early_stopping``: when the run ends before its time."""

    patience: Annotated[int, Bounds(1), Help("evaluations in a row without a gain that end the run")] = 5
    metric: Annotated[
        str | None, Help("what has to gain, as val/loss/total (lower is better); null: train.best_metric")
    ] = None
    min_gain: Annotated[float, Bounds(0), Help("a gain is more than this over the best so far (AP is in 0..1)")] = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """``train``: the run."""

    epochs: Annotated[
        int | None, Bounds(1), Help("passes over the data; or give iterations, the later setting wins")
    ] = 20
    iterations: Annotated[int | None, Bounds(1), Help("optimizer steps, as the alternative to epochs")] = None
    accumulate: Annotated[
        int,
        Bounds(1),
        Help("batches a step, their gradients averaged: the step of a larger batch with a batch's memory"),
    ] = 1
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], Help("arithmetic of the network; fp16 with a loss scaler. Boxes stay fp32")
    ] = "fp32"
    seed: Annotated[int, Bounds(0), Help("seed of weights, batches and augmentation")] = 42
    deterministic: Annotated[bool, Help("only deterministic kernels: slower, two runs agree to the bit")] = False
    compile: Annotated[
        bool,
        Help("torch.compile backbone and neck: minutes at the start and for each new image size, then faster steps"),
    ] = False
    device: Annotated[str, Help("'auto' (CUDA where there is one), 'cpu', 'cuda', 'cuda:1', 'mps'")] = "auto"
    eval_period: Annotated[Period, Help("evaluate this often: 500 or '1 epoch'; 0: only at the end")] = EVERY_EPOCH
    eval_losses: Annotated[
        bool, Help("evaluation also measures the validation losses (val/loss/...), in the same pass over the images")
    ] = True
    ema_decay: Annotated[
        float | None,
        Bounds(0, 1, open_low=True, open_high=True),
        Help(
            "average the weights over about the last 1 / (1 - this) steps; it is the average that is evaluated and, in "
            "checkpoints, predicted with; null: no average"
        ),
    ] = None
    skip_nonfinite: Annotated[
        int,
        Bounds(0),
        Help(
            "a run leaves out so many steps whose losses or gradients are NaN or infinite; the next ends it. "
            "Above 0, a GPU is waited for in each step"
        ),
    ] = 0
    checkpoint_period: Annotated[Period, Help("save a checkpoint this often; 0: only at the end")] = EVERY_EPOCH
    keep_checkpoints: Annotated[
        int | None, Bounds(1), Help("periodic checkpoints kept, the latest; null: all. Best and final always stay")
    ] = 3
    keep_every: Annotated[
        Period, Help("beside those, the checkpoints after each multiple of this stay, as '10 epochs'; 0: none")
    ] = NEVER
    log_period: Annotated[int, Bounds(1), Help("iterations between two lines of the log and of metrics.json")] = 20
    best_metric: Annotated[
        str,
        Help("model_best.pth is where this metric of the validation was best: a val/loss/... lowest, others highest"),
    ] = "segm/AP"
    best_min_gain: Annotated[
        float, Bounds(0), Help("model_best.pth is replaced only where best_metric gains more than this (AP is in 0..1)")
    ] = 0.0
    early_stopping: Annotated[
        EarlyStoppingConfig | None,
        Help("end the run when evaluations gain nothing any more: {patience: 5}; null: never"),
    ] = None
    init_weights: Annotated[
        str | None,
        Help("weights to start from, whole or a backbone alone: a file, a URL, or a name of torchvision's weights"),
    ] = None
    max_parameters: Annotated[int | None, Bounds(1), Help("refuse to train a model with more parameters")] = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.iterations is None):
            raise SegkitError("train: give one of train.epochs and train.iterations", key="train.epochs")

    def total_iterations(self, iterations_per_epoch: int) -> int:
        """The length of the run in iterations."""
        if self.iterations is not None:
            return self.iterations
        assert self.epochs is not None
        return self.epochs * iterations_per_epoch


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
    solver: Annotated[SolverConfig, Help("how the weights move")] = SolverConfig()
    train: Annotated[TrainConfig, Help("the run")] = TrainConfig()
    predict: Annotated[PredictConfig, Help("what is drawn and submitted")] = PredictConfig()
    hooks: Annotated[tuple[Spec, ...], SlotList(HOOK_REGISTRY), Help("hooks beside the default ones")] = ()
    evaluators: Annotated[tuple[Spec, ...], SlotList(EVALUATOR_REGISTRY), Help("what measures the validation")] = (
        _specs(Spec(name="COCO"))
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
