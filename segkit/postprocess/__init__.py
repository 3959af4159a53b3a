"""Post-processing: changes of an image's detections, before they are measured or written."""

from segkit.postprocess.base import PostProcessing, PostProcessor, build_postprocess
from segkit.postprocess.exclusive_masks import ExclusiveMasks
from segkit.postprocess.holes_and_specks import FillHoles, RemoveSpecks
from segkit.postprocess.mask_nms import MaskNMS

__all__ = [
    "ExclusiveMasks",
    "FillHoles",
    "MaskNMS",
    "PostProcessing",
    "PostProcessor",
    "RemoveSpecks",
    "build_postprocess",
]
