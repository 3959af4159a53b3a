"""A folder for each image, with one label map for each class."""

from segkit.data.formats.label_map.dataset import LabelMap

__all__ = ["LabelMap"]
