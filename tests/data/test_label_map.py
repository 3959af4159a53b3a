import json

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from segkit.data import LabelMap, build_dataset
from segkit.data.formats import recognize
from segkit.data.formats.label_map.dataset import count_objects, name_categories, read_label_map
from segkit.utils.errors import SegkitError


def test_reads_masks_labels_and_gaps(label_map_root):
    dataset = LabelMap(root=str(label_map_root))
    assert len(dataset) == 3 and dataset.classes == ["class1", "class3"] and dataset.category_ids == [1, 3]
    sample = dataset.load(0)
    assert sample.image.shape == (3, 20, 30) and sample.image.dtype == torch.uint8
    assert sample.size == (20, 30) and sample.file_name == "a/image.tif" and sample.annotations is None
    assert sample.targets.labels.tolist() == [0, 0, 1, 1]
    assert sample.targets.boxes.tolist() == [[3, 2, 9, 8], [20, 10, 29, 12], [5, 5, 10, 19], [0, 0, 1, 1]]
    assert sample.targets.masks.areas().tolist() == [36, 18, 70, 1]
    assert [dataset.label_counts(i) for i in range(3)] == [{0: 2, 1: 2}, {0: 2}, {}]


def test_image_without_class_files(label_map_root):
    dataset = LabelMap(root=str(label_map_root))
    sample = dataset.load(2)
    assert len(sample.targets) == 0 and sample.targets.boxes.shape == (0, 4)
    assert sample.targets.masks.to_dense().shape == (0, 20, 30)
    assert dataset.ground_truth(2, sample) == []
    assert "1 images have no class file" in dataset.summary()


def test_ground_truth_is_that_of_the_masks(label_map_root):
    from pycocotools import mask as mask_util

    dataset = LabelMap(root=str(label_map_root))
    sample = dataset.load(0)
    truth = dataset.ground_truth(0, sample)
    assert truth[1]["bbox"] == [20, 10, 9, 2] and truth[1]["area"] == 18 and truth[1]["label"] == 0
    dense = mask_util.decode([t["segmentation"] for t in truth]).transpose(2, 0, 1)
    assert (dense == sample.targets.masks.to_dense().numpy()).all()


@pytest.mark.parametrize(
    ("found", "classes", "category_ids", "expected"),
    [
        ([1, 3], None, None, (["class1", "class3"], [1, 3])),
        ([1, 3], ["a", "b"], None, (["a", "b"], [1, 3])),
        ([1, 2], ["a", "b", "c", "d"], None, (["a", "b", "c", "d"], [1, 2, 3, 4])),
        ([1], ["class1", "class3"], None, (["class1", "class3"], [1, 3])),
        ([3], ["a", "b"], [1, 3], (["a", "b"], [1, 3])),
        ([3], None, [1, 3], (["class1", "class3"], [1, 3])),
        ([], ["a", "b"], None, (["a", "b"], [1, 2])),
    ],
)
def test_names_of_categories(found, classes, category_ids, expected):
    assert name_categories(found, classes, category_ids, "here") == expected


def test_validation_set_gets_the_training_sets_classes(label_map_root):
    (label_map_root / "a" / "class3.tif").unlink()
    spec = {"format": "label_map", "root": str(label_map_root)}
    dataset = build_dataset(spec, ["good", "bad"], [1, 3])
    assert dataset.classes == ["good", "bad"] and dataset.category_ids == [1, 3]
    with pytest.raises(SegkitError, match=r"files class1.tif, but the 1 classes \(class7\)"):
        build_dataset(spec, ["class7"])


def test_id_map(label_map_root, tmp_path):
    id_map = tmp_path / "ids.json"
    id_map.write_text(json.dumps([{"file_name": f"{n}.tif", "id": i} for n, i in (("a", 30), ("b", 10), ("c", 20))]))
    assert LabelMap(root=str(label_map_root), id_map=str(id_map)).image_ids == [30, 10, 20]
    id_map.write_text(json.dumps([{"file_name": "a.tif", "id": 1}]))
    entries = [{"file_name": name, "id": i} for i, name in enumerate(("x/a.tif", "y/a.tif", "b.tif", "c.tif"))]
    id_map.write_text(json.dumps(entries))
    with pytest.raises(SegkitError, match=r"both 'x/a.tif' and 'y/a.tif' may be the folder 'a'"):
        LabelMap(root=str(label_map_root), id_map=str(id_map))
    id_map.write_text(json.dumps([*entries, {"file_name": "a", "id": 9}]))
    assert LabelMap(root=str(label_map_root), id_map=str(id_map)).image_ids == [9, 2, 3]
    id_map.write_text(json.dumps([{"file_name": "a.tif", "id": 1}]))
    with pytest.raises(SegkitError, match=r"no id for 2 of the 3 images of .*maps: b, c"):
        LabelMap(root=str(label_map_root), id_map=str(id_map))


