"""Writers of data sets, one module a format; importing this package registers them."""

from segkit.data.writers.base import DatasetWriter, WritableImage, write_pixels
from segkit.data.writers.coco import CocoWriter
from segkit.data.writers.geojson import GeoJsonWriter
from segkit.data.writers.image_names import written_names
from segkit.data.writers.label_maps import LabelMapWriter, LabelPairsWriter
from segkit.data.writers.labelme import LabelMeWriter
from segkit.data.writers.mask_folder import MaskFolderWriter
from segkit.data.writers.voc import VocWriter
from segkit.data.writers.yolo import YoloWriter

__all__ = [
    "CocoWriter",
    "DatasetWriter",
    "GeoJsonWriter",
    "LabelMapWriter",
    "LabelMeWriter",
    "LabelPairsWriter",
    "MaskFolderWriter",
    "VocWriter",
    "WritableImage",
    "YoloWriter",
    "write_pixels",
    "written_names",
]
