"""Data set formats, one module each; importing this package registers them.

A COCO JSON is read by several modules: ``coco`` (the data set), ``coco_table`` (the JSON as arrays), ``coco_annotations``,
``coco_categories``, ``coco_images`` (checks of its three lists), ``coco_box_checks``, ``coco_segmentation_errors``.
"""

from segkit.data.formats.auto import open_recognized, recognize
from segkit.data.formats.base import Dataset, SubsetDataset
from segkit.data.formats.build import build_dataset, class_difference
from segkit.data.formats.catalog import catalog_names, register_dataset
from segkit.data.formats.coco import Coco
from segkit.data.formats.image_folder import ImageFolder
from segkit.data.formats.label_map import LabelMap
from segkit.data.formats.lvis import Lvis
from segkit.data.formats.parsed import ImageAnnotation, ObjectAnnotation, ParsedDataset
from segkit.data.formats.partial import PartialAnnotation, PartiallyAnnotated
from segkit.data.formats.recognition import Recognition
from segkit.data.formats.synthetic import Synthetic

__all__ = [
    "Coco",
    "Dataset",
    "ImageAnnotation",
    "ImageFolder",
    "LabelMap",
    "Lvis",
    "ObjectAnnotation",
    "ParsedDataset",
    "PartialAnnotation",
    "PartiallyAnnotated",
    "Recognition",
    "SubsetDataset",
    "Synthetic",
    "build_dataset",
    "catalog_names",
    "class_difference",
    "open_recognized",
    "recognize",
    "register_dataset",
]
