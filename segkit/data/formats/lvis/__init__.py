"""The LVIS format: COCO's, with the classes that are annotated in each image."""

from segkit.data.formats.lvis.dataset import Lvis

__all__ = ["Lvis"]
