"""Data set formats, one file each; importing this package registers them."""

from segkit.data.formats.base import Dataset, SubsetDataset
from segkit.data.formats.build import build_dataset, class_difference
from segkit.data.formats.catalog import catalog_names, register_dataset
from segkit.data.formats.coco import Coco
from segkit.data.formats.image_folder import ImageFolder
from segkit.data.formats.label_map import LabelMap
from segkit.data.formats.synthetic import Synthetic

__all__ = [
    "Coco",
    "Dataset",
    "ImageFolder",
    "LabelMap",
    "SubsetDataset",
    "Synthetic",
    "build_dataset",
    "catalog_names",
    "class_difference",
    "register_dataset",
]
