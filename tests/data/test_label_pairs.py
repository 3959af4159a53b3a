import unicodedata

import numpy as np
import pytest
import tifffile
from pixel_formats import SIZE, label_map, loaded_set, mask_set, save, save_image, scene

from segkit.data.formats import build_dataset, recognize
from segkit.data.formats.label_pairs import LabelPairs
from segkit.data.formats.label_pairs.path_patterns import PathPattern
from segkit.utils.errors import SegkitError


def write(root, name, mask, seed=0, masks=None, image="{}.png"):
    dense = scene(seed) if masks is None else masks
    save_image(root / image.format(name), seed=seed)
    path = root / mask.format(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, label_map(dense, np.int32))
    else:
        save(path, label_map(dense))
    return dense


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}.tif", "{}_masks.tif"),
        ("{}.tif", "{}_cp_masks.png"),
        ("images/{}.png", "masks/{}.tif"),
        ("images/{}.tif", "labels/{}.png"),
        ("{}.png", "GT/{}.tif"),
        ("images/{}.png", "masks/{}_mask.png"),
        ("images/{}.png", "images/{}_label.npy"),
        ("img{}.tif", "mask{}.tif"),
        ("plate1/images/{}.tif", "plate1/masks/{}.tif"),
    ],
)
def test_layouts_are_found(tmp_path, image, mask):
    expected = [write(tmp_path, name, mask, seed, image=image) for seed, name in enumerate("ab")]
    found = recognize(tmp_path)
    assert found.spec["format"] == "label_pairs" and "2 images" in found.reason
    dataset = build_dataset(found.spec)
    assert dataset.classes == ["object"] and dataset.category_ids == [1] and len(dataset) == 2
    for index, dense in enumerate(expected):
        sample = dataset.load(index)
        assert loaded_set(sample.targets) == mask_set(dense) == loaded_set(dataset.targets(index))
        assert dataset.label_counts(index) == {0: len(dense)} and sample.dropped == 0
        assert sample.size == dataset.size(index) == SIZE and dataset.exclusive
    assert dataset.unmasked_counts().tolist() == [0, 0] and len(dataset.image_files()) == 2


def test_equals_regionprops(tmp_path):
    measure = pytest.importorskip("skimage.measure")
    dense = write(tmp_path, "a", "masks/{}.tif", image="images/{}.png")
    targets = LabelPairs(root=str(tmp_path)).load(0).targets
    regions = measure.regionprops(label_map(dense))
    assert targets.masks.areas().tolist() == [region.area for region in regions]
    boxes = [[region.bbox[i] for i in (1, 0, 3, 2)] for region in regions]
    assert targets.boxes.tolist() == boxes


def test_splits(tmp_path):
    for split in ("train", "val"):
        write(tmp_path, f"{split}0", f"{split}/masks/{{}}.tif", image=f"{split}/images/{{}}.png")
    found = recognize(tmp_path)
    assert list(found.splits) == ["train", "val"] and found.spec["split"] == "train"
    assert [len(build_dataset(spec)) for spec in found.splits.values()] == [1, 1]
    assert build_dataset(found.splits["val"]).name(0) == "val/images/val0.png"
    with pytest.raises(SegkitError, match=r"no split 'vall'.*'val'"):
        LabelPairs(root=str(tmp_path), split="vall")
    with pytest.raises(SegkitError, match="has splits; set split to one of train, val"):
        LabelPairs(root=str(tmp_path))


def test_splits_within_images_and_masks(tmp_path):
    for split in ("train", "test"):
        write(tmp_path, "x", f"masks/{split}/{{}}.tif", image=f"images/{split}/{{}}.png")
    assert list(recognize(tmp_path).splits) == ["train", "test"]


@pytest.mark.parametrize("folders", [("nucleus_masks", "mn_masks"), ("masks/nucleus", "masks/mn")])
def test_several_classes(tmp_path, folders):
    dense = scene(1)
    save_image(tmp_path / "images" / "a.png")
    for folder, own in zip(folders, (dense[:3], dense[3:]), strict=True):
        save(tmp_path / folder / "a.png", label_map(own))
    dataset = build_dataset(recognize(tmp_path).spec)
    assert sorted(dataset.classes) == ["mn", "nucleus"]
    mn, nucleus = dataset.classes.index("mn"), dataset.classes.index("nucleus")
    expected = mask_set(dense, [nucleus] * 3 + [mn] * (len(dense) - 3))
    assert loaded_set(dataset.load(0).targets) == expected
    masks = {"micronucleus": f"{folders[1]}/{{stem}}.png", "nucleus": folders[0]}
    named = LabelPairs(root=str(tmp_path), masks=masks)
    assert named.classes == ["micronucleus", "nucleus"] and named.label_counts(0) == {0: len(dense) - 3, 1: 3}
    with pytest.raises(SegkitError, match=r"class 'micronucleus', .*'micro_nucleus'"):
        LabelPairs(root=str(tmp_path), masks=masks, classes=["micro_nucleus", "nucleus"])
    (tmp_path / folders[1] / "a.png").unlink()
    save_image(tmp_path / "images" / "b.png")
    save(tmp_path / folders[1] / "b.png", label_map(dense))
    assert "2 images lack the label map of a class" in LabelPairs(root=str(tmp_path), masks=masks).summary()


