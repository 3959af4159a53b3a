"""segkit: instance segmentation from a configuration file, or as a library.

The names listed here are imported when they are first used, so that ``import segkit`` costs next to nothing.
``segkit.data``, ``.modeling``, ``.engine``, ``.evaluation``, ``.structures`` and ``.solver`` hold the parts to compose with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from segkit.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from segkit import config as config
    from segkit import data as data
    from segkit import engine as engine
    from segkit import evaluation as evaluation
    from segkit import inference as inference
    from segkit import modeling as modeling
    from segkit import solver as solver
    from segkit import structures as structures
    from segkit import visualization as visualization
    from segkit.config.loader import load_config
    from segkit.config.schema import Config
    from segkit.data.formats.catalog import register_dataset
    from segkit.dataset_tools.suggest.config import suggest_config
    from segkit.engine.library import evaluate, train
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
    "segkit.config.loader": "load_config",
    "segkit.config.schema": "Config",
    "segkit.data.formats.catalog": "register_dataset",
    "segkit.dataset_tools.suggest.config": "suggest_config",
    "segkit.engine.library": "evaluate train",
    "segkit.inference.predictor": "Predictor",
    "segkit.modeling.build": "build_model",
    "segkit.modeling.meta_arch.mask_rcnn": "mask_rcnn",
    "segkit.modeling.weights.loading": "load_checkpoint",
    "segkit.registry": (
        "ANCHOR_GENERATOR_REGISTRY BACKBONE_REGISTRY DATASET_FORMAT_REGISTRY EVALUATOR_REGISTRY "
        "HOOK_REGISTRY META_ARCH_REGISTRY NECK_REGISTRY OPTIMIZER_REGISTRY PROPOSAL_GENERATOR_REGISTRY "
        "ROI_BOX_HEAD_REGISTRY ROI_HEADS_REGISTRY ROI_MASK_HEAD_REGISTRY RPN_HEAD_REGISTRY "
        "SAMPLER_REGISTRY SCHEDULE_REGISTRY TRANSFORM_REGISTRY WRITER_REGISTRY Registry Slot SlotList"
    ),
    "segkit.structures.detections": "Detections",
    "segkit.structures.image_batch": "ImageBatch",
    "segkit.structures.masks": "InstanceMasks",
    "segkit.structures.targets": "Targets",
    "segkit.utils.errors": "SegkitError",
}
if not TYPE_CHECKING:  # which would take any name for one of these
    __getattr__, __dir__ = lazy_exports(
        __name__, _HOMES, "config data engine evaluation inference modeling solver structures visualization"
    )

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
    "evaluate",
    "load_checkpoint",
    "load_config",
    "mask_rcnn",
    "register_dataset",
    "suggest_config",
    "train",
]
