"""Data set formats, one module or package each; importing this package registers them.

A format is a module of its name, or a package, whose module ``dataset`` has the class. The others are shared:

====================================  =======================================================================
``base``, ``recognition``             the interface of a data set, and of its recognition
``parsed``                            base class: annotation files that are parsed when a data set is opened
``pixel_dataset``                     base class: masks in image files
``parsing``                           what readers of annotation files share
``auto``, ``catalog``, ``build``      which format data are of; data sets by name; a data set of a spec
``partial``                           ignore regions, and classes that are not annotated everywhere
``objects``, ``lazy_samples``         counts and ground truth of objects; samples of large images
``class_names``, ``split_names``      names of classes and of splits
``id_map``                            JSON files that list the images of a test folder
====================================  =======================================================================
"""

from segkit.data.formats.base import Dataset, SubsetDataset
from segkit.data.formats.build import build_dataset, class_difference
from segkit.data.formats.catalog import catalog_names, register_dataset
from segkit.data.formats.cityscapes import Cityscapes
from segkit.data.formats.coco import Coco
from segkit.data.formats.coco_panoptic import CocoPanoptic
from segkit.data.formats.cvat import Cvat
from segkit.data.formats.geojson import GeoJson
from segkit.data.formats.image_folder import ImageFolder
from segkit.data.formats.imagej_rois import ImageJRois
from segkit.data.formats.label_map import LabelMap
from segkit.data.formats.label_pairs import LabelPairs
from segkit.data.formats.labelme import LabelMe
from segkit.data.formats.lvis import Lvis
from segkit.data.formats.mask_folder import MaskFolder
from segkit.data.formats.parsed import ImageAnnotation, ObjectAnnotation, ParsedDataset
from segkit.data.formats.partial import PartialAnnotation, PartiallyAnnotated
from segkit.data.formats.pixel_dataset import PixelDataset
from segkit.data.formats.recognition import Recognition
from segkit.data.formats.recognition.auto import open_dataset, open_recognized, recognize
from segkit.data.formats.subset import NamedSubset
from segkit.data.formats.synthetic import Synthetic
from segkit.data.formats.tiles import Tiles
from segkit.data.formats.voc import Voc
from segkit.data.formats.yolo import Yolo

__all__ = [
    "Cityscapes",
    "Coco",
    "CocoPanoptic",
    "Cvat",
    "Dataset",
    "GeoJson",
    "ImageAnnotation",
    "ImageFolder",
    "ImageJRois",
    "LabelMap",
    "LabelMe",
    "LabelPairs",
    "Lvis",
    "MaskFolder",
    "NamedSubset",
    "ObjectAnnotation",
    "ParsedDataset",
    "PartialAnnotation",
    "PartiallyAnnotated",
    "PixelDataset",
    "Recognition",
    "SubsetDataset",
    "Synthetic",
    "Tiles",
    "Voc",
    "Yolo",
    "build_dataset",
    "catalog_names",
    "class_difference",
    "open_dataset",
    "open_recognized",
    "recognize",
    "register_dataset",
]
