"""Data: formats, splits, transforms, samplers and loaders.

=========================  ===========================================================================
``formats``                data sets: COCO, label maps, image folders, synthetic images
``transforms``             augmentation, and the transforms of test images
``samplers``               the images of an epoch, and their order
``batch_sampler``          batches of draws, by iteration
``aspect_ratio_grouping``  batches of images of one orientation
``transformed_dataset``    transformed samples, as worker processes load them
``loader``                 loaders of batches
``splits``                 training and validation images of one data set
``array_file``             arrays in one file that processes share; ``array_cache`` caches such files
``packed_list``            a list that processes share
=========================  ===========================================================================
"""

from segkit.data.formats import (
    Coco,
    Dataset,
    ImageFolder,
    LabelMap,
    SubsetDataset,
    Synthetic,
    build_dataset,
    catalog_names,
    class_difference,
    register_dataset,
)
from segkit.data.loader import TestLoader, TrainLoader, build_test_loader, build_train_loader
from segkit.data.samplers import Sampler, SequentialSampler, ShuffleSampler
from segkit.data.splits import split_dataset
from segkit.data.transforms import Compose, Transform, build_transforms

__all__ = [
    "Coco",
    "Compose",
    "Dataset",
    "ImageFolder",
    "LabelMap",
    "Sampler",
    "SequentialSampler",
    "ShuffleSampler",
    "SubsetDataset",
    "Synthetic",
    "TestLoader",
    "TrainLoader",
    "Transform",
    "build_dataset",
    "build_test_loader",
    "build_train_loader",
    "build_transforms",
    "catalog_names",
    "class_difference",
    "register_dataset",
    "split_dataset",
]
