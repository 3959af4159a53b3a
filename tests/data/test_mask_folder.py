import numpy as np
import pytest
from pixel_formats import SIZE, loaded_set, mask_set, save, save_image, scene

from segkit.data.formats import build_dataset, recognize
from segkit.data.formats.mask_folder import MaskFolder
from segkit.utils.errors import SegkitError


def bowl(root, name, dense, classes=("",)):
    """ID/images/ID.png and ID/masks/[CLASS/]*.png; masks go to the classes in turn."""
    save_image(root / name / "images" / f"{name}.png")
    (root / name / "masks").mkdir()
    for i, mask in enumerate(dense):
        save(root / name / "masks" / classes[i % len(classes)] / f"m{i:02}.png", mask.astype(np.uint8) * 255)


def flat(root, name, dense, classes=("",)):
    save_image(root / "images" / f"{name}.png")
    for i, mask in enumerate(dense):
        save(root / "masks" / name / classes[i % len(classes)] / f"m{i:02}.png", mask.astype(np.uint8) * 255)
    (root / "masks" / name).mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("write", [bowl, flat])
def test_overlapping_masks(tmp_path, write):
    expected = [scene(1, overlap=True), scene(2, overlap=True), scene(3)[:0]]
    for name, dense in zip("abc", expected, strict=True):
        write(tmp_path, name, dense)
    found = recognize(tmp_path)
    assert found.spec["format"] == "mask_folder" and found.reason.startswith("3 images")
    dataset = build_dataset(found.spec)
    assert dataset.classes == ["object"] and not dataset.exclusive
    for index, dense in enumerate(expected):
        sample = dataset.load(index)
        assert loaded_set(sample.targets) == mask_set(dense) == loaded_set(dataset.targets(index))
        assert dataset.label_counts(index) == ({0: len(dense)} if len(dense) else {}) and sample.size == SIZE
    assert dataset.object_counts().tolist() == [len(dense) for dense in expected]


@pytest.mark.parametrize("write", [bowl, flat])
def test_classes_are_subfolders(tmp_path, write):
    dense = scene(5)
    write(tmp_path, "a", dense, ("cell", "dirt"))
    dataset = build_dataset(recognize(tmp_path).spec)
    assert dataset.classes == ["cell", "dirt"]
    assert loaded_set(dataset.load(0).targets) == mask_set(dense, [i % 2 for i in range(len(dense))])
    with pytest.raises(SegkitError, match=r"class 'dirt', which is not among the classes cell, durt.*'durt'"):
        MaskFolder(root=str(tmp_path), classes=["cell", "durt"])


def test_any_value_and_colour_is_set(tmp_path):
    save_image(tmp_path / "a" / "images" / "a.png")
    mask = np.zeros((*SIZE, 4), np.uint8)
    mask[..., 3] = 255
    mask[3:5, 3:6, 1] = 1
    save(tmp_path / "a" / "masks" / "x.png", mask)
    save(tmp_path / "a" / "masks" / "y.png", np.zeros(SIZE, np.uint8))
    dataset = MaskFolder(root=str(tmp_path))
    sample = dataset.load(0)
    assert sample.targets.boxes.tolist() == [[3, 3, 6, 5]] and sample.dropped == 1
    assert dataset.training_objects(0).empty == 1 and len(dataset.targets(0)) == 1


def test_splits_and_images_without_masks(tmp_path):
    bowl(tmp_path / "stage1_train", "a", scene(1))
    bowl(tmp_path / "stage1_train", "b", scene(2))
    (tmp_path / "stage1_train" / "c" / "images").mkdir(parents=True)
    save_image(tmp_path / "stage1_train" / "c" / "images" / "c.png")
    bowl(tmp_path / "stage1_a_test", "d", scene(1))
    found = recognize(tmp_path)
    assert list(found.splits) == ["stage1_a_test", "stage1_train"] and found.spec["split"] == "stage1_train"
    dataset = build_dataset(found.spec)
    assert len(dataset) == 2 and "1 images have no folder of masks" in dataset.summary()
    with pytest.raises(SegkitError, match="set split to one of stage1_a_test, stage1_train"):
        MaskFolder(root=str(tmp_path))
    with pytest.raises(SegkitError, match=r"no split 'stage_1'.*'stage1_train'"):
        MaskFolder(root=str(tmp_path), split="stage_1")


def test_bad_masks(tmp_path):
    bowl(tmp_path, "a", scene(1))
    save(tmp_path / "a" / "masks" / "m00.png", np.zeros((4, 5), np.uint8))
    dataset = MaskFolder(root=str(tmp_path))
    with pytest.raises(SegkitError, match=r"m00.png: the mask is 5 x 4 pixels, but its image is 32 x 24"):
        dataset.load(0)
    (tmp_path / "a" / "masks" / "m00.png").write_bytes(b"junk")
    with pytest.raises(SegkitError, match=r"m00.png: cannot be read"):
        dataset.load(0)
    (tmp_path / "a" / "masks" / "m00.png").rename(tmp_path / "a" / "masks" / "m00.JPEG")
    assert recognize(tmp_path).spec["format"] == "mask_folder"
    with pytest.raises(SegkitError, match=r"m00.JPEG: is a JPEG"):
        MaskFolder(root=str(tmp_path))
    save_image(tmp_path / "a" / "images" / "b.png")
    with pytest.raises(SegkitError, match="holds 2 images"):
        MaskFolder(root=str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SegkitError, match="no image has a folder of masks"):
        MaskFolder(root=str(tmp_path / "empty"))
