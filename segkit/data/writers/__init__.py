"""Writers of data sets, one module a format; importing this package registers them."""

from segkit.data.writers.base import DatasetWriter, WritableImage
from segkit.data.writers.geojson import GeoJsonWriter
from segkit.data.writers.label_maps import LabelMapWriter, LabelPairsWriter
from segkit.data.writers.mask_folder import MaskFolderWriter

__all__ = [
    "DatasetWriter",
    "GeoJsonWriter",
    "LabelMapWriter",
    "LabelPairsWriter",
    "MaskFolderWriter",
    "WritableImage",
]
