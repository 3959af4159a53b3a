"""Data: formats, splits, transforms, samplers and the loader."""

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
from segkit.data.torchvision_dataset import TorchvisionDataset, from_torchvision
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
    "TorchvisionDataset",
    "TrainLoader",
    "Transform",
    "build_dataset",
    "build_test_loader",
    "build_train_loader",
    "build_transforms",
    "catalog_names",
    "class_difference",
    "from_torchvision",
    "register_dataset",
    "split_dataset",
]
