"""The keys under ``train``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from segkit.config.help import Help
from segkit.config.period import Period
from segkit.config.typecheck import Bounds
from segkit.utils.errors import SegkitError

EVERY_EPOCH = Period(1, "epoch")
NEVER = Period(0)


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
    distributed_timeout: Annotated[
        float,
        Bounds(0, 2**31, open_low=True),
        Help(
            "seconds that one of several processes waits for another that is slow (compiling, evaluating, loading); one "
            "that died is noticed at once"
        ),
    ] = 1800.0
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