@pytest.mark.parametrize(("connectivity", "count"), [(8, 2), (4, 3)])
def test_components_of_binary_masks(tmp_path, connectivity, count):
    values = np.zeros(SIZE, np.uint8)
    values[2:5, 2:5] = values[5:8, 5:8] = values[15:20, 20:30] = 255
    save_image(tmp_path / "images" / "a.png")
    save(tmp_path / "masks" / "a.png", values)
    assert "components: true" in LabelPairs(root=str(tmp_path)).summary()
    found = recognize(tmp_path)
    assert found.spec["components"] is True and "binary" in found.reason
    dataset = build_dataset({**found.spec, "connectivity": connectivity})
    assert len(dataset.load(0).targets) == count and dataset.label_counts(0) == {0: count}
    with pytest.raises(SegkitError, match="connectivity: 6; expected 4 or 8"):
        LabelPairs(root=str(tmp_path), connectivity=6)


def test_colours(tmp_path):
    values = np.zeros((*SIZE, 4), np.uint8)
    for i in range(9):
        values[2:5, 3 * i : 3 * i + 2] = (255, 7 * i, 3, 255)
    values[9:12, :2] = (255, 0, 3, 255)  # a second region of the first colour
    values[20:, 20:] = (9, 9, 9, 0)  # transparent
    save_image(tmp_path / "images" / "a.png")
    save(tmp_path / "masks" / "a.png", values)
    with pytest.raises(SegkitError, match=r"a.png: .*in colour.*colors: true"):
        LabelPairs(root=str(tmp_path)).load(0)
    assert len(LabelPairs(root=str(tmp_path), colors=True).load(0).targets) == 9
    found = recognize(tmp_path)
    assert found.spec["colors"] and "9 colours" in found.reason
    assert build_dataset(found.spec).label_counts(0) == {0: 10}


def test_a_few_colours_are_classes(tmp_path):
    values = np.zeros((*SIZE, 3), np.uint8)
    values[2:5, 3:9] = (255, 0, 0)
    save_image(tmp_path / "images" / "a.png")
    save(tmp_path / "masks" / "a.png", values)
    spec = recognize(tmp_path).spec
    assert spec["format"] == "label_pairs" and "colors" not in spec
    with pytest.raises(SegkitError, match=r"masks/a.png: .*in colour, and colours usually say classes"):
        build_dataset(spec)


@pytest.mark.parametrize("channels", [3, 4])
def test_grey_files_of_several_channels(tmp_path, channels):
    dense = scene()
    values = np.repeat(label_map(dense, np.uint8)[..., None], channels, 2)
    if channels == 4:
        values[..., 3] = np.where(values[..., 0] > 0, 255, 0)
        values[tuple(np.argwhere(values[..., 0] == 0)[0])] = (9, 8, 7, 0)  # transparent: no object, no colour
    save_image(tmp_path / "images" / "a.png")
    save(tmp_path / "masks" / "a.png", values)
    dataset = build_dataset(recognize(tmp_path).spec)
    assert loaded_set(dataset.load(0).targets) == mask_set(dense) and dataset.label_counts(0) == {0: len(dense)}


def test_jpeg_is_refused(tmp_path):
    save_image(tmp_path / "images" / "a.jpg")
    save(tmp_path / "masks" / "a.jpg", label_map(scene(), np.uint8))
    found = recognize(tmp_path)
    assert found.spec["format"] == "label_pairs"
    with pytest.raises(SegkitError, match=r"masks/a.jpg: is a JPEG, .* again as PNG or TIFF"):
        build_dataset(found.spec)
    (tmp_path / "masks" / "a.jpg").rename(tmp_path / "masks" / "a.png")
    with pytest.raises(SegkitError, match=r"masks/a.png: is a JPEG"):
        build_dataset(found.spec).load(0)


def test_smoothed_edges_are_noted(tmp_path):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    values = np.zeros(SIZE, np.uint8)
    for center in (8, 24):
        radius = np.hypot(y - 12, x - center)
        values = np.maximum(values, np.clip((7 - radius) * 60, 0, 255).astype(np.uint8))
    save_image(tmp_path / "images" / "a.png")
    save(tmp_path / "masks" / "a.png", values)
    assert "the values of masks/a.png are scattered" in build_dataset(recognize(tmp_path).spec).summary()
    save(tmp_path / "masks" / "a.png", label_map(scene()))
    assert "scattered" not in build_dataset(recognize(tmp_path).spec).summary()


