"""Round trips through YOLO, LabelMe and VOC: masks bit for bit where the format can hold them, losses counted."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segkit.data.formats import build_dataset, recognize
from segkit.data.writers import WritableImage
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures import InstanceMasks, Sample, Targets
from segkit.structures.targets import ALL_CLASSES

CLASSES = ["cell", "two words"]
READ = {"yolo": "data", "labelme": "root", "voc": "root"}


def scene(seed, overlap=True):
    """An image of random objects: touching, with holes, in several parts, at borders, of one pixel; one with a box only."""
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(8, 40)), int(rng.integers(8, 40)))
    count = int(rng.integers(0, 7))
    dense = np.zeros((count, *size), bool)
    for mask in dense:
        for value in (True, True, False):
            y, x = rng.integers(size[0]), rng.integers(size[1])
            mask[y : y + rng.integers(1, 12), x : x + rng.integers(1, 12)] = value
        mask ^= rng.random(size) < rng.choice([0, 0, 0.02])
        mask[rng.integers(size[0]), rng.integers(size[1])] = True
    if not overlap:
        for k in range(count):
            dense[k] &= ~dense[k + 1 :].any(0)
        dense = dense[dense.any((1, 2))]
    masks = InstanceMasks.from_dense(torch.from_numpy(dense))
    labels = torch.from_numpy(rng.integers(0, 2, len(dense)))
    image = torch.from_numpy(rng.integers(0, 256, (3, *size), np.uint8))
    return Sample(image, Targets(masks.boxes(), labels, masks), 1, "a.png", size, None)


def with_box(sample, box=(2.0, 1.0, 7.0, 6.0), label=1, crowd=False):
    """The sample with one more object that has a box and no mask."""
    targets, one = sample.targets, InstanceMasks.empty(sample.size, 1)
    more = Targets(
        torch.cat([targets.boxes, torch.tensor([box])]),
        torch.cat([targets.labels, torch.tensor([label])]),
        InstanceMasks.cat([targets.masks, one]),
        torch.cat([targets.crowd, torch.tensor([crowd])]),
        torch.cat([targets.has_mask, torch.tensor([False])]),
    )
    return Sample(sample.image, more, 1, sample.file_name, sample.size, None)


def write(folder, format, samples, split="train", **options):
    folder.mkdir(parents=True, exist_ok=True)
    spec = {"format": format, **options}
    with DATASET_WRITER_REGISTRY.build(spec, output=folder, classes=CLASSES, category_ids=[1, 2]) as writer:
        for index, sample in enumerate(samples):
            writer.write(
                WritableImage(f"sub/{index}.png", index + 1, sample.size, sample.targets, split, sample=sample)
            )
    return writer.losses


def read(folder, format, **options):
    return build_dataset({"format": format, READ[format]: str(folder), "classes": CLASSES, **options})


def assert_equal(found, expected):
    """Equal objects, in any order."""

    def keys(targets):
        rles = targets.masks.to_rle() if targets.masks is not None else [{}] * len(targets)
        columns = (targets.labels.tolist(), targets.has_mask.tolist(), rles, targets.boxes.tolist())
        return sorted(
            (label, rle["counts"] if has else "", np.round(box, 3).tolist())
            for label, has, rle, box in zip(*columns, strict=True)
        )

    assert keys(found) == keys(expected)


@pytest.mark.parametrize("format", READ)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_round_trip(format, seed, tmp_path_factory):
    """All masks survive, those with holes and several parts too; VOC's as far as they do not overlap."""
    samples = [scene(seed, overlap=format != "voc"), with_box(scene(seed + 1, overlap=format != "voc"))]
    folder = tmp_path_factory.mktemp("x")
    losses = write(folder, format, samples)
    data = read(folder, format)
    found = {data.load(i).file_name.split("/")[-1][-5:]: data.load(i) for i in range(len(data))}
    for index, sample in enumerate(samples):
        assert torch.equal(found[f"{index}.png"].image, sample.image)
        assert_equal(found[f"{index}.png"].targets, sample.targets)
    assert not {reason for reason in losses if "Ultralytics" not in reason}


