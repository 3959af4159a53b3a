"""A crop of a lazily opened sample is that of the loaded one, bit for bit, for every format that opens images lazily."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import tifffile
import torch

from segkit.data import Coco, LabelMap, RandomCrop, Sampler, build_train_loader
from segkit.data.formats import ImageAnnotation, ObjectAnnotation, ParsedDataset
from segkit.data.transformed_dataset import TransformedTestDataset
from segkit.data.transforms import Compose, LargeScaleJitter, RandomHorizontalFlip, RandomScaledCrop, geometry
from segkit.structures.lazy_targets import LazyTargets
from segkit.utils.errors import SegkitError
from segkit.utils.images import LazyImage, image_file

RNG = np.random.default_rng(0)
SIDE = 120


@pytest.fixture(autouse=True)
def all_tiles_are_large(monkeypatch):
    monkeypatch.setattr(image_file, "LAZY_PIXELS", 100)
    monkeypatch.setattr(image_file, "_OPEN_FILES", image_file._OpenFiles())


def write(path, pixels, **options):
    tifffile.imwrite(path, pixels, **{"tile": (16, 16), **options})


def polygon(x, y, r):
    angles = np.linspace(0, 2 * np.pi, 9)[:-1]
    return np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], 1).reshape(-1).tolist()


def objects():
    """Polygons, RLE, boxes, crowds; some outside of the image, thinner than a pixel or reaching over its border."""
    found = []
    for k in range(40):
        x, y, r = RNG.uniform(-10, SIDE + 10), RNG.uniform(-10, SIDE + 10), RNG.uniform(0.1, 20)
        one = {"id": k + 1, "image_id": 1, "category_id": 1 + k % 2, "iscrowd": 0, "area": 1}
        one["bbox"] = [x - r, y - r, 2 * r, 2 * r]
        if k % 4 == 1:
            mask = np.zeros((SIDE, SIDE), bool)
            mask[max(0, int(y)) : int(y + r), max(0, int(x)) : int(x + r)] = True
            flat = np.concatenate([[False], mask.T.reshape(-1), [False]])
            edges = np.flatnonzero(flat[1:] != flat[:-1])
            one["segmentation"] = {"size": [SIDE, SIDE], "counts": np.diff([0, *edges, SIDE * SIDE]).tolist()}
            one["iscrowd"] = int(k % 8 == 1)
        elif k % 4 != 2:
            one["segmentation"] = [polygon(x, y, r)] + ([polygon(x + 30, y, r)] if k % 8 == 3 else [])
        found.append(one)
    return found


@pytest.fixture
def coco(tmp_path):
    write(tmp_path / "x.tif", RNG.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8), photometric="rgb")
    content = {
        "images": [{"id": 1, "file_name": "x.tif", "height": SIDE, "width": SIDE}],
        "annotations": objects(),
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    (tmp_path / "x.json").write_text(json.dumps(content))
    return Coco(json=str(tmp_path / "x.json"), images=str(tmp_path))


@pytest.fixture
def parsed(tmp_path, coco):
    annotations = [
        ObjectAnnotation(
            None if k % 9 == 0 else "ab"[k % 2],
            None if "segmentation" in one else (0.0, 3.0, float(k + 1), float(k + 9)),
            one.get("segmentation"),
            [polygon(60, 60, 9)] if k % 4 == 0 else [],
        )
        for k, one in enumerate(objects())
    ]
    image = ImageAnnotation(str(tmp_path / "x.tif"), "x.tif", None, annotations, "x.json")
    return ParsedDataset([image], ["a", "b"], where="parsed")


@pytest.fixture
def label_map(tmp_path):
    folder = tmp_path / "maps" / "one"
    folder.mkdir(parents=True)
    write(folder / "image.tif", RNG.integers(0, 60000, (SIDE, SIDE)).astype(np.uint16))
    labels = np.kron(RNG.integers(0, 30, (15, 15)), np.ones((8, 8))).astype(np.uint16)
    write(folder / "class1.tif", labels)
    write(folder / "class2.tif", np.where(RNG.random((SIDE, SIDE)) < 0.01, 7, 0).astype(np.uint8))
    return LabelMap(root=str(tmp_path / "maps"))


@pytest.fixture(params=["coco", "parsed", "label_map"])
def dataset(request):
    return request.getfixturevalue(request.param)


def assert_equal(a, b):
    assert not a.is_lazy and not b.is_lazy
    assert a.image.dtype == b.image.dtype and torch.equal(a.image, b.image) and a.image.stride() == b.image.stride()
    assert (a.dropped, a.rescued, a.size, a.geometry) == (b.dropped, b.rescued, b.size, b.geometry)
    one, two = a.targets, b.targets
    for name in ("boxes", "labels", "crowd", "has_mask"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert (one.masks is None) == (two.masks is None)
    if one.masks is not None:
        assert one.masks.image_size == two.masks.image_size
        assert torch.equal(one.masks.crop_boxes, two.masks.crop_boxes) and torch.equal(one.masks.bits, two.masks.bits)


@pytest.mark.parametrize("min_visibility", [0.0, 0.4])
def test_crops_are_those_of_the_whole_image(dataset, min_visibility):
    loaded, opened = dataset.load(0), dataset.open(0)
    assert isinstance(opened.image, LazyImage) and isinstance(opened.targets, LazyTargets) and opened.is_lazy
    assert_equal(opened.materialised(), loaded)
    for _ in range(15):
        (x0, x1), (y0, y1) = (
            np.sort(RNG.choice(SIDE + 1, 2, replace=False)),
            np.sort(RNG.choice(SIDE + 1, 2, replace=False)),
        )
        window = int(x0), int(y0), int(x1), int(y1)
        assert_equal(geometry.crop(opened, window, min_visibility), geometry.crop(loaded, window, min_visibility))


@pytest.mark.parametrize(
    "transform",
    [
        RandomCrop(size=40),
        RandomCrop(size=1000),
        RandomScaledCrop(size=50, min_visibility=0.2),
        LargeScaleJitter(size=64, min_scale=0.5, max_scale=3.0),
        RandomHorizontalFlip(p=1.0),
    ],
    ids=repr,
)
def test_transforms_of_lazy_samples(dataset, transform):
    chain = Compose([transform, RandomHorizontalFlip(p=0.5)])
    for seed in range(4):
        results = [chain(sample, torch.Generator().manual_seed(seed)) for sample in (dataset.open(0), dataset.load(0))]
        assert_equal(*results)


def test_only_the_window_is_read(coco, monkeypatch):
    read = []
    window_of = LazyImage.read
    monkeypatch.setattr(LazyImage, "read", lambda image, window=None: read.append(window) or window_of(image, window))
    decoded = []
    targets = Coco._targets
    monkeypatch.setattr(
        Coco, "_targets", lambda self, o, *a: decoded.append(len(o.segmentations)) or targets(self, o, *a)
    )
    RandomCrop(size=20)(coco.open(0), torch.Generator().manual_seed(0))
    assert len(read) == 1 and read[0][2] - read[0][0] == 20 and decoded[0] < 20


class OwnCrop(RandomCrop):
    """Declares nothing about its own ``__call__``, which needs the pixels."""

    def __call__(self, sample, generator):
        assert isinstance(sample.image, torch.Tensor)
        return super().__call__(sample, generator)


class OwnLoad(Coco):
    """Changes ``load`` alone."""

    def load(self, index):
        return dataclasses.replace(super().load(index), file_name="own")


def test_what_declares_nothing_gets_the_whole_image(coco, tmp_path):
    Compose([OwnCrop(size=20)])(coco.open(0), torch.Generator().manual_seed(0))
    own = OwnLoad(json=str(tmp_path / "x.json"), images=str(tmp_path))
    assert own.open(0).file_name == "own" and not own.open(0).is_lazy


def test_evaluation_is_that_of_the_loaded_image(coco):
    sample = TransformedTestDataset(coco, Compose([]))[0]
    assert sample.annotations == coco.ground_truth(0, coco.load(0))
    assert torch.equal(sample.image, coco.load(0).image)


class Always(Sampler):
    """The first image, again and again."""

    def epoch_indices(self, epoch):
        return [0] * 6


def test_workers_read_what_this_process_reads(coco):
    coco.open(0)  # the file is open when the workers are forked
    samples = []
    for workers in (0, 2):
        loader = build_train_loader(
            coco, Compose([RandomCrop(size=32)]), sampler=Always(), batch_size=1, seed=3, num_workers=workers
        )
        samples.append([next_batch.samples[0] for _, next_batch in zip(range(4), loader, strict=False)])
    for one, two in zip(*samples, strict=True):
        assert_equal(one, two)


def test_unreadable_windows_are_skipped_and_counted(coco, tmp_path):
    pixels = RNG.integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    write(tmp_path / "x.tif", pixels, photometric="rgb", compression="zlib")
    data = bytearray((tmp_path / "x.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        for tile in range(9, 64, 9):
            data[(at := file.pages[0].dataoffsets[tile]) : at + 12] = bytes(12)
    (tmp_path / "x.tif").write_bytes(data)
    settings = {"sampler": Always(), "batch_size": 1, "seed": 3}
    loader = build_train_loader(coco, Compose([RandomCrop(size=32)]), skip_unreadable=True, **settings)
    samples = [batch.samples[0] for _, batch in zip(range(12), loader, strict=False)]
    skipped = [problem for sample in samples for problem in sample.skipped]
    assert skipped and all("x.tif: cannot" in one and "the tile at x" in one for one in skipped)
    assert all(sample.image.shape == (3, 32, 32) for sample in samples)
    with pytest.raises(SegkitError, match="the tile at x"):
        list(zip(range(12), build_train_loader(coco, Compose([RandomCrop(size=32)]), **settings), strict=False))
    with pytest.raises(SegkitError, match=r"x\.tif: cannot be read"):
        next(iter(build_train_loader(coco, Compose([RandomCrop(size=SIDE - 1)]), skip_unreadable=True, **settings)))


def test_an_error_names_the_object_of_the_whole_image(coco, parsed):
    broken = dataclasses.replace(parsed._images[0])
    broken.objects[30] = ObjectAnnotation("a", None, {"size": [SIDE, SIDE], "counts": "x"})
    dataset = ParsedDataset([broken], ["a", "b"], where="parsed")
    with pytest.raises(SegkitError, match=r"objects\[30\]"):
        geometry.crop(dataset.open(0), (0, 0, 20, 20))


def test_a_label_map_of_another_size(label_map, tmp_path):
    write(tmp_path / "maps" / "one" / "class1.tif", np.zeros((SIDE, 48), np.uint8))
    with pytest.raises(SegkitError, match=r"class1.tif: the label map is 48 x 120 pixels"):
        geometry.crop(label_map.open(0), (0, 0, 20, 20))
