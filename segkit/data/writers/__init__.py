"""Writers of data sets, one module a format; importing this package registers them."""

from segkit.data.writers.base import DatasetWriter, WritableImage, write_pixels
from segkit.data.writers.coco import CocoWriter
from segkit.data.writers.names import written_names

__all__ = ["CocoWriter", "DatasetWriter", "WritableImage", "write_pixels", "written_names"]
