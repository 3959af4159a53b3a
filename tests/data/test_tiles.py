"""The format ``tiles``: each tile is an image, with the objects cut to it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from segkit.data import Coco, build_dataset, split_dataset
from segkit.data.transformed_dataset import TransformedTestDataset
from segkit.data.transforms import Compose, geometry
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageReader, LazyImage, Planes, image_file


@pytest.fixture
def spec(tmp_path):
    rng = np.random.default_rng(0)
    tifffile.imwrite(
        tmp_path / "a.tif", rng.integers(0, 255, (90, 130, 3)).astype(np.uint8), tile=(16, 16), photometric="rgb"
    )
    tifffile.imwrite(tmp_path / "b.tif", rng.integers(0, 255, (20, 30, 3)).astype(np.uint8), photometric="rgb")
    corners = [(3, 4, 20, 15), (40, 40, 10, 60), (100, 5, 4, 4), (2, 2, 10, 10)]
    annotations = [
        {
            "id": k + 1, "image_id": 1 + (k == 3), "category_id": 1, "iscrowd": 0, "bbox": [x, y, w, h], "area": w * h,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        for k, (x, y, w, h) in enumerate(corners)
    ]  # fmt: skip
    images = [
        {"id": 1, "file_name": "a.tif", "height": 90, "width": 130},
        {"id": 2, "file_name": "b.tif", "height": 20, "width": 30},
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 5, "name": "cell"}]}
    content["annotations"] = [{**one, "category_id": 5} for one in annotations]
    (tmp_path / "x.json").write_text(json.dumps(content))
    return {"format": "coco", "json": str(tmp_path / "x.json"), "images": str(tmp_path)}


@pytest.mark.parametrize("lazy", [False, True])
def test_tiles_are_crops(spec, monkeypatch, lazy):
    if lazy:
        monkeypatch.setattr(image_file, "LAZY_PIXELS", 100)
        monkeypatch.setattr(image_file, "_OPEN_FILES", image_file._OpenFiles())
    whole, tiles = (
        Coco(**{k: v for k, v in spec.items() if k != "format"}),
        build_dataset({"format": "tiles", "of": spec, "size": 50, "overlap": 10}),
    )
    assert isinstance(whole.open(0).image, LazyImage) == lazy
    assert len(tiles) == 2 * 3 + 1 and tiles.classes == ["cell"] and tiles.category_ids == [5]
    for index in range(len(tiles)):
        image, window = tiles.source(index)
        sample, expected = tiles.load(index), geometry.crop(whole.load(image), window)
        assert torch.equal(sample.image, expected.image) and torch.equal(sample.targets.boxes, expected.targets.boxes)
        assert torch.equal(sample.targets.masks.bits, expected.targets.masks.bits)
        assert sample.size == tiles.size(index) == tuple(sample.image.shape[1:]) and sample.geometry is None
        assert sample.dropped == 0 and sample.image_id == tiles.image_ids[index]
        assert torch.equal(tiles.targets(index).boxes, sample.targets.boxes)
        assert sum(tiles.label_counts(index).values()) == len(sample.targets)
    assert tiles.load(1).file_name == "a.tif[40,0,90,50]"
    assert tiles.image_files()[1].endswith("a.tif") and tiles.image_files()[-1].endswith("b.tif")


def test_visibility_and_empty_tiles(spec):
    tiles = build_dataset({"format": "tiles", "of": spec, "size": 50, "overlap": 10, "min_visibility": 0.5})
    counts = [len(tiles.targets(i)) for i in range(len(tiles))]
    dropped = [tiles.load(i).dropped for i in range(len(tiles))]
    everything = build_dataset({"format": "tiles", "of": spec, "size": 50, "overlap": 10})
    assert [c + d for c, d in zip(counts, dropped, strict=True)] == [len(everything.targets(i)) for i in range(7)]
    assert sum(dropped) > 0 and 0 in counts
    kept = build_dataset(
        {"format": "tiles", "of": spec, "size": 50, "overlap": 10, "min_visibility": 0.5, "keep_empty": False}
    )
    assert len(kept) == sum(c > 0 for c in counts)
    assert any(f"{7 - len(kept)} tiles without objects are skipped" in note for note in kept.notes())


def test_crowds_stay_in_tiles_and_regions_are_no_objects(spec):
    file = Path(spec["json"])
    content = json.loads(file.read_text())
    content["annotations"][1].update(iscrowd=1, bbox=[0, 0, 130, 90], segmentation=[[0, 0, 130, 0, 130, 90, 0, 90]])
    file.write_text(json.dumps(content))
    tiles = build_dataset({"format": "tiles", "of": spec, "size": 50, "overlap": 10, "min_visibility": 0.9})
    assert all(tiles.targets(i).crowd.sum() == 1 for i in range(6))  # those of the first image
    tiles.dataset.targets = lambda index, window: Targets(
        torch.tensor([[0.0, 0, 130, 90]]), torch.tensor([ALL_CLASSES]), None, torch.tensor([True])
    )
    tiles.keep_empty, tiles._grid = False, None
    assert len(tiles) == 0


def test_tiles_are_evaluated_as_images(spec):
    tiles = build_dataset({"format": "tiles", "of": spec, "size": [40, 60], "overlap": 0})
    samples = TransformedTestDataset(tiles, Compose([]))
    for index in range(len(tiles)):
        sample = samples[index]
        assert len(sample.annotations) == len(sample.targets)
        assert all(a["segmentation"]["size"] == list(tiles.size(index)) for a in sample.annotations)


def test_the_reader_of_the_configuration_reaches_the_files(spec):
    reader = ImageReader(planes=Planes(page=0))
    tiles = build_dataset({"format": "tiles", "of": spec}, reader=reader)
    assert tiles.reader is tiles.dataset.reader is reader and len(tiles) == 2


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"size": 20, "overlap": 20}, "overlap"),
        ({"size": [1, 2, 3]}, "size"),
        ({"min_visibility": 2}, "min_visibility"),
    ],
)
def test_wrong_arguments(spec, options, key):
    with pytest.raises(SegkitError, match=key):
        build_dataset({"format": "tiles", "of": spec, **options})
    with pytest.raises(SegkitError, match="coco"):
        build_dataset({"format": "tiles", "of": {**spec, "format": "cocoo"}})


def test_the_tiles_of_a_file_stay_in_one_part(spec):
    """As the guide on large images says."""
    tiles = build_dataset({"format": "tiles", "of": spec, "size": 50, "overlap": 10})
    train, val = split_dataset(tiles, 0.1, group=".+")
    assert train.indices == [0, 1, 2, 3, 4, 5] and val.indices == [6]