def _save(path, values):
    Image.fromarray(np.asarray(values)).save(path)


def _load_all(root):
    dataset = LabelMap(root=str(root))
    return [dataset.load(i) for i in range(len(dataset))]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: _save(a / "class1.tif", np.zeros((20, 31), np.uint8)), r"a.class1.tif: .* is 31 x 20 pixels"),
        (lambda a: _save(a / "class1.tif", np.full((20, 30), 1.5, np.float32)), r"class1.tif: .* holds 1.5"),
        (lambda a: _save(a / "class1.tif", np.full((20, 30), np.nan, np.float32)), r"class1.tif: .* holds nan"),
        (lambda a: _save(a / "class1.tif", np.full((20, 30), -3, np.int32)), r"class1.tif: .*no negative.* holds -3"),
        (lambda a: _save(a / "class1.tif", np.zeros((20, 30, 3), np.uint8)), r"class1.tif: .* has one channel"),
        (lambda a: (a / "class1.tif").write_bytes(b"II*\0junk"), r"class1.tif: cannot be read as an image"),
        (lambda a: (a / "image.tif").write_bytes(b"junk"), r"a.image.tif: cannot be read as an image"),
        (lambda a: (a / "image.tif").unlink(), r"a: expected one image.tif .* found none"),
        (lambda a: _save(a / "image.png", np.zeros((20, 30), np.uint8)), r"found image.png, image.tif"),
        (lambda a: (a / "clas1.tif").touch(), r"clas1.tif: unknown file.*did you mean 'class1.tif'"),
        (lambda a: (a / "class0.tif").touch(), r"class0.tif: unknown file"),
        (lambda a: (a / "class1.png").touch(), r"a: has both class1.png and class1.tif"),
        (lambda a: _save(a / "class2.JPG", np.zeros((20, 30), np.uint8)), r"class2.JPG: is a JPEG.*again as PNG or TIFF"),
        (lambda a: (a / "class1.tif").write_bytes(b"\xff\xd8\xff\xe0"), r"class1.tif: is a JPEG"),
    ],
)  # fmt: skip
def test_bad_files_are_named(label_map_root, spoil, message):
    spoil(label_map_root / "a")
    with pytest.raises(SegkitError, match=message):
        _load_all(label_map_root)


def test_folders_with_unknown_files_are_recognised(label_map_root):
    (label_map_root / "a" / "notes.txt").touch()
    (label_map_root / "results").mkdir()
    spec = recognize(label_map_root).spec
    assert spec["format"] == "label_map"
    with pytest.raises(SegkitError, match=r"a.notes.txt: unknown file"):
        build_dataset(spec)


def test_bad_roots(tmp_path, label_map_root):
    with pytest.raises(SegkitError, match="nowhere' does not exist"):
        LabelMap(root=str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SegkitError, match=r"empty: holds no images"):
        LabelMap(root=str(tmp_path / "empty"))
    (tmp_path / "file").touch()
    with pytest.raises(SegkitError, match="is not a folder"):
        LabelMap(root=str(tmp_path / "file"))
    (label_map_root / ".DS_Store").touch()
    (label_map_root / "notes.txt").touch()
    assert "ignored, as notes.txt" in LabelMap(root=str(label_map_root)).summary()


def test_counts_large_ids_without_a_large_table(tmp_path):
    values = np.zeros((4, 5), np.int32)
    values[0, :3] = (2**31 - 1, 7, 2**30)
    _save(tmp_path / "class1.tif", values)
    assert count_objects(tmp_path / "class1.tif") == 3


def test_many_objects_and_full_image(tmp_path):
    (tmp_path / "root" / "a").mkdir(parents=True)
    _save(tmp_path / "root" / "a" / "image.png", np.zeros((32, 32), np.uint8))
    _save(tmp_path / "root" / "a" / "class1.tif", np.arange(1, 1025, dtype=np.uint16).reshape(32, 32))
    _save(tmp_path / "root" / "a" / "class2.png", np.ones((32, 32), np.uint8))
    sample = LabelMap(root=str(tmp_path / "root")).load(0)
    assert sample.image.shape == (3, 32, 32) and len(sample.targets) == 1025
    assert sample.targets.boxes[-1].tolist() == [0, 0, 32, 32]


def _tiff(path, values, **tags):
    tifffile.imwrite(path, values, **tags)


LABELS = np.zeros((20, 30), np.int64)
LABELS[2:8, 2:8], LABELS[10:15, 20:28] = 1, 2


