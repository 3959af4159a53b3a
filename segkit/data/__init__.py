"""Data: formats, splits, transforms, samplers and loaders.

=========================  ===========================================================================
``formats``                data sets, one module a format
``writers``                writes data sets, one module a format
``reader``                 builds the reader of image files, with its cache
``intensity``              from the numbers of files to intensities in 0..1
``measuring``              intensities, pixel mean and deviation of the training data
``transforms``             augmentation, and the transforms of test images
``samplers``               the images of an epoch, and their order
``batch_sampler``          batches of draws, by iteration
``aspect_ratio_grouping``  batches of images of one orientation
``transformed_dataset``    transformed samples, as worker processes load them
``loader``                 loaders of batches
``splits``                 training and validation images of one data set
``stratified_groups``      groups of images that stay together in a split
``array_file``             arrays in one file that processes share; ``array_cache`` caches such files
``packed_list``            a list that processes share
=========================  ===========================================================================
"""

from __future__ import annotations

from segkit.data.formats import (
    Coco,
    Dataset,
    ImageAnnotation,
    ImageFolder,
    LabelMap,
    ObjectAnnotation,
    ParsedDataset,
    PartialAnnotation,
    PartiallyAnnotated,
    Recognition,
    SubsetDataset,
    Synthetic,
    build_dataset,
    catalog_names,
    class_difference,
    open_dataset,
    register_dataset,
)
from segkit.data.formats.id_map import ImageEntry, load_id_map
from segkit.data.intensity import Intensity
from segkit.data.loader import TestLoader, TrainLoader, build_test_loader, build_train_loader
from segkit.data.samplers import RepeatFactorSampler, Sampler, SequentialSampler, ShuffleSampler
from segkit.data.splits import split_dataset
from segkit.data.torchvision_dataset import TorchvisionDataset, from_torchvision
from segkit.data.transforms import (
    ColorJitter,
    Compose,
    CopyPaste,
    DarkBackground,
    GaussianBlur,
    GaussianNoise,
    InvertibleCompose,
    LargeScaleJitter,
    MixingTransform,
    Mosaic,
    PercentileContrast,
    Photometric,
    RandomAdjustSharpness,
    RandomAffine,
    RandomAutocontrast,
    RandomCrop,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomInvert,
    RandomQuarterTurn,
    RandomRotation,
    RandomScale,
    RandomScaledCrop,
    RandomVerticalFlip,
    Resize,
    ResizeShortestEdge,
    TorchvisionTransform,
    Transform,
    adapt_transform,
    build_transforms,
)
from segkit.data.writers import DatasetWriter, WritableImage

__all__ = [
    "Coco",
    "ColorJitter",
    "Compose",
    "CopyPaste",
    "DarkBackground",
    "Dataset",
    "DatasetWriter",
    "GaussianBlur",
    "GaussianNoise",
    "ImageAnnotation",
    "ImageEntry",
    "ImageFolder",
    "Intensity",
    "InvertibleCompose",
    "LabelMap",
    "LargeScaleJitter",
    "MixingTransform",
    "Mosaic",
    "ObjectAnnotation",
    "ParsedDataset",
    "PartialAnnotation",
    "PartiallyAnnotated",
    "PercentileContrast",
    "Photometric",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomAutocontrast",
    "RandomCrop",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomQuarterTurn",
    "RandomRotation",
    "RandomScale",
    "RandomScaledCrop",
    "RandomVerticalFlip",
    "Recognition",
    "RepeatFactorSampler",
    "Resize",
    "ResizeShortestEdge",
    "Sampler",
    "SequentialSampler",
    "ShuffleSampler",
    "SubsetDataset",
    "Synthetic",
    "TestLoader",
    "TorchvisionDataset",
    "TorchvisionTransform",
    "TrainLoader",
    "Transform",
    "WritableImage",
    "adapt_transform",
    "build_dataset",
    "build_test_loader",
    "build_train_loader",
    "build_transforms",
    "catalog_names",
    "class_difference",
    "from_torchvision",
    "load_id_map",
    "open_dataset",
    "register_dataset",
    "split_dataset",
]
