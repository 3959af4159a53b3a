"""segkit: instance segmentation from a configuration file, or as a library.

What is listed here is imported when it is first used, so that ``import segkit`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segkit.utils.lazy import import_once

if TYPE_CHECKING:
    from segkit.config.loader import load_config
    from segkit.config.schema import Config
    from segkit.data.formats.catalog import register_dataset
    from segkit.inference.predictor import Predictor
    from segkit.modeling.build import build_model
    from segkit.modeling.meta_arch.mask_rcnn import mask_rcnn
    from segkit.modeling.weights.loading import load_checkpoint
    from segkit.registry import (
        ANCHOR_GENERATOR_REGISTRY,
        BACKBONE_REGISTRY,
        DATASET_FORMAT_REGISTRY,
        EVALUATOR_REGISTRY,
        HOOK_REGISTRY,
        META_ARCH_REGISTRY,
        NECK_REGISTRY,
        OPTIMIZER_REGISTRY,
        PROPOSAL_GENERATOR_REGISTRY,
        ROI_BOX_HEAD_REGISTRY,
        ROI_HEADS_REGISTRY,
        ROI_MASK_HEAD_REGISTRY,
        RPN_HEAD_REGISTRY,
        SAMPLER_REGISTRY,
        SCHEDULE_REGISTRY,
        TRANSFORM_REGISTRY,
        WRITER_REGISTRY,
        Registry,
        Slot,
        SlotList,
    )
    from segkit.structures.detections import Detections
    from segkit.structures.image_batch import ImageBatch
    from segkit.structures.masks import InstanceMasks
    from segkit.structures.targets import Targets
    from segkit.utils.errors import SegkitError

__version__ = "0.1.0"

_HOMES = {
    "segkit.config.loader": ("load_config",),
    "segkit.config.schema": ("Config",),
    "segkit.data.formats.catalog": ("register_dataset",),
    "segkit.inference.predictor": ("Predictor",),
    "segkit.modeling.build": ("build_model",),
    "segkit.modeling.meta_arch.mask_rcnn": ("mask_rcnn",),
    "segkit.modeling.weights.loading": ("load_checkpoint",),
    "segkit.registry": (
        "ANCHOR_GENERATOR_REGISTRY",
        "BACKBONE_REGISTRY",
        "DATASET_FORMAT_REGISTRY",
        "EVALUATOR_REGISTRY",
        "HOOK_REGISTRY",
        "META_ARCH_REGISTRY",
        "NECK_REGISTRY",
        "OPTIMIZER_REGISTRY",
        "PROPOSAL_GENERATOR_REGISTRY",
        "ROI_BOX_HEAD_REGISTRY",
        "ROI_HEADS_REGISTRY",
        "ROI_MASK_HEAD_REGISTRY",
        "RPN_HEAD_REGISTRY",
        "SAMPLER_REGISTRY",
        "SCHEDULE_REGISTRY",
        "TRANSFORM_REGISTRY",
        "WRITER_REGISTRY",
        "Registry",
        "Slot",
        "SlotList",
    ),
    "segkit.structures.detections": ("Detections",),
    "segkit.structures.image_batch": ("ImageBatch",),
    "segkit.structures.masks": ("InstanceMasks",),
    "segkit.structures.targets": ("Targets",),
    "segkit.utils.errors": ("SegkitError",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'segkit' has no attribute '{name}'")
    value = globals()[name] = getattr(import_once(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})


__all__ = [
    "ANCHOR_GENERATOR_REGISTRY",
    "BACKBONE_REGISTRY",
    "DATASET_FORMAT_REGISTRY",
    "EVALUATOR_REGISTRY",
    "HOOK_REGISTRY",
    "META_ARCH_REGISTRY",
    "NECK_REGISTRY",
    "OPTIMIZER_REGISTRY",
    "PROPOSAL_GENERATOR_REGISTRY",
    "ROI_BOX_HEAD_REGISTRY",
    "ROI_HEADS_REGISTRY",
    "ROI_MASK_HEAD_REGISTRY",
    "RPN_HEAD_REGISTRY",
    "SAMPLER_REGISTRY",
    "SCHEDULE_REGISTRY",
    "TRANSFORM_REGISTRY",
    "WRITER_REGISTRY",
    "Config",
    "Detections",
    "ImageBatch",
    "InstanceMasks",
    "Predictor",
    "Registry",
    "SegkitError",
    "Slot",
    "SlotList",
    "Targets",
    "__version__",
    "build_model",
    "load_checkpoint",
    "load_config",
    "mask_rcnn",
    "register_dataset",
]
