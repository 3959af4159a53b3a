"""The YOLO format: a text file of normalised polygons and boxes beside each image."""

from segkit.data.formats.yolo.dataset import Yolo

__all__ = ["Yolo"]
