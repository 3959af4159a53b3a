"""Post-processing: changes of an image's detections, before they are measured or written."""

from segkit.postprocess.base import PostProcessing, PostProcessor, build_postprocess

__all__ = ["PostProcessing", "PostProcessor", "build_postprocess"]
