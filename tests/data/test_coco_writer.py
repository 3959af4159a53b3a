"""The COCO writer: read by pycocotools, ids kept, nothing half-written; names of written images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from random_scenes import RandomScenes

from segkit import SegkitError
from segkit.data.writers import WritableImage, written_names
from segkit.data.writers.coco import CocoWriter
from segkit.structures import Targets
from segkit.utils.images import read_image


def image(scenes: RandomScenes, i: int, **others: object) -> WritableImage:
    sample = scenes.load(i)
    name = f"{sample.image_id}.png"
    return WritableImage(name, sample.image_id, sample.size, sample.targets, "train", load=lambda: sample, **others)


@pytest.mark.parametrize("segmentation", ["rle", "polygon"])
def test_pycocotools_reads_it(tmp_path, segmentation, capsys):
    scenes = RandomScenes(3, ["holed", "parts", "crowd", "boxes"], first_id=40)
    with CocoWriter(tmp_path, scenes.classes, scenes.category_ids, segmentation=segmentation) as writer:
        for i in range(3):
            writer.write(image(scenes, i))
    coco = COCO(str(tmp_path / "annotations/instances_train.json"))
    assert coco.getImgIds() == [40, 41, 42] and coco.getCatIds() == [3, 7]
    for i, image_id in enumerate(scenes.image_ids):
        targets = scenes.load(i).targets
        found = coco.loadAnns(coco.getAnnIds(imgIds=image_id))
        assert [a["iscrowd"] for a in found] == targets.crowd.int().tolist()
        assert [a["category_id"] for a in found] == [scenes.category_ids[k] for k in targets.labels.tolist()]
        for annotation, mask, has_mask in zip(found, targets.masks.to_dense(), targets.has_mask.tolist(), strict=True):
            assert ("segmentation" in annotation) == has_mask
            if has_mask:
                assert np.array_equal(coco.annToMask(annotation), mask.numpy())
                assert annotation["area"] == int(mask.sum())
    assert not list(tmp_path.rglob("*.part"))


def test_an_error_leaves_no_temporary_files(tmp_path):
    scenes = RandomScenes(1, ["touching"])
    with pytest.raises(ZeroDivisionError), CocoWriter(tmp_path, scenes.classes, scenes.category_ids) as writer:
        writer.write(image(scenes, 0))
        raise ZeroDivisionError
    assert not list((tmp_path / "annotations").iterdir())


def test_images_are_copied_linked_or_encoded(tmp_path):
    file = tmp_path / "a.bmp"
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).save(file)
    arguments = ("a.bmp", 1, (4, 5), Targets.empty((4, 5)), "train", file)
    kept = WritableImage(*arguments).save_to(tmp_path / "out/a.bmp")
    assert kept.read_bytes() == file.read_bytes() and not kept.is_symlink()
    linked = WritableImage(*arguments, link=True).save_to(tmp_path / "links/a.bmp")
    assert linked.is_symlink() and linked.read_bytes() == file.read_bytes()
    encoded = WritableImage(*arguments).save_to(tmp_path / "out/b.bmp", [".png", ".jpg"])
    assert encoded.name == "b.png" and torch.equal(
        torch.as_tensor(np.asarray(read_image(encoded))), torch.as_tensor(np.asarray(read_image(file)))
    )
    with pytest.raises(SegkitError, match=r"gone\.bmp cannot be copied"):
        WritableImage("g", 1, (4, 5), Targets.empty((4, 5)), "train", tmp_path / "gone.bmp").save_to(tmp_path / "g.bmp")


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/x.png", "b/y.tif"], ["x.png", "y.tif"]),
        (["a/x.png", "b/x.png", "y.png"], ["a__x.png", "b__x.png", "y.png"]),
        (["n1/image.tif", "n2/image.tif"], ["n1.tif", "n2.tif"]),
        (['a/w"?:.png', "a/nul.png"], ["w___.png", "nul_.png"]),
    ],
)
def test_names(files, names):
    assert written_names(files) == names


def test_names_are_unique_without_case_and_suffix():
    names = written_names(["a/x.png", "a/x.jpg", "b/X.PNG", "b/...png"])
    assert len({name.rpartition(".")[0].lower() for name in names}) == 4


def test_the_json_is_that_of_its_lists(tmp_path):
    scenes = RandomScenes(2, ["empty"])
    with CocoWriter(tmp_path, scenes.classes, scenes.category_ids) as writer:
        for i in range(2):
            writer.write(image(scenes, i))
    content = json.loads((tmp_path / "annotations/instances_train.json").read_text())
    assert (len(content["images"]), content["annotations"]) == (2, [])
