"""ImageJ's and Fiji's regions of interest."""

from segkit.data.formats.imagej_rois.dataset import ImageJRois

__all__ = ["ImageJRois"]
