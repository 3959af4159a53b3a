"""The keys under ``predict``: tiles, augmentation, post-processing, lowest score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from segkit.config.help import Help
from segkit.config.spec import Spec
from segkit.config.typecheck import Bounds
from segkit.registry import POSTPROCESS_REGISTRY, TEST_AUGMENTATION_REGISTRY, SlotList


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """``predict``: tiles, test-time augmentation, post-processing and the lowest score.

    Evaluation uses all of them but the score: metrics measure what a prediction writes.
    """

    score_threshold: Annotated[
        Annotated[float, Bounds(0, 1)] | Literal["best", "best_overall"],
        Help(
            "lowest score of a detection that is drawn or submitted; best: each class's best one on the validation data, "
            "which the checkpoint holds; best_overall: the best single one"
        ),
    ] = 0.5
    tile: Annotated[
        int | None,
        Bounds(1),
        Help("side of the tiles, in pixels of the file, that images larger than it are predicted in; null: no tiles"),
    ] = None
    overlap: Annotated[
        Annotated[int, Bounds(0)] | Literal["auto"],
        Help(
            "pixels that neighbouring tiles share at least; auto: one more than the side that 99 % of the training objects do "
            "not exceed, at most half of the tile; a quarter of the tile if the checkpoint does not hold these sides"
        ),
    ] = "auto"
    augmentations: Annotated[
        tuple[Spec, ...],
        SlotList(TEST_AUGMENTATION_REGISTRY),
        Help("views of each image that are predicted and merged (test-time augmentation), as [{name: Flips}]"),
    ] = ()
    postprocess: Annotated[
        tuple[Spec, ...],
        SlotList(POSTPROCESS_REGISTRY),
        Help("changes of an image's detections, in order, as [{name: MaskNMS}, {name: ExclusiveMasks}]"),
    ] = ()
