"""The LabelMe format: a JSON file of shapes for each image."""

from segkit.data.formats.labelme.dataset import LabelMe

__all__ = ["LabelMe"]
