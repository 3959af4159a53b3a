"""``--fix``: the copy has none of the mended faults, what is valid is in it unchanged, the original stays as it is."""

from __future__ import annotations

import hashlib
import json

import pytest
from PIL import Image
from planted import annotation, square
from stand_in_writer import StandInWriter
from test_coco_faults import CASES

from segkit.data.formats import Coco
from segkit.dataset_tools.check import KINDS, check_dataset
from segkit.dataset_tools.check.mend import merged_classes
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.utils.errors import SegkitError


@pytest.fixture(autouse=True)
def writer(monkeypatch):
    if "coco" not in DATASET_WRITER_REGISTRY:
        DATASET_WRITER_REGISTRY.register(StandInWriter, name="coco")


def hashes(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def copy_specs(output, splits=("train", "val")):
    return {
        split: {
            "format": "coco",
            "json": str(output / f"annotations/instances_{split}.json"),
            "images": str(output / "images" / split),
        }
        for split in splits
    }


@pytest.mark.parametrize("case", CASES)
def test_mended_kinds_are_gone(annotated, tmp_path, case):
    plant, expected, _ = CASES[case]
    plant(annotated)
    annotated.specs()
    before, output = hashes(annotated.root), tmp_path / "mended"
    report = annotated.check(pixels=False, fix=output)
    assert hashes(annotated.root) == before
    assert report.fix.done == {kind: n for kind, n in expected.items() if KINDS[kind].mended and "similar" not in kind}
    assert report.fix.done + report.fix.remaining == expected
    left = check_dataset(copy_specs(output), pixels=False, workers=0)
    assert not set(left.counts()) & set(report.fix.done), left.counts()
    for split, spec in copy_specs(output).items():
        json_file, images = spec["json"], spec["images"]
        reread = Coco(json=json_file, images=images)  # the reader accepts the copy
        assert sum(len(reread.targets(i)) for i in range(len(reread))) == left.splits[split].objects + sum(
            int(reread.targets(i).crowd.sum()) for i in range(len(reread))
        )


def test_clean_data_are_copied_exactly(annotated, tmp_path):
    specs = annotated.specs()
    report = check_dataset(specs, workers=0, fix=tmp_path / "copy")
    assert not report.fix.done and report.fix.images == 8 and report.fix.objects == 24
    for split, spec in copy_specs(tmp_path / "copy").items():
        old, new = (Coco(json=one["json"], images=one["images"]) for one in (specs[split], spec))
        assert old.classes == new.classes and old.category_ids == new.category_ids
        for i in range(4):
            a, b = old.load(i), new.load(i)
            assert (a.image == b.image).all() and (a.targets.labels == b.targets.labels).all()
            assert a.targets.masks.to_rle() == b.targets.masks.to_rle()


def test_images(world, tmp_path):
    """Unreadable, wrong and repeated images; those of two splits stay in the validation."""
    (world.root / "images/train0.png").write_bytes(b"broken")
    world.draw("train1.png", 10, 10)
    for name in ("train3.png", "val1.png"):
        with Image.open(world.root / f"images/{'train2' if name == 'train3.png' else 'val0'}.png") as image:
            image.save(world.root / "images" / name, compress_level=1)
    with Image.open(world.root / "images/val3.png") as image:
        image.save(world.root / "images/train4.png")
    world.images.append({**world.images[0], "id": 5, "file_name": "train4.png"})
    world.annotations.append(annotation(50, 5, 1, 20, 20))
    report = world.check(fix=tmp_path / "mended")
    expected = {"unreadable_image": 1, "wrong_size": 1, "duplicate_image": 2, "image_in_two_splits": 1}
    assert report.fix.done == expected and report.fix.images == 4
    left = check_dataset(copy_specs(tmp_path / "mended"), workers=0)
    assert left.splits["train"].images == 1 and left.splits["val"].images == 3 and not left.faults


def test_coordinates_in_shares_are_multiplied(annotated, tmp_path):
    shares = [[x / 64 if i % 2 == 0 else x / 48 for i, x in enumerate(square(16, 12)[0])]]
    annotated.annotations[4].update(segmentation=shares, bbox=[0.25, 0.25, 0.125, 8 / 48])
    annotated.check(pixels=False, fix=tmp_path / "mended")
    content = json.loads((tmp_path / "mended/annotations/instances_train.json").read_text())
    assert content["annotations"][4]["bbox"] == [16, 12, 8, 8] and content["annotations"][4]["area"] == 64


def test_similar_class_names_are_merged_when_asked(annotated, tmp_path):
    CASES["names in two cases"][0](annotated)
    report = annotated.check(pixels=False, fix=tmp_path / "mended", merge_classes=True)
    assert report.fix.done == {"similar_class_names": 2}
    left = check_dataset(copy_specs(tmp_path / "mended"), pixels=False, workers=0)
    assert left.ok and list(left.splits["train"].classes) == ["cell", "nucleus"]


def test_classes_of_splits_that_differ(annotated):
    from types import SimpleNamespace

    splits = {
        "train": SimpleNamespace(classes=["a", "b"], category_ids=[1, 2]),
        "val": SimpleNamespace(classes=["c", "b"], category_ids=[2, 5]),
    }
    classes, ids, labels = merged_classes(splits, False)
    assert (classes, ids) == (["a", "b", "c"], [1, 2, 3])
    assert labels["train"].tolist() == [0, 1, -1] and labels["val"].tolist() == [2, 1, -1]


def test_folders_of_label_maps_keep_their_names(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "maps" / name).mkdir(parents=True)
        Image.new("RGB", (9, 8)).save(tmp_path / f"maps/{name}/image.png")
        Image.new("L", (9, 8), 1).save(tmp_path / f"maps/{name}/class1.png")
    check_dataset(tmp_path / "maps", fix=tmp_path / "out", workers=0, pixels=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one", "two"]


def test_an_unfinished_copy_says_so(annotated, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segkit.data.writers.WritableImage.copy_to", full)
    monkeypatch.setattr("segkit.data.writers.WritableImage.save_to", full)
    with pytest.raises(SegkitError, match=r"No space left on device; .*out' is incomplete after 0 of 8 images"):
        annotated.check(fix=tmp_path / "out")
    with pytest.raises(SegkitError, match="is unfinished"):
        check_dataset(tmp_path / "out", workers=0)


def test_where_a_copy_cannot_be(annotated, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.txt").write_text("")
    with pytest.raises(SegkitError, match=r"--fix: .*full' has files"):
        annotated.check(fix=tmp_path / "full")
    file = annotated.specs()["train"]["json"]
    with pytest.raises(SegkitError, match="in the data"):
        check_dataset(annotated.root, format="coco", fix=annotated.root / "out")
    with pytest.raises(SegkitError, match="is a file, not a folder"):
        check_dataset(file, fix=file)
    with pytest.raises(SegkitError, match=r"--fix: .*cannot be created"):
        annotated.check(fix="/dev/null/out")
