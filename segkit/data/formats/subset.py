"""Some images of another data set: those that a text file names, or some at random."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import torch

from segkit.data.formats.base import Dataset, SubsetDataset
from segkit.data.formats.image_names import image_names
from segkit.data.formats.recognition import Recognition
from segkit.registry import DATASET_FORMAT_REGISTRY, Slot
from segkit.utils.errors import SegkitError, did_you_mean, first_few
from segkit.utils.images import ImageReader
from segkit.utils.paths import local_path
from segkit.utils.paths.missing_files import leads_out
from segkit.utils.seeding import split_generator

SPLITS_FILE = "splits.json"  # {"dataset": SPEC, "splits": {"train": "train.txt", ...}}


@DATASET_FORMAT_REGISTRY.register(name="subset")
class NamedSubset(SubsetDataset):
    """Images of another data set: those that a text file lists, or some at random.

    A name is an image's path below the folder that all images of the data set share, as ``segkit dataset split`` writes
    it; one name a line. Empty lines are skipped.

    Args:
        dataset: the whole data set.
        names: the text file; or
        count: number of images to draw, in the data set's order.
        seed: of the draw.
    """

    expected = f"{SPLITS_FILE} and the lists that it names, as written by segkit dataset split"

    def __init__(
        self,
        *,
        dataset: Annotated[Dataset, Slot(DATASET_FORMAT_REGISTRY)],
        names: str | None = None,
        count: int | None = None,
        seed: int = 0,
    ) -> None:
        if (names is None) == (count is None):
            raise SegkitError("subset: give either names, a text file of image names, or count, a number of images")
        if names is not None:
            super().__init__(dataset, _listed_indices(dataset, names))
            self.choice = f"listed in {names}"
            return
        assert count is not None
        if not 1 <= count <= len(dataset):
            raise SegkitError(
                f"subset: count: expected a number from 1 to {len(dataset)}, the images of {dataset.describe()}; got {count}",
                key="count",
                value=count,
            )
        order = torch.randperm(len(dataset), generator=split_generator(seed))
        super().__init__(dataset, sorted(order[:count].tolist()))
        self.choice = f"drawn with the seed {seed}"

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        file = path / SPLITS_FILE if path.is_dir() else path
        content = _read(file) if file.name == SPLITS_FILE and file.is_file() else None
        if content is None:
            return None
        specs = {}
        for split, name in content["splits"].items():
            if leads_out(name):
                raise SegkitError(f"{file}: the list '{name}' of the split '{split}' lies outside of its folder")
            names = str((file.parent / name).absolute())
            specs[split] = {"format": "subset", "dataset": content["dataset"], "names": names}
        return Recognition.of_splits(specs, f"{SPLITS_FILE} with lists of image names")

    @property
    def reader(self) -> ImageReader:
        """That of the whole data set."""
        return self.dataset.reader

    @reader.setter
    def reader(self, reader: ImageReader) -> None:
        self.dataset.reader = reader

    def describe(self) -> str:
        return f"{len(self)} of {len(self.dataset)} images, {self.choice}, of {self.dataset.describe()}"


def _listed_indices(dataset: Dataset, names: str) -> list[int]:
    """Indices of the images that a text file names."""
    file = local_path(names, "list of image names", kind="file")
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise SegkitError(f"{file}: is not a text file of image names: {error}", value=names) from error
    listed = [line for line in lines if line]
    if not listed:
        raise SegkitError(f"{file}: lists no images", value=names)
    repeated = sorted(name for name, count in Counter(listed).items() if count > 1)
    if repeated:
        raise SegkitError(f"{file}: names {len(repeated)} images twice: {first_few(repeated)}", value=names)
    index_of = {name: i for i, name in enumerate(image_names(dataset))}
    unknown = [name for name in listed if name not in index_of]
    if unknown:
        raise SegkitError(
            f"{file}: {len(unknown)} of {len(listed)} names are no images of {dataset.describe()}: "
            f"{first_few(unknown)}{did_you_mean(unknown[0], index_of, limit=3)}",
            value=names,
        )
    return [index_of[name] for name in listed]


def _read(file: Path) -> dict[str, Any] | None:
    """The content of a splits file; None if it is another file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not all(isinstance(content.get(key), dict) for key in ("dataset", "splits")):
        return None
    return content if all(isinstance(name, str) for name in content["splits"].values()) else None