def test_yolo_without_bridges_counts_what_is_lost(tmp_path):
    dense = torch.zeros(2, 10, 10, dtype=torch.bool)
    dense[0, 1:6, 1:6], dense[0, 3, 3], dense[0, 8, 8] = True, False, True
    dense[1, 7:9, 1:3] = True
    masks = InstanceMasks.from_dense(dense)
    targets = Targets(masks.boxes(), torch.tensor([0, 1]), masks)
    sample = Sample(torch.zeros(3, 10, 10, dtype=torch.uint8), targets, 1, "a.png", (10, 10), None)
    losses = write(tmp_path, "yolo", [sample], bridges=False)
    assert losses == {"objects reduced to their largest part": 1, "objects whose holes are filled": 1}
    dense[0, 3, 3], dense[0, 8, 8] = True, False
    assert torch.equal(read(tmp_path, "yolo").targets(0).masks.to_dense(), dense)


@pytest.mark.parametrize("format", READ)
def test_crowds_and_ignore_regions(format, tmp_path):
    sample = with_box(with_box(scene(3), crowd=True), (0, 0, 9, 9), ALL_CLASSES, crowd=True)
    losses = write(tmp_path, format, [sample])
    kept = {"yolo": 0, "labelme": 0, "voc": 1}[format]
    assert sum(count for reason, count in losses.items() if "region" in reason) == 2 - kept
    assert int(read(tmp_path, format).targets(0).crowd.sum()) == kept


def test_voc_counts_overlaps(tmp_path):
    dense = torch.zeros(3, 10, 10, dtype=torch.bool)
    dense[0, :5, :5] = dense[1, 3:8, 3:8] = dense[2, 4:7, 4:7] = True
    masks = InstanceMasks.from_dense(dense[[0, 2, 1]])
    targets = Targets(masks.boxes(), torch.tensor([0, 0, 1]), masks)
    sample = Sample(torch.zeros(3, 10, 10, dtype=torch.uint8), targets, 1, "a.png", (10, 10), None)
    losses = write(tmp_path / "a", "voc", [sample])
    assert losses == {
        "objects whose pixels are covered by another one": 1,
        "objects without a visible pixel, which keep their box": 1,
    }
    data = read(tmp_path / "a", "voc")
    assert data.targets(0).has_mask.tolist() == [True, False, True]


def test_voc_has_masks_for_254_objects(tmp_path):
    dense = torch.zeros(300, 20, 20, dtype=torch.bool)
    dense[torch.arange(300), torch.arange(300) // 20, torch.arange(300) % 20] = True
    masks = InstanceMasks.from_dense(dense)
    targets = Targets(masks.boxes(), torch.zeros(300, dtype=torch.long), masks)
    sample = Sample(torch.zeros(3, 20, 20, dtype=torch.uint8), targets, 1, "a.png", (20, 20), None)
    assert write(tmp_path, "voc", [sample]) == {"objects after the first 254 of an image, which keep their box": 46}
    found = read(tmp_path, "voc").targets(0)
    assert found.has_mask.tolist() == [True] * 254 + [False] * 46 and torch.equal(found.boxes, targets.boxes)


@pytest.mark.parametrize("format", READ)
def test_files_are_copied(format, tmp_path):
    """A JPEG is copied byte for byte, a GIF is written as PNG where the tool does not read it."""
    for name in ("a.jpg", "a.gif"):
        Image.fromarray(np.zeros((10, 10, 3), np.uint8)).save(tmp_path / name)
    sample = scene(0)
    targets = Targets.empty((10, 10))
    sample = Sample(torch.zeros(3, 10, 10, dtype=torch.uint8), targets, 1, "a", (10, 10), None)
    (tmp_path / "out").mkdir()
    with DATASET_WRITER_REGISTRY.build(
        {"format": format}, output=tmp_path / "out", classes=CLASSES, category_ids=[1, 2]
    ) as writer:
        for name in ("a.jpg", "a.gif"):
            writer.write(WritableImage(name, 1, (10, 10), targets, "val", file=tmp_path / name, sample=sample))
    files = [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".jpg", ".png", ".gif")]
    assert sorted(path.name for path in files if "Segmentation" not in path.parent.name) == (
        ["a-2.gif", "a.jpg"] if format == "voc" else ["a-2.png", "a.jpg"]
    )
    assert next(path for path in files if path.suffix == ".jpg").read_bytes() == (tmp_path / "a.jpg").read_bytes()