@pytest.mark.parametrize(
    ("write", "ids"),
    [
        (lambda p: _tiff(p, LABELS.astype(np.uint8), photometric="miniswhite"), (1, 2)),
        (lambda p: _tiff(p, (LABELS * 255 // 2).astype(np.uint8), photometric="miniswhite"), (127, 255)),
        (lambda p: _tiff(p, (LABELS > 0), photometric="miniswhite"), (1, 1)),
        (lambda p: Image.fromarray(LABELS == 1).save(p, compression="group4"), (1, 0)),
        (lambda p: _tiff(p, np.where(LABELS, 2**32 - LABELS, 0).astype(np.uint32)), (2**32 - 1, 2**32 - 2)),
        (lambda p: _tiff(p, np.where(LABELS, 2**32 - LABELS, 0).astype(">u4"), byteorder=">"), (2**32 - 1, 2**32 - 2)),
        (lambda p: _tiff(p, (LABELS * (2**60 + 1)).astype(np.uint64)), (2**60 + 1, 2**61 + 2)),
        (lambda p: _tiff(p, (LABELS * 2.0**40).astype(np.float64)), (2**40, 2**41)),
        (lambda p: _tiff(p, LABELS.astype(np.int8)), (1, 2)),
        (lambda p: _tiff(p, LABELS.astype(np.float16)), (1, 2)),
        (lambda p: Image.fromarray((LABELS * 3).astype(np.uint8)).save(p.with_suffix(".png"), bits=4), (3, 6)),
        (lambda p: Image.fromarray((LABELS * 300).astype(np.uint16)).save(p.with_suffix(".png")), (300, 600)),
        (lambda p: _tiff(p, LABELS.astype(np.uint8), photometric="palette", colormap=np.zeros((3, 256), np.uint16)), (1, 2)),
    ],
)  # fmt: skip
def test_pixels_keep_the_ids_of_the_file(tmp_path, write, ids):
    folder = tmp_path / "root" / "one"
    folder.mkdir(parents=True)
    _save(folder / "image.png", np.zeros((20, 30), np.uint8))
    write(folder / "class1.tif")
    (path,) = folder.glob("class1.*")
    expected = np.array([0, *ids], object)[LABELS]
    values = read_label_map(path)
    assert values.dtype.kind in "iu" and (values.astype(object) == expected).all()
    targets = LabelMap(root=str(tmp_path / "root")).load(0).targets
    areas = {i: int((expected == i).sum()) for i in set(ids) - {0}}
    assert sorted(targets.masks.areas().tolist()) == sorted(areas.values()) and count_objects(path) == len(areas)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.float32])
def test_negative_ids_are_an_error(tmp_path, dtype):
    _tiff(tmp_path / "class1.tif", (LABELS - 1).astype(dtype))
    with pytest.raises(SegkitError, match=r"class1.tif: .*no negative numbers; this one holds -1"):
        read_label_map(tmp_path / "class1.tif")


@pytest.mark.parametrize("suffix", ["tif", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_image_and_label_map(tmp_path, orientation, suffix):
    """Both files have the orientation tag, or the label map was drawn on the upright image and has none."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {
        1: LABELS, 2: LABELS[:, ::-1], 3: LABELS[::-1, ::-1], 4: LABELS[::-1], 5: LABELS.T,
        6: np.rot90(LABELS), 7: np.rot90(LABELS, 2).T, 8: np.rot90(LABELS, -1),
    }[orientation].astype(np.uint16)  # fmt: skip
    for name, labels, tag in (("both", stored, exif), ("image", LABELS.astype(np.uint16), None)):
        folder = tmp_path / name / "one"
        folder.mkdir(parents=True)
        Image.fromarray(stored.astype(np.uint8) * 100).save(folder / f"image.{suffix}", exif=exif)
        Image.fromarray(labels).save(folder / f"class1.{suffix}", **({"exif": tag} if tag else {}))
        dataset = LabelMap(root=str(tmp_path / name))
        sample = dataset.load(0)
        assert dataset.size(0) == sample.size == (20, 30)
        shown = sample.image[0].numpy()
        for value, mask in zip((100, 200), sample.targets.masks.to_dense().numpy(), strict=True):
            assert (mask == (shown == value)).all()
    if orientation >= 5:
        folder = tmp_path / "image" / "one"
        Image.fromarray(stored).save(folder / f"class1.{suffix}")
        with pytest.raises(SegkitError, match=r"class1.*20 x 30 pixels, but its image is 30 x 20 .* orientation tag"):
            dataset.load(0)


@pytest.mark.parametrize("shape", [(3, 20, 30), (2, 20, 30)])
def test_stacks_of_label_maps(tmp_path, shape):
    _tiff(
        tmp_path / "class1.tif",
        np.zeros(shape, np.uint16),
        photometric="minisblack",
        imagej=True,
        metadata={"axes": "ZYX"},
    )
    with pytest.raises(SegkitError, match=rf"class1.tif: holds {shape[0]} pages"):
        read_label_map(tmp_path / "class1.tif")
