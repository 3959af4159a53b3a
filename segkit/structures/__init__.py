"""Data structures: images, masks, targets and detections, from data to model to results."""

from segkit.structures.detections import Detections
from segkit.structures.image_batch import ImageBatch
from segkit.structures.image_geometry import ImageGeometry
from segkit.structures.lazy_targets import LazyTargets
from segkit.structures.mask_targets import batch_mask_targets, mask_targets
from segkit.structures.masks import InstanceMasks
from segkit.structures.outline_polygons import even_odd_polygon, mask_outlines
from segkit.structures.pasting import paste_masks, paste_rle
from segkit.structures.sample import Batch, Sample
from segkit.structures.score_thresholds import ScoreThresholds
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.structures.tiling import tile_windows
from segkit.structures.torchvision_targets import (
    detections_from_torchvision,
    detections_to_torchvision,
    targets_from_torchvision,
    targets_to_torchvision,
)

__all__ = [
    "ALL_CLASSES",
    "Batch",
    "Detections",
    "ImageBatch",
    "ImageGeometry",
    "InstanceMasks",
    "LazyTargets",
    "Sample",
    "ScoreThresholds",
    "Targets",
    "batch_mask_targets",
    "detections_from_torchvision",
    "detections_to_torchvision",
    "even_odd_polygon",
    "mask_outlines",
    "mask_targets",
    "paste_masks",
    "paste_rle",
    "targets_from_torchvision",
    "targets_to_torchvision",
    "tile_windows",
]