@pytest.mark.parametrize("format", READ)
def test_names_of_other_data_sets(format, tmp_path):
    """Folders called images, and spaces, do not keep the reader from finding the annotations."""
    sample = scene(5, overlap=False)
    folder = tmp_path / "x"
    folder.mkdir()
    runtime = {"output": folder, "classes": CLASSES, "category_ids": [1, 2]}
    with DATASET_WRITER_REGISTRY.build({"format": format}, **runtime) as writer:
        for name in ("images/val/a b.png", "val/images/a b.tif", "images/c/a b.png"):
            writer.write(WritableImage(name, 1, sample.size, sample.targets, "val", sample=sample))
    found = recognize(folder)
    split = found.splits.get("val", found.spec)
    data = build_dataset({**split, "classes": CLASSES})
    assert len(data) == 3 and all(torch.equal(data.load(i).image, sample.image) for i in range(3))
    for index in range(3):
        assert_equal(data.targets(index), sample.targets)


def test_labelme_files_have_all_keys(tmp_path):
    write(tmp_path, "labelme", [with_box(scene(1))])
    content = json.loads((tmp_path / "train/sub/0.json").read_text())
    assert {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"} <= set(content)
    assert (tmp_path / "train/sub" / content["imagePath"]).is_file() and content["imageData"] is None


ODD_NAMES = [
    "a:b",
    "#x",
    "a&b<c>",
    "é",
    "1",
    "null",
    "x,y",
    "background",
    "A:B:C::",
    "# label:color",
    "'q'",
    "~",
    "1e3",
    "..",
]


@pytest.mark.parametrize("format", DATASET_WRITER_REGISTRY.names())
def test_class_names_with_signs_of_the_format(tmp_path, format):
    """Each object keeps its class, or the loss is counted; none is lost."""
    count = len(ODD_NAMES)
    dense = torch.eye(count, dtype=torch.bool)[:, :, None].expand(-1, -1, 4)
    masks = InstanceMasks.from_dense(dense.contiguous())
    targets = Targets(masks.boxes(), torch.arange(count), masks)
    sample = Sample(torch.zeros(3, count, 4, dtype=torch.uint8), targets, 1, "a.png", (count, 4), None)
    spec = {"format": format}
    with DATASET_WRITER_REGISTRY.build(
        spec, output=tmp_path, classes=ODD_NAMES, category_ids=list(range(1, count + 1))
    ) as writer:
        writer.write(WritableImage("a.png", 1, sample.size, targets, "train", sample=sample))
    data = build_dataset(recognize(tmp_path, format).spec)
    found = data.load(0).targets
    rows = found.boxes[:, 1].long().tolist()
    assert sorted(rows) == list(range(count))
    names = [data.classes[label] for _, label in sorted(zip(rows, found.labels.tolist(), strict=True))]
    assert names == ODD_NAMES or any(reason.startswith("class names") for reason in writer.losses)


ODD_FILES = [
    "classes.png",
    "~$a.png",
    "q~.png",
    "Thumbs.db.png",
    "0001.png",
    "masks.png",
    "x.json.png",
    "c 1.png",
    "[x].png",
]


@pytest.mark.parametrize("format", DATASET_WRITER_REGISTRY.names())
def test_image_names_with_a_meaning(tmp_path, format):
    """Names of system files, of lists of classes and of mask files: every image is read with its object."""
    mask = InstanceMasks.from_dense(torch.ones(1, 4, 4, dtype=torch.bool))
    for names in ([name] for name in ODD_FILES) if format == "mask_folder" else [ODD_FILES]:
        folder = tmp_path / names[0]
        folder.mkdir()
        with DATASET_WRITER_REGISTRY.build(
            {"format": format}, output=folder, classes=["cell", "b"], category_ids=[1, 2]
        ) as writer:
            for i, name in enumerate(names):
                image = torch.full((3, 4, 4), i, dtype=torch.uint8)
                targets = Targets(mask.boxes(), torch.zeros(1, dtype=torch.int64), mask)
                sample = Sample(image, targets, 1, name, (4, 4), None)
                writer.write(WritableImage(name, i + 1, (4, 4), targets, "train", sample=sample))
        data = build_dataset(recognize(folder, format).spec)
        samples = [data.load(i) for i in range(len(data))]
        assert sorted(int(s.image[0, 0, 0]) for s in samples) == list(range(len(names)))
        assert all(len(s.targets) == 1 for s in samples)


def test_voc_counts_the_spaces_that_names_lose(tmp_path):
    with DATASET_WRITER_REGISTRY.build(
        {"format": "voc"}, output=tmp_path, classes=["a ", "b"], category_ids=[1, 2]
    ) as one:
        sample = scene(0)
        one.write(WritableImage("a.png", 1, sample.size, sample.targets, "train", sample=sample))
    assert one.losses["class names, which lose the spaces at their ends"] == 1
    assert build_dataset({"format": "voc", "root": str(tmp_path)}).classes == ["a", "b"]
