"""The registries: a table of contents of everything in segkit that can be extended.

A *spec* is a mapping ``{name: X, argument: value, ...}``. A registry turns the name into a class and, with
:meth:`Registry.build`, the spec into an object. Values that only the builder knows (channels, strides, the number of
classes) are the constructor's positional parameters; values that a configuration may set are keyword-only.
"""

from __future__ import annotations

from segkit.utils.components.registry import Registry
from segkit.utils.components.signature import Signature, Slot, SlotList, find_slot, signature_of, unknown_argument

__all__ = [
    "ALL_REGISTRIES",
    "Registry",
    "Signature",
    "Slot",
    "SlotList",
    "find_slot",
    "signature_of",
    "unknown_argument",
]

_FEATURES = ("num_classes", "in_features")
_MAPS = "set out_features = {'stage1': FeatureSpec(channels=32, stride=4), ...}; forward returns these maps by name"

META_ARCH_REGISTRY = Registry(
    "META_ARCH",
    "segkit.modeling.meta_arch",
    runtime=["num_classes"],
    makes=["losses", "predict", "detections_per_image"],
)
BACKBONE_REGISTRY = Registry(
    "BACKBONE",
    "segkit.modeling.backbones",
    runtime=["num_classes"],
    makes=["out_features"],
    hint=f"{_MAPS} (torchvision's own networks: {{name: TorchvisionBackbone, arch: resnet18}})",
)
NECK_REGISTRY = Registry("NECK", "segkit.modeling.necks", runtime=_FEATURES, makes=["out_features"], hint=_MAPS)
ANCHOR_GENERATOR_REGISTRY = Registry(
    "ANCHOR_GENERATOR", "segkit.modeling.proposals", runtime=_FEATURES, makes=["num_anchors"]
)
PROPOSAL_GENERATOR_REGISTRY = Registry(
    "PROPOSAL_GENERATOR", "segkit.modeling.proposals", runtime=_FEATURES, makes=["losses", "scored_proposals"]
)
RPN_HEAD_REGISTRY = Registry("RPN_HEAD", "segkit.modeling.proposals", runtime=[*_FEATURES, "num_anchors"])
ROI_HEADS_REGISTRY = Registry("ROI_HEADS", "segkit.modeling.roi_heads", runtime=_FEATURES, makes=["losses", "predict"])
ROI_BOX_HEAD_REGISTRY = Registry(
    "ROI_BOX_HEAD", "segkit.modeling.roi_heads", runtime=_FEATURES, makes=["losses", "decode"]
)
ROI_MASK_HEAD_REGISTRY = Registry("ROI_MASK_HEAD", "segkit.modeling.roi_heads", runtime=_FEATURES, makes=["losses"])
TRANSFORM_REGISTRY = Registry("TRANSFORM", "segkit.data.transforms", runtime=[], makes=["__call__"])
DATASET_FORMAT_REGISTRY = Registry(
    "DATASET_FORMAT", "segkit.data.formats", key="format", runtime=[], makes=["load", "classes", "image_ids"]
)
_OUTPUT = ["output", "classes", "category_ids"]
DATASET_WRITER_REGISTRY = Registry(
    "DATASET_WRITER", "segkit.data.writers", key="format", runtime=_OUTPUT, makes=["write", "close"]
)
INTENSITY_REGISTRY = Registry("INTENSITY", "segkit.data.intensity", runtime=[], makes=["limits"])
_SAMPLING = ["dataset", "num_samples", "seed"]
SAMPLER_REGISTRY = Registry("SAMPLER", "segkit.data.samplers", runtime=_SAMPLING, makes=["epoch_indices"])
OPTIMIZER_REGISTRY = Registry(
    "OPTIMIZER",
    "segkit.solver",
    runtime=["model", "params"],
    makes=["step", "zero_grad", "param_groups", "add_param_group", "state_dict", "load_state_dict"],
    hint="derive it from torch.optim.Optimizer",
)
SCHEDULE_REGISTRY = Registry("SCHEDULE", "segkit.solver", runtime=[], makes=["factor"])
HOOK_REGISTRY = Registry(
    "HOOK", "segkit.engine.hooks", runtime=["period"], makes=["before_step", "after_step"], label="hook_name"
)
_OF_DATA = ["classes", "category_ids", "frequencies", "results_dir"]
_OF_MODEL = ["max_detections", "class_agnostic", "predicts_masks"]
_EVALUATOR = ["reset", "process", "evaluate"]
EVALUATOR_REGISTRY = Registry("EVALUATOR", "segkit.evaluation", runtime=_OF_DATA + _OF_MODEL, makes=_EVALUATOR)
_WRITING = ["open", "write", "write_checkpoint", "write_pictures", "close"]
_WRITER = "derive it from segkit.engine.hooks.Writer"
TEST_AUGMENTATION_REGISTRY = Registry(
    "TEST_AUGMENTATION", "segkit.inference.augmentations", runtime=[], makes=["views"]
)
POSTPROCESS_REGISTRY = Registry("POSTPROCESS", "segkit.postprocess", runtime=[], makes=["__call__"])
RESULT_WRITER_REGISTRY = Registry(
    "RESULT_WRITER",
    "segkit.results",
    runtime=[*_OUTPUT, "parts", "image_ids", "id_map"],
    makes=["add", "close"],
    hint="derive it from segkit.results.ResultWriter",
)
WRITER_REGISTRY = Registry("WRITER", "segkit.engine.hooks", runtime=["period"], makes=_WRITING, hint=_WRITER)

ALL_REGISTRIES = tuple(value for value in list(globals().values()) if isinstance(value, Registry))