def test_unpaired_files_are_counted_and_named(tmp_path):
    write(tmp_path, "cell1", "masks/{}.tif", image="images/{}.png")
    save_image(tmp_path / "images" / "cell02.png")
    save(tmp_path / "masks" / "cell2.tif", label_map(scene()))
    summary = LabelPairs(root=str(tmp_path)).summary()
    assert "1 images have no label map and are skipped: cell02.png (nearest: cell2.tif)" in summary
    assert "1 label maps have no image and are skipped: cell2.tif (nearest: cell02.png)" in summary
    (tmp_path / "images" / "cell1.png").unlink()
    with pytest.raises(SegkitError, match=r"none of 1 images .*cell02.png \(nearest: cell2.tif\)"):
        LabelPairs(root=str(tmp_path), images="images", masks="masks")


def test_two_images_of_one_name(tmp_path):
    write(tmp_path, "a", "masks/{}.tif", image="images/{}.png")
    save_image(tmp_path / "images" / "a.tif")
    assert LabelPairs(root=str(tmp_path)).name(0) == "images/a.tif"  # the TIFF, and the summary says so
    assert "images/{stem}.tif" in LabelPairs(root=str(tmp_path)).summary()
    with pytest.raises(SegkitError, match=r"1 images have two files of one name.*images/\{stem\}.png"):
        LabelPairs(root=str(tmp_path), images="images", masks="masks")


def test_upper_case_suffixes_and_odd_names(tmp_path):
    dense = write(tmp_path, "Zellen 1ä", "masks/{}.PNG", image="images/{}.TIF")
    decomposed = unicodedata.normalize("NFD", "Zellen 1ä.PNG")  # as macOS writes it
    (tmp_path / "masks" / "Zellen 1ä.PNG").rename(tmp_path / "masks" / decomposed)
    save_image(tmp_path / "images" / "Zellen 1ä.png")
    (tmp_path / "images" / "._x.png").touch()
    (tmp_path / "masks" / "Thumbs.db").touch()
    (tmp_path / "itself").symlink_to("itself")
    dataset = build_dataset(recognize(tmp_path).spec)
    assert dataset.name(0) == "images/Zellen 1ä.TIF" and loaded_set(dataset.load(0).targets) == mask_set(dense)


def test_pickles_are_refused(tmp_path):
    save_image(tmp_path / "a.tif")
    np.save(tmp_path / "a_seg.npy", {"masks": label_map(scene())}, allow_pickle=True)
    for arguments in ({}, {"images": "{stem}.tif", "masks": "{stem}_seg.npy"}):
        with pytest.raises(SegkitError, match=r"a_seg.npy.? is a pickle.*save the masks as TIFF"):
            LabelPairs(root=str(tmp_path), **arguments).load(0)
    np.save(tmp_path / "a_masks.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(SegkitError, match=r"a_masks.npy: is a pickle"):
        LabelPairs(root=str(tmp_path), masks="{stem}_masks.npy", images="{stem}.tif").load(0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((5, 5), np.uint8), "5 x 5 pixels, but its image is 32 x 24"),
        (np.full(SIZE, 0.5, np.float32), "whole numbers.*0.5"),
        (np.full(SIZE, -1, np.int32), "no negative numbers"),
        (np.zeros((*SIZE, 2), np.int32), "one channel"),
        (np.zeros(SIZE, np.complex64), "type complex64"),
        (np.full(SIZE, "a"), "type <U1"),
    ],
)
def test_bad_arrays(tmp_path, values, message):
    save_image(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "masks" / "a.npy", values)
    with pytest.raises(SegkitError, match=f"a.npy: .*{message}"):
        LabelPairs(root=str(tmp_path)).load(0)


@pytest.mark.parametrize(
    ("key", "text"),
    [("masks", "../{stem}.tif"), ("images", "/etc/{stem}"), ("masks", "none"), ("masks", "{stem}/{stem}.tif")],
)
def test_bad_patterns(tmp_path, key, text):
    write(tmp_path, "a", "masks/{}.tif", image="images/{}.png")
    with pytest.raises(SegkitError, match=rf"{key}: '{text[:4]}"):
        LabelPairs(root=str(tmp_path), **{key: text})


def test_patterns(tmp_path):
    for name in ("p1/a.b_m.tif", "p1/c_m.tif", "p2/c_m.png", "p2/.hidden_m.tif", "p2/deep/c_m.tif"):
        save(tmp_path / name, np.zeros((2, 2), np.uint8))
    found = PathPattern("*/{stem}_m.*", tmp_path, "masks").files((".tif", ".png"))
    assert list(found) == [("p1", "a.b"), ("p1", "c"), ("p2", "c")]
    assert list(PathPattern("p1/*.tif", tmp_path, "masks").files((".tif",))) == [("a.b_m",), ("c_m",)]
    assert list(PathPattern("{stem}/c_m.*", tmp_path, "masks").files((".tif", ".png"))) == [("p1",), ("p2",)]


def test_sixteen_bits_and_large_numbers(tmp_path):
    dense = scene(4)
    values = np.where(label_map(dense) > 0, label_map(dense, np.int64) * 70_000, 0).astype(np.uint32)
    save_image(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "masks" / "a.tif", values)
    dataset = LabelPairs(root=str(tmp_path))
    assert loaded_set(dataset.load(0).targets) == mask_set(dense) and dataset.label_counts(0) == {0: len(dense)}
