"""Writers of data sets, one module a format; importing this package registers them."""

from segkit.data.writers.base import DatasetWriter, WritableImage
from segkit.data.writers.labelme import LabelMeWriter
from segkit.data.writers.voc import VocWriter
from segkit.data.writers.yolo import YoloWriter

__all__ = ["DatasetWriter", "LabelMeWriter", "VocWriter", "WritableImage", "YoloWriter"]
